//! `embedding` from a packed table, which a tied output projection shares.

use std::sync::Arc;

use orion_compiler::Op;
use orion_kernels::matmul::PackedMatrix;

use super::{At, Claim, Step};
use crate::cpu::frame::{Frame, Place};

struct Embedding {
    table: Arc<PackedMatrix>,
    index: Place,
    out: Place,
    count: usize,
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let Op::Embedding(_) = &at.node.op else { return None };
    let (planning, (table, index, out)) =
        (at.planning, (at.node.inputs[0], at.node.inputs[1], at.node.outputs[0]));
    let name = planning.program.weights()[planning.weight(table)?].name.clone();
    if !super::has_kernel(&at.node.op, &planning.types(at.node))
        || planning.program.type_of(table).rank() != 2
    {
        return None;
    }
    let ty = planning.program.type_of(table).clone();
    let count = planning.program.type_of(index).elements();
    let mut claim = Claim::node(
        at.id,
        at.node,
        Box::new(move |places, store| {
            let table = store.packed(&name, &ty)?;
            Ok(Box::new(Embedding { table, index: places.of(index), out: places.of(out), count }))
        }),
    );
    claim.reads = vec![index];
    Some(claim)
}

impl Step for Embedding {
    fn run(&self, frame: &mut Frame<'_>) {
        let mut out = frame.take(self.out, self.count * self.table.columns());
        let rows = out.chunks_exact_mut(self.table.columns());
        for (index, row) in frame.ints(self.index, self.count).into_iter().zip(rows) {
            // As `gather` means it: an index outside of the table reads the nearest row.
            let index = usize::try_from(index).unwrap_or(0).min(self.table.rows() - 1);
            self.table.read_row(index, row);
        }
        frame.put(self.out, out);
    }
}
