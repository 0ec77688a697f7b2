//! A part of a dense matrix in f32, and how it is packed on any CPU. [`super::registers`] does the same faster where the CPU
//! rounds to bf16.

use std::ops::Range;

use super::narrow::{self, Lines, Narrow};
use super::{Plan, Units, pack};
use crate::Isa;

/// A part of a matrix: row after row, or column after column.
pub(super) struct DensePart<'a> {
    pub(super) data: &'a [f32],
    /// Values between the starts of two stored lines.
    pub(super) stride: usize,
    /// Stored lines.
    pub(super) count: usize,
    /// Values of each.
    pub(super) width: usize,
    /// Whether a stored line is a column.
    pub(super) by_columns: bool,
    /// What values are rounded to as they are read.
    pub(super) narrow: Option<Narrow>,
}

impl<'a> DensePart<'a> {
    /// Packs all rows, those of `blocks`, with all columns, which are `units` units.
    pub(super) fn pack(
        &self,
        plan: &Plan,
        blocks: &Range<usize>,
        units: usize,
        out: &mut [f32],
        scales: &mut [f32],
        lines: &mut Vec<f32>,
    ) {
        let start = plan.rows(blocks).start;
        for (block, scale) in blocks.clone().zip(scales) {
            let block = plan.block(block);
            let block = block.start - start..block.end - start;
            let out = &mut out[block.start * units..block.end * units];
            *scale = if self.by_columns {
                self.copy_lines(plan, &block, out, block.len())
            } else {
                self.turn_lines(plan, &block, out, lines)
            };
        }
    }

    /// Fills one panel with the columns `from` of all rows, which are `units` units. Returns what the product is to be
    /// multiplied with.
    pub(super) fn fill_panel(
        &self,
        plan: &Plan,
        from: &Range<usize>,
        units: usize,
        panel: &mut [f32],
        lines: &mut Vec<f32>,
    ) -> f32 {
        let width = plan.width();
        if !self.by_columns {
            return self.copy_lines(plan, from, panel, width);
        }
        if from.len() == width {
            // Columns that are stored as lines are what the left operand's rows are.
            return self.turn_lines(plan, from, panel, lines);
        }
        // The last panel may be narrow.
        let mut narrow = vec![0.0; from.len() * units];
        let scale = self.turn_lines(plan, from, &mut narrow, lines);
        for (lanes, out) in narrow.chunks(from.len()).zip(panel.chunks_mut(width)) {
            out[..lanes.len()].copy_from_slice(lanes);
        }
        scale
    }

    fn line(&self, index: usize) -> &'a [f32] {
        &self.data[index * self.stride..][..self.width]
    }

    /// `out[unit][line]` for the stored lines `from`.
    fn turn_lines(
        &self,
        plan: &Plan,
        from: &Range<usize>,
        out: &mut [f32],
        lines: &mut Vec<f32>,
    ) -> f32 {
        let isa = plan.isa;
        if let (Units::Pairs, Some(narrow)) = (plan.kernel.units, self.narrow) {
            let sizes = || from.clone().map(|index| narrow::largest(isa, self.line(index)));
            let (to, back) = narrow.scaled_to(|| sizes().fold(0.0, f32::max));
            lines.clear();
            for index in from.clone() {
                narrow::append_pairs(isa, self.line(index), lines, to);
            }
            let units = self.width.div_ceil(2);
            pack::pack_block(lines, from.len(), units, &(0..units), out);
            return back;
        }
        let stored = &self.data[from.start * self.stride..];
        pack::pack_block(stored, from.len(), self.stride, &(0..self.width), out);
        self.round(isa, &mut out[..from.len() * self.width])
    }

    /// Copies the part `part` of all stored lines, a unit's lines together, to the starts of lines of `out`.
    fn copy_lines(&self, plan: &Plan, part: &Range<usize>, out: &mut [f32], width: usize) -> f32 {
        if let (Units::Pairs, Some(narrow)) = (plan.kernel.units, self.narrow) {
            let data = &self.data[part.start..];
            let lines = Lines { data, stride: self.stride, width: part.len(), count: self.count };
            let (to, back) = narrow.scaled_to(|| narrow::largest_of(plan.isa, lines));
            narrow::join(plan.isa, lines, out, width, to);
            return back;
        }
        let out = if part.len() == width {
            &mut out[..self.count * width]
        } else {
            // Lanes without a value would be rounded, too, and may be any size.
            out.fill(0.0);
            out
        };
        for (index, to) in (0..self.count).zip(out.chunks_mut(width)) {
            copy_short(&self.line(index)[part.clone()], to);
        }
        self.round(plan.isa, out)
    }

    /// Rounds numbers of the matrix in their place; returns what the product is to be multiplied with.
    fn round(&self, isa: Isa, values: &mut [f32]) -> f32 {
        let Some(narrow) = self.narrow else { return 1.0 };
        let (to, back) = narrow.scaled_to(|| narrow::largest(isa, values));
        narrow::round(isa, values, to);
        back
    }
}

/// Copies a few values; a call of the library's copy would take longer than they do.
#[inline(always)]
fn copy_short(from: &[f32], to: &mut [f32]) {
    let (from, from_rest) = from.as_chunks::<4>();
    let (to, to_rest) = to.split_at_mut(4 * from.len());
    for (from, to) in from.iter().zip(to.as_chunks_mut::<4>().0) {
        *to = *from;
    }
    for (from, to) in from_rest.iter().zip(to_rest) {
        *to = *from;
    }
}
