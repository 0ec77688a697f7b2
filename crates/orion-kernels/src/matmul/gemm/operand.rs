//! The operands of a blocked product: dense matrices by rows or by columns, and packed weights.

use std::ops::Range;

use super::{Plan, pack};
use crate::matmul::{GROUP_ROWS, PackedMatrix};
use crate::vectorize::vectorized;

/// The right operand of a product, as panels of `width` columns: `panel[k * width + lane]`.
pub(super) trait Panels: Sync {
    /// Columns of the product.
    fn columns(&self) -> usize;
    /// Fills a panel with the columns `from` for the units `depth`; lanes without a column hold anything finite.
    fn fill(&self, plan: &Plan, from: Range<usize>, depth: &Range<usize>, panel: &mut [f32]);
    /// Asks for part `part.0` of `part.1` of what [`fill`](Self::fill) will read.
    fn prefetch(&self, plan: &Plan, from: Range<usize>, depth: &Range<usize>, part: (usize, usize));
}

impl Panels for PackedMatrix {
    fn columns(&self) -> usize {
        self.rows()
    }

    fn fill(&self, plan: &Plan, from: Range<usize>, depth: &Range<usize>, panel: &mut [f32]) {
        let width = plan.kernel.groups * GROUP_ROWS;
        for (index, group) in groups(&from).enumerate() {
            let panel = &mut panel[index * GROUP_ROWS..];
            if plan.kernel.pairs {
                pack::copy_pairs(self.group(group), depth, panel, width);
            } else {
                self.widen(plan.isa, group, depth.clone(), panel, width);
            }
        }
    }

    fn prefetch(
        &self,
        plan: &Plan,
        from: Range<usize>,
        depth: &Range<usize>,
        (part, parts): (usize, usize),
    ) {
        for group in groups(&from) {
            let group = self.group(group);
            let at = |unit: usize| group.len() * unit / plan.units;
            let stretch = &group[at(depth.start)..at(depth.end)];
            pack::prefetch(&stretch[crate::pool::split(stretch.len(), parts, part)]);
        }
    }
}

/// The groups that hold these columns.
fn groups(columns: &Range<usize>) -> Range<usize> {
    columns.start / GROUP_ROWS..columns.end.div_ceil(GROUP_ROWS)
}

/// A dense f32 matrix: row after row, or column after column.
#[derive(Clone, Copy, Debug)]
pub struct MatrixView<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    /// Values between the starts of two stored lines.
    stride: usize,
    /// Whether a stored line is a column.
    by_columns: bool,
    /// Whether values are rounded to bf16 as they are read.
    in_bf16: bool,
}

impl<'a> MatrixView<'a> {
    /// Rows one after the other.
    ///
    /// # Panics
    /// When `data` is too short.
    pub fn rows(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// Rows that start `stride` values apart.
    ///
    /// # Panics
    /// When rows overlap or `data` is too short.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(stride >= columns, "rows do not overlap");
        assert!(rows == 0 || data.len() >= (rows - 1) * stride + columns, "all rows are there");
        Self { data, rows, columns, stride, by_columns: false, in_bf16: false }
    }

    /// The first `rows` rows.
    ///
    /// # Panics
    /// When there are fewer, or the matrix is transposed.
    pub fn first_rows(self, rows: usize) -> Self {
        self.rows_from(0, rows)
    }

