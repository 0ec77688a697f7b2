//! Dense f32 matrices as operands.

use std::ops::Range;

use super::narrow::{self, Lines, Narrow};
use super::operand::{Blocks, PackMemory, Panels, cut};
#[cfg(target_arch = "x86_64")]
use super::registers;
use super::{Plan, Units, pack};
use crate::Isa;
use crate::prefetch::prefetch;

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
    /// What values are rounded to as they are read.
    narrow: Option<Narrow>,
}

/// The lines of a matrix.
pub(in crate::matmul) struct StoredLines<'a> {
    pub(in crate::matmul) data: &'a [f32],
    /// Values between the starts of two lines.
    pub(in crate::matmul) stride: usize,
    /// Whether a line is a column.
    pub(in crate::matmul) by_columns: bool,
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
        Self { data, rows, columns, stride, by_columns: false, narrow: None }
    }

    /// How it is stored.
    pub(in crate::matmul) const fn stored(&self) -> StoredLines<'a> {
        StoredLines { data: self.data, stride: self.stride, by_columns: self.by_columns }
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
        Self { narrow: Some(Narrow::Bf16), ..self }
    }

    /// The matrix rounded to f16, in the same memory, block by block times the power of two that brings it into range; a
    /// product of two such ones is summed in f16 over up to 128 columns, in f32 over those sums.
    pub fn in_f16(self) -> Self {
        Self { narrow: Some(Narrow::F16), ..self }
    }

    /// The matrix rounded as the other one is.
    pub fn as_precise_as(self, other: &MatrixView<'_>) -> Self {
        Self { narrow: other.narrow, ..self }
    }

    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn column_count(&self) -> usize {
        self.columns
    }

    /// A part of the matrix. Of columns it is a copy in `buffer`: a block of a few rows would take a few values of each,
    /// and each time as many pages and cache lines as there are columns.
    pub(super) fn part<'b>(
        &self,
        rows: &Range<usize>,
        columns: &Range<usize>,
        buffer: &'b mut Vec<f32>,
    ) -> MatrixView<'b>
    where
        'a: 'b,
    {
        let (row_count, column_count) = (rows.len(), columns.len());
        if !self.by_columns {
            let data = &self.data[rows.start * self.stride + columns.start..];
            return MatrixView { data, rows: row_count, columns: column_count, ..*self };
        }
        buffer.clear();
        for column in columns.clone() {
            buffer.extend_from_slice(self.line(column, rows));
        }
        MatrixView {
            data: buffer,
            rows: row_count,
            columns: column_count,
            stride: row_count,
            ..*self
        }
    }

    /// Asks for all of it, to be read soon.
    pub(crate) fn prefetch_all(&self) {
        let (lines, width) =
            if self.by_columns { (self.columns, self.rows) } else { (self.rows, self.columns) };
        for line in 0..lines {
            let line = self.line(line, &(0..width));
            prefetch(line.as_ptr(), line.len());
        }
    }

    /// Writes one row.
    pub(crate) fn copy_row(&self, row: usize, out: &mut [f32]) {
        if self.by_columns {
            for (column, out) in (0..self.columns).zip(out) {
                *out = self.data[column * self.stride + row];
            }
        } else {
            out.copy_from_slice(self.line(row, &(0..self.columns)));
        }
    }

    /// Whether numbers are rounded to bf16.
    pub(crate) fn is_in_bf16(&self) -> bool {
        self.narrow == Some(Narrow::Bf16)
    }

    /// Writes the rows `rows` side by side: `out[column · width + index]` is element `column` of the row with this index.
    pub(in crate::matmul) fn turn_rows(&self, rows: Range<usize>, width: usize, out: &mut [f32]) {
        if self.by_columns {
            for (column, out) in (0..self.columns).zip(out.chunks_mut(width)) {
                copy_short(self.line(column, &rows), out);
            }
        } else {
            for (index, row) in rows.enumerate() {
                let line = self.line(row, &(0..self.columns));
                for (out, &value) in out.chunks_mut(width).zip(line) {
                    out[index] = value;
                }
            }
        }
    }

    /// The part `part` of a stored line.
    fn line(&self, index: usize, part: &Range<usize>) -> &'a [f32] {
        &self.data[index * self.stride..][part.clone()]
    }

    /// The part `part` of the stored lines `from`.
    fn lines(&self, from: &Range<usize>, part: &Range<usize>) -> Lines<'a> {
        let data = &self.data[from.start * self.stride + part.start..];
        Lines { data, stride: self.stride, width: part.len(), count: from.len() }
    }

    /// Whether the CPU rounds and pairs in registers what this kernel multiplies: the kernel is that of AVX-512 BF16, the
    /// only one for pairs of bf16.
    #[cfg(target_arch = "x86_64")]
    fn takes_registers(&self, plan: &Plan) -> bool {
        plan.kernel.units == Units::Pairs
            && self.narrow == Some(Narrow::Bf16)
            && plan.isa.bf16_dot()
    }

    /// Packs all rows, those of `blocks`, with all columns, which are `units` units.
    pub(super) fn pack_part(
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
            let columns = 0..self.columns;
            *scale = if self.by_columns {
                self.copy_lines(plan, &columns, &block, out, block.len())
            } else {
                self.turn_lines(plan, &block, &columns, out, lines)
            };
        }
    }

    /// Fills one panel with the columns `from`. Returns what the product is to be multiplied with.
    fn fill_panel(
        &self,
        plan: &Plan,
        from: &Range<usize>,
        depth: &Range<usize>,
        panel: &mut [f32],
        lines: &mut Vec<f32>,
    ) -> f32 {
        let width = plan.width();
        let rows = plan.lines(depth, self.rows);
        if !self.by_columns {
            return self.copy_lines(plan, &rows, from, panel, width);
        }
        #[cfg(target_arch = "x86_64")]
        if self.takes_registers(plan) {
            // SAFETY: as `takes_registers` says.
            unsafe { registers::turn(self.lines(from, &rows), panel, width) };
            return 1.0;
        }
        if from.len() == width {
            // Columns that are stored as lines are what the left operand's rows are.
            return self.turn_lines(plan, from, &rows, panel, lines);
        }
        // The last panel may be narrow.
        let mut narrow = vec![0.0; from.len() * depth.len()];
        let scale = self.turn_lines(plan, from, &rows, &mut narrow, lines);
        for (lanes, out) in narrow.chunks(from.len()).zip(panel.chunks_mut(width)) {
            out[..lanes.len()].copy_from_slice(lanes);
        }
        scale
    }

    /// `out[unit][line]` for the part `part` of the stored lines `from`.
    fn turn_lines(
        &self,
        plan: &Plan,
        from: &Range<usize>,
        part: &Range<usize>,
        out: &mut [f32],
        lines: &mut Vec<f32>,
    ) -> f32 {
        let isa = plan.isa;
        match (plan.kernel.units, self.narrow) {
            #[cfg(target_arch = "x86_64")]
            _ if self.takes_registers(plan) => {
                // SAFETY: as `takes_registers` says.
                unsafe { registers::turn(self.lines(from, part), out, from.len()) };
                1.0
            }
            (Units::Pairs, Some(narrow)) => {
                let sizes =
                    || from.clone().map(|index| narrow::largest(isa, self.line(index, part)));
                let (to, back) = narrow.scaled_to(|| sizes().fold(0.0, f32::max));
                lines.clear();
                for index in from.clone() {
                    narrow::append_pairs(isa, self.line(index, part), lines, to);
                }
                let units = part.len().div_ceil(2);
                pack::pack_block(lines, from.len(), units, &(0..units), out);
                back
            }
            _ => {
                let stored = &self.data[from.start * self.stride..];
                pack::pack_block(stored, from.len(), self.stride, part, out);
                self.round(isa, &mut out[..from.len() * part.len()])
            }
        }
    }

    /// Copies the part `part` of the stored lines `from`, a unit's lines together, to the starts of lines of `out`.
    fn copy_lines(
        &self,
        plan: &Plan,
        from: &Range<usize>,
        part: &Range<usize>,
        out: &mut [f32],
        width: usize,
    ) -> f32 {
        let copy = |to: &mut [f32], width: usize| {
            for (index, to) in from.clone().zip(to.chunks_mut(width)) {
                copy_short(self.line(index, part), to);
            }
        };
        match (plan.kernel.units, self.narrow) {
            (Units::Pairs, Some(narrow)) => {
                let lines = self.lines(from, part);
                let (to, back) = narrow.scaled_to(|| narrow::largest_of(plan.isa, lines));
                narrow::join(plan.isa, lines, out, width, to);
                back
            }
            _ if part.len() == width => {
                copy(out, width);
                self.round(plan.isa, &mut out[..from.len() * width])
            }
            _ => {
                // Lanes without a value would be rounded, too, and may be any size.
                out.fill(0.0);
                copy(out, width);
                self.round(plan.isa, out)
            }
        }
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

impl Blocks for MatrixView<'_> {
    fn row_count(&self) -> usize {
        self.rows
    }

    fn column_count(&self) -> usize {
        self.columns
    }

    fn narrow(&self) -> Option<Narrow> {
        self.narrow
    }

    fn pack(
        &self,
        plan: &Plan,
        blocks: &Range<usize>,
        depth: &Range<usize>,
        out: &mut [f32],
        scales: &mut [f32],
        PackMemory { lines, part }: &mut PackMemory,
    ) {
        let rows = plan.rows(blocks);
        let columns = plan.lines(depth, self.columns);
        #[cfg(target_arch = "x86_64")]
        if self.by_columns && self.takes_registers(plan) {
            let blocks: Vec<_> = blocks.clone().map(|block| plan.block(block)).collect();
            // SAFETY: as `takes_registers` says.
            unsafe { registers::join(self.lines(&columns, &rows), &blocks, out, 0) };
            scales.fill(1.0);
            return;
        }
        let part = self.part(&rows, &columns, part);
        part.pack_part(plan, blocks, depth.len(), out, scales, lines);
    }
}

