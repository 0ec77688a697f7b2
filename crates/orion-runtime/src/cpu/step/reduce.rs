//! Sums along axes that lie together.

use orion_compiler::{DType, Op, TensorType};
use orion_kernels::reduce::{Reduction, reduce};

use super::{At, Claim, kernel};

/// Whether a kernel sums these axes: real numbers, axes one behind the other.
pub(super) fn has_kernel(op: &Op, inputs: &[TensorType]) -> bool {
    matches!((op, inputs), (Op::ReduceSum(op), [x]) if x.dtype == DType::F32 && extent(x, &op.axes).is_some())
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let Op::ReduceSum(op) = &at.node.op else { return None };
    let types = at.planning.types(at.node);
    let x = types.first().filter(|x| x.dtype == DType::F32)?;
    let (length, inner) = extent(x, &op.axes)?;
    kernel::claim(at, move |operands, _, out| {
        reduce(operands.pool(), Reduction::Sum, out[0], operands.reals(0), length, inner);
    })
}

/// How many numbers are summed, and how far apart they lie.
fn extent(x: &TensorType, axes: &[i64]) -> Option<(usize, usize)> {
    let rank = x.rank() as i64;
    let mut axes: Vec<usize> = (axes.iter())
        .map(|&axis| usize::try_from(if axis < 0 { axis + rank } else { axis }).ok())
        .collect::<Option<_>>()?;
    axes.sort_unstable();
    let (&first, &last) = (axes.first()?, axes.last()?);
    let is_together = axes.len() == last + 1 - first && last < x.rank();
    is_together
        .then(|| (x.shape[first..=last].iter().product(), x.shape[last + 1..].iter().product()))
}
