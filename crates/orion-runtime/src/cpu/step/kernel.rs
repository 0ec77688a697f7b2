//! A step of one kernel call on operands that lie in memory as numbers: what training's steps are.

use orion_compiler::{DType, ValueId};
use orion_kernels::matmul::MatrixView;
use orion_kernels::numbers::{Numbers, NumbersMut};
use orion_kernels::pool::Pool;

use super::{At, Claim, Step};
use crate::cpu::MatmulPrecision;
use crate::cpu::frame::{Buffer, Frame, Place, Scratch};

/// The operands of a call.
pub(super) struct Operands<'a, 'b> {
    frame: &'a Frame<'b>,
    places: &'a [(Place, usize)],
    precision: MatmulPrecision,
}

impl<'a> Operands<'a, '_> {
    pub(super) fn pool(&self) -> &'a Pool {
        self.frame.pool
    }

    /// Operand `index`, a real one, or truth values as 0 and 1.
    pub(super) fn reals(&self, index: usize) -> &'a [f32] {
        self.places.get(index).map_or(&[], |&(place, count)| self.frame.reals(place, count))
    }

    /// Operand `index`, real numbers in the type that they are kept in.
    pub(super) fn numbers(&self, index: usize) -> Numbers<'a> {
        let none = Numbers::F32(&[]);
        self.places.get(index).map_or(none, |&(place, count)| self.frame.numbers(place, count))
    }

    /// Operand `index` as the rows of a matrix, in the precision of products.
    pub(super) fn matrix(&self, index: usize, rows: usize, columns: usize) -> MatrixView<'a> {
        self.in_precision(MatrixView::of(self.numbers(index), rows, columns, columns))
    }

    /// A matrix in the precision of products.
    pub(super) fn in_precision<'m>(&self, matrix: MatrixView<'m>) -> MatrixView<'m> {
        match self.precision {
            MatmulPrecision::F32 => matrix,
            MatmulPrecision::Bf16 => matrix.in_bf16(),
            MatmulPrecision::F16 => matrix.in_f16(),
        }
    }

    /// Operand `index`, whole numbers.
    pub(super) fn ints(&self, index: usize) -> Vec<i32> {
        self.places.get(index).map_or(Vec::new(), |&(place, count)| self.frame.ints(place, count))
    }

    /// Operand `index`, a whole number that counts something.
    pub(super) fn count(&self, index: usize) -> usize {
        let value = self.places.get(index).map_or(0, |&(place, _)| self.frame.int(place));
        usize::try_from(value).unwrap_or(0)
    }
}

struct Kernel<F> {
    inputs: Vec<(Place, usize)>,
    outputs: Vec<(Place, usize)>,
    precision: MatmulPrecision,
    call: F,
}

/// A step for the node that calls `call` with its operands, working memory and results. `None` when an operand is a weight
/// of the program, lies in half precision, or is none of f32, i32 and bool.
pub(super) fn claim(
    at: At<'_>,
    call: impl Fn(&Operands<'_, '_>, &mut Scratch, &mut [&mut [f32]]) + Send + Sync + 'static,
) -> Option<Claim> {
    claim_results(at, &at.node.outputs, call)
}

/// [`claim`] for a call that also gives the results of other nodes with the same operands.
pub(super) fn claim_results(
    at: At<'_>,
    results: &[ValueId],
    call: impl Fn(&Operands<'_, '_>, &mut Scratch, &mut [&mut [f32]]) + Send + Sync + 'static,
) -> Option<Claim> {
    claim_numbers(at, &at.node.inputs, results, move |operands, scratch, out| {
        let in_f32 = |out| match out {
            NumbersMut::F32(out) => out,
            NumbersMut::Bf16(_) => Default::default(),
        };
        let mut out: Vec<&mut [f32]> = out.into_iter().map(in_f32).collect();
        call(operands, scratch, &mut out);
    })
}

/// [`claim_results`] for a call with these operands, that gives results in the type that they are kept in
/// ([`super::packed`]).
pub(super) fn claim_numbers(
    at: At<'_>,
    operands: &[ValueId],
    results: &[ValueId],
    call: impl Fn(&Operands<'_, '_>, &mut Scratch, Vec<NumbersMut<'_>>) + Send + Sync + 'static,
) -> Option<Claim> {
    let (planning, node) = (at.planning, at.node);
    let sized = |value: &ValueId| (*value, planning.program.type_of(*value).elements());
    let lies_as_numbers = |value: &ValueId| {
        let dtype = planning.program.type_of(*value).dtype;
        planning.weight(*value).is_none() && matches!(dtype, DType::F32 | DType::I32 | DType::Bool)
    };
    if !operands.iter().chain(results).all(lies_as_numbers) {
        return None;
    }
    let inputs: Vec<_> = operands.iter().map(sized).collect();
    let outputs: Vec<_> = results.iter().map(sized).collect();
    let precision = planning.precision;
    let make = Box::new(move |places: &crate::cpu::plan::Places, _: &mut _| {
        let placed = |list: Vec<(ValueId, usize)>| {
            list.into_iter().map(|(value, count)| (places.of(value), count)).collect()
        };
        let (inputs, outputs) = (placed(inputs), placed(outputs));
        let step = Kernel { inputs, outputs, precision, call };
        Ok(Box::new(step) as Box<dyn Step>)
    });
    let (reads, writes) = (operands.to_vec(), results.to_vec());
    Some(Claim { reads, writes, ..Claim::node(at.id, node, make) })
}

impl<F: Fn(&Operands<'_, '_>, &mut Scratch, Vec<NumbersMut<'_>>) + Send + Sync> Step for Kernel<F> {
    fn run(&self, frame: &mut Frame<'_>) {
        let mut buffers: Vec<Buffer<'_>> =
            self.outputs.iter().map(|&(place, count)| frame.take(place, count)).collect();
        let mut scratch = std::mem::take(frame.scratch);
        let outputs = buffers.iter_mut().map(Buffer::numbers).collect();
        let operands = Operands { frame, places: &self.inputs, precision: self.precision };
        (self.call)(&operands, &mut scratch, outputs);
        *frame.scratch = scratch;
        for (buffer, &(place, _)) in buffers.into_iter().zip(&self.outputs) {
            frame.put(place, buffer);
        }
    }
}
