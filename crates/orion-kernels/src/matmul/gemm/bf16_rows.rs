//! Dense matrices that are stored in bf16 as left operands: half the memory traffic, and nothing to round.

use std::ops::Range;

use half::bf16;

#[cfg(target_arch = "x86_64")]
use super::narrow::Lines;
use super::narrow::Narrow;
use super::operand::{Blocks, PackMemory};
use super::{MatrixView, Plan};
#[cfg(target_arch = "x86_64")]
use super::{Units, registers};
use crate::convert::widen;
use crate::vectorize::vectorized;

/// A matrix of bf16, row after row, or the transposed of one.
#[derive(Clone, Copy)]
pub(crate) struct Bf16Rows<'a> {
    data: &'a [bf16],
    /// Stored lines and values of each.
    lines: usize,
    width: usize,
    /// Values between the starts of two lines.
    stride: usize,
    /// Whether a stored line is a column.
    by_columns: bool,
}

impl<'a> Bf16Rows<'a> {
    /// Rows that start `stride` values apart.
    ///
    /// # Panics
    /// When rows overlap or `data` is too short.
    pub(crate) fn strided(data: &'a [bf16], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(stride >= columns, "rows do not overlap");
        assert!(rows == 0 || data.len() >= (rows - 1) * stride + columns, "all rows are there");
        Self { data, lines: rows, width: columns, stride, by_columns: false }
    }

    /// The transposed matrix, in the same memory.
    pub(crate) fn transposed(self) -> Self {
        Self { by_columns: !self.by_columns, ..self }
    }
}

impl Blocks for Bf16Rows<'_> {
    fn row_count(&self) -> usize {
        if self.by_columns { self.width } else { self.lines }
    }

    fn column_count(&self) -> usize {
        if self.by_columns { self.lines } else { self.width }
    }

    fn narrow(&self) -> Option<Narrow> {
        Some(Narrow::Bf16)
    }

    fn pack(
        &self,
        plan: &Plan,
        blocks: &Range<usize>,
        depth: &Range<usize>,
        out: &mut [f32],
        scales: &mut [f32],
        memory: &mut PackMemory,
    ) {
        let rows = plan.rows(blocks);
        let columns = plan.lines(depth, self.column_count());
        let (lines, part) = if self.by_columns { (columns, rows) } else { (rows, columns) };
        #[cfg(target_arch = "x86_64")]
        if plan.kernel.units == Units::Pairs && plan.isa.bf16_dot() {
            let lines_of = |from: Range<usize>| {
                let data = &self.data[from.start * self.stride + part.start..];
                Lines { data, stride: self.stride, width: part.len(), count: from.len() }
            };
            let each = blocks.clone().map(|block| plan.block(block));
            scales.fill(1.0);
            if self.by_columns {
                // SAFETY: the CPU has the instructions.
                unsafe { registers::join(lines_of(lines), &each.collect::<Vec<_>>(), out, 0) };
            } else {
                for block in each {
                    let at = (block.start - lines.start) * depth.len();
                    let (out, width) = (&mut out[at..][..block.len() * depth.len()], block.len());
                    // SAFETY: as above.
                    unsafe { registers::turn(lines_of(block), out, width) };
                }
            }
            return;
        }
        // As numbers of f32, which rounding leaves as they are.
        let mut wide = vec![0.0; lines.len() * part.len()];
        for (line, wide) in lines.clone().zip(wide.chunks_mut(part.len())) {
            let line = &self.data[line * self.stride..][part.clone()];
            vectorized!(plan.isa, widen(wide: &mut [f32], line: &[bf16]));
        }
        let view = MatrixView::rows(&wide, lines.len(), part.len()).in_bf16();
        let view = if self.by_columns { view.transposed() } else { view };
        view.pack_part(plan, blocks, depth.len(), out, scales, &mut memory.lines);
    }
}