impl Panels for MatrixView<'_> {
    fn columns(&self) -> usize {
        self.columns
    }

    fn fill(
        &self,
        plan: &Plan,
        from: &Range<usize>,
        depth: &Range<usize>,
        panels: &mut [f32],
        scales: &mut [f32],
        memory: &mut PackMemory,
    ) {
        let width = plan.width();
        #[cfg(target_arch = "x86_64")]
        if !self.by_columns && self.takes_registers(plan) {
            let rows = self.lines(&plan.lines(depth, self.rows), from);
            let panel_columns: Vec<_> = cut(&(0..from.len()), width).collect();
            // SAFETY: as `takes_registers` says.
            unsafe { registers::join(rows, &panel_columns, panels, width) };
            scales.fill(1.0);
            return;
        }
        let panels = panels.chunks_mut(width * depth.len());
        for ((from, panel), scale) in cut(from, width).zip(panels).zip(scales) {
            *scale = self.fill_panel(plan, &from, depth, panel, &mut memory.lines);
        }
    }

    fn prefetch(
        &self,
        plan: &Plan,
        from: Range<usize>,
        depth: &Range<usize>,
        (part, parts): (usize, usize),
    ) {
        let depth = plan.lines(depth, self.rows);
        let (lines, within) = if self.by_columns { (&from, &depth) } else { (&depth, &from) };
        for line in crate::pool::split(lines.len(), parts, part) {
            let line = &self.data[(lines.start + line) * self.stride..][within.clone()];
            prefetch(line.as_ptr(), line.len());
        }
    }
}
