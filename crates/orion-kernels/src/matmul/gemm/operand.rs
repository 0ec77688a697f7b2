//! The operands of a blocked product: dense matrices by rows or by columns, and packed weights.

use std::ops::Range;

use super::{Plan, pack};
use crate::matmul::{GROUP_ROWS, PackedMatrix};

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
        Self { data, rows, columns, stride, by_columns: false }
    }

    /// The first `rows` rows.
    ///
    /// # Panics
    /// When there are fewer, or the matrix is transposed.
    pub fn first_rows(self, rows: usize) -> Self {
        assert!(rows <= self.rows && !self.by_columns, "rows of the matrix");
        Self { rows, ..self }
    }

    /// The transposed matrix, in the same memory.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, by_columns: !self.by_columns, ..self }
    }

    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn column_count(&self) -> usize {
        self.columns
    }

    /// Packs the rows `block` for the columns `depth`: `out[k][row]`.
    pub(super) fn pack_block(&self, block: &Range<usize>, depth: &Range<usize>, out: &mut [f32]) {
        if self.by_columns {
            self.copy_lines(depth, block, out, block.len());
        } else {
            let x = &self.data[block.start * self.stride..];
            pack::pack_block(x, block.len(), self.stride, depth, out);
        }
    }

    /// The rows `block` rounded to bf16, as pairs.
    pub(super) fn round_pairs(&self, block: &Range<usize>, out: &mut Vec<f32>) {
        debug_assert!(!self.by_columns && self.stride == self.columns);
        let x = &self.data[block.start * self.columns..block.end * self.columns];
        pack::round_pairs(x, self.columns, out);
    }

    /// Copies the part `columns` of the stored lines `lines` to the starts of lines of `out`.
    fn copy_lines(&self, lines: &Range<usize>, part: &Range<usize>, out: &mut [f32], width: usize) {
        for (line, out) in lines.clone().zip(out.chunks_mut(width)) {
            let line = &self.data[line * self.stride..][part.clone()];
            out[..line.len()].copy_from_slice(line);
        }
    }
}

impl Panels for MatrixView<'_> {
    fn columns(&self) -> usize {
        self.columns
    }

    fn fill(&self, plan: &Plan, from: Range<usize>, depth: &Range<usize>, panel: &mut [f32]) {
        let width = plan.kernel.groups * GROUP_ROWS;
        if !self.by_columns {
            self.copy_lines(depth, &from, panel, width);
            return;
        }
        // Columns that are stored as lines are what the left operand's rows are, but the last panel may be narrow.
        let columns = &self.data[from.start * self.stride..];
        if from.len() == width {
            pack::pack_block(columns, width, self.stride, depth, panel);
        } else {
            for (lane, column) in columns.chunks(self.stride).take(from.len()).enumerate() {
                for (k, value) in column[depth.clone()].iter().enumerate() {
                    panel[k * width + lane] = *value;
                }
            }
        }
    }

    fn prefetch(
        &self,
        _: &Plan,
        from: Range<usize>,
        depth: &Range<usize>,
        (part, parts): (usize, usize),
    ) {
        let (lines, within) = if self.by_columns { (&from, depth) } else { (depth, &from) };
        for line in crate::pool::split(lines.len(), parts, part) {
            let line = &self.data[(lines.start + line) * self.stride..][within.clone()];
            pack::prefetch(line);
        }
    }
}
