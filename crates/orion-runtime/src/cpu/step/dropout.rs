//! `dropout`.

use orion_compiler::Op;
use orion_kernels::dropout::{DropoutMask, dropout};

use super::{At, Claim, kernel};

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let Op::Dropout(op) = &at.node.op else { return None };
    if !super::has_kernel(&at.node.op, &at.planning.types(at.node)) {
        return None;
    }
    let (op, threshold, scale) = (op.clone(), op.threshold(), op.scale() as f32);
    kernel::claim(at, move |operands, _, out| {
        let seed = operands.ints(1).first().copied().unwrap_or(0);
        let mask = DropoutMask { key: op.key(seed), threshold };
        dropout(operands.pool(), out[0], operands.reals(0), mask, scale);
    })
}