    /// The `rows` rows from `first` on.
    ///
    /// # Panics
    /// When there are fewer, or the matrix is transposed.
    pub fn rows_from(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows && !self.by_columns, "rows of the matrix");
        Self { data: &self.data[first * self.stride..], rows, ..self }
    }

    /// The transposed matrix, in the same memory.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, by_columns: !self.by_columns, ..self }
    }

    /// The matrix rounded to bf16, in the same memory; a product of two such ones is summed in f32.
    pub fn in_bf16(self) -> Self {
        Self { in_bf16: true, ..self }
    }

    /// The matrix rounded to bf16 if the other one is.
    pub fn as_precise_as(self, other: &MatrixView<'_>) -> Self {
        Self { in_bf16: other.in_bf16, ..self }
    }

    /// Whether it is rounded to bf16.
    pub(super) fn is_bf16(&self) -> bool {
        self.in_bf16
    }

    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn column_count(&self) -> usize {
        self.columns
    }

    /// Packs the rows `block` for the units `depth`: `out[unit][row]`. `pairs` is working memory.
    pub(super) fn pack_block(
        &self,
        plan: &Plan,
        block: &Range<usize>,
        depth: &Range<usize>,
        out: &mut [f32],
        pairs: &mut Vec<f32>,
    ) {
        if self.by_columns {
            self.copy_lines(plan, depth, block, out, block.len());
        } else {
            self.turn_lines(plan, block, depth, out, pairs);
        }
        if self.in_bf16 && !plan.kernel.pairs {
            vectorized!(plan.isa, round_all(out: &mut [f32]));
        }
    }

    /// `out[unit][line]` for the stored lines `lines` and the units `depth` of them.
    fn turn_lines(
        &self,
        plan: &Plan,
        lines: &Range<usize>,
        depth: &Range<usize>,
        out: &mut [f32],
        pairs: &mut Vec<f32>,
    ) {
        let stored = &self.data[lines.start * self.stride..];
        if !plan.kernel.pairs {
            pack::pack_block(stored, lines.len(), self.stride, depth, out);
            return;
        }
        let length = if self.by_columns { self.rows } else { self.columns };
        let part = 2 * depth.start..(2 * depth.end).min(length);
        pairs.clear();
        for line in stored.chunks(self.stride).take(lines.len()) {
            pack::round_pairs(plan.isa, &line[part.clone()], pairs);
        }
        pack::pack_block(pairs, lines.len(), depth.len(), &(0..depth.len()), out);
    }

    /// Copies the part `columns` of the units of stored lines `units` to the starts of lines of `out`.
    fn copy_lines(
        &self,
        plan: &Plan,
        units: &Range<usize>,
        part: &Range<usize>,
        out: &mut [f32],
        width: usize,
    ) {
        let line = |index: usize| &self.data[index * self.stride..][part.clone()];
        let count = if self.by_columns { self.columns } else { self.rows };
        if !plan.kernel.pairs {
            for (index, out) in units.clone().zip(out.chunks_mut(width)) {
                copy_short(line(index), out);
            }
            return;
        }
        for (unit, out) in units.clone().zip(out.chunks_mut(width)) {
            let (low, second) = (line(2 * unit), 2 * unit + 1);
            let high = if second < count { line(second) } else { &[] };
            vectorized!(plan.isa, join_lines(low: &[f32], high: &[f32], out: &mut [f32]));
        }
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

#[inline(always)]
fn join_lines<const FUSED: bool>(low: &[f32], high: &[f32], out: &mut [f32]) {
    pack::join(low, high, out);
}

#[inline(always)]
fn round_all<const FUSED: bool>(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = pack::rounded(*value));
}

impl Panels for MatrixView<'_> {
    fn columns(&self) -> usize {
        self.columns
    }

    fn fill(&self, plan: &Plan, from: Range<usize>, depth: &Range<usize>, panel: &mut [f32]) {
        let width = plan.kernel.groups * GROUP_ROWS;
        if !self.by_columns {
            self.copy_lines(plan, depth, &from, panel, width);
        } else if from.len() == width {
            // Columns that are stored as lines are what the left operand's rows are.
            self.turn_lines(plan, &from, depth, panel, &mut Vec::new());
        } else {
            // The last panel may be narrow.
            let mut narrow = vec![0.0; from.len() * depth.len()];
            self.turn_lines(plan, &from, depth, &mut narrow, &mut Vec::new());
            for (lanes, out) in narrow.chunks(from.len()).zip(panel.chunks_mut(width)) {
                out[..lanes.len()].copy_from_slice(lanes);
            }
        }
        if self.in_bf16 && !plan.kernel.pairs {
            vectorized!(plan.isa, round_all(panel: &mut [f32]));
        }
    }

    fn prefetch(
        &self,
        plan: &Plan,
        from: Range<usize>,
        depth: &Range<usize>,
        (part, parts): (usize, usize),
    ) {
        // Units of two rows or columns each.
        let scale = if plan.kernel.pairs { 2 } else { 1 };
        let depth = scale * depth.start..(scale * depth.end).min(self.rows);
        let (lines, within) = if self.by_columns { (&from, &depth) } else { (&depth, &from) };
        for line in crate::pool::split(lines.len(), parts, part) {
            let line = &self.data[(lines.start + line) * self.stride..][within.clone()];
            pack::prefetch(line);
        }
    }
}
