//! Dense matrices as operands.

use std::ops::Range;

use half::bf16;

use super::Plan;
use super::dense_part::DensePart;
use super::narrow::Narrow;
use super::operand::{PackMemory, Panels, cut};
#[cfg(target_arch = "x86_64")]
use super::{Units, narrow::Lines, registers};
use crate::Isa;
use crate::convert::widen;
use crate::numbers::Numbers;
use crate::prefetch::prefetch;
use crate::vectorize::vectorized;

/// A dense matrix: row after row, or column after column.
#[derive(Clone, Copy, Debug)]
pub struct MatrixView<'a> {
    data: Numbers<'a>,
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
    pub(in crate::matmul) data: Numbers<'a>,
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
        Self::of(Numbers::F32(data), rows, columns, stride)
    }

    /// Rows of numbers of either type that start `stride` values apart.
    ///
    /// # Panics
    /// As [`strided`](Self::strided).
    pub fn of(data: Numbers<'a>, rows: usize, columns: usize, stride: usize) -> Self {
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
        let data = self.data.part(first * self.stride..self.data.len());
        Self { data, rows, ..self }
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

    /// Whether it is the same part of the same memory, read in the same way.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let start = |data| match data {
            Numbers::F32(data) => data.as_ptr_range().start.cast::<u8>(),
            Numbers::Bf16(data) => data.as_ptr_range().start.cast(),
        };
        let kept = |matrix: &Self| matches!(matrix.data, Numbers::F32(_));
        let form = |m: &Self| (m.rows, m.columns, m.stride, m.by_columns, m.narrow, kept(m));
        start(self.data) == start(other.data) && form(self) == form(other)
    }

    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn column_count(&self) -> usize {
        self.columns
    }

    /// What numbers are rounded to.
    pub(super) const fn narrow(&self) -> Option<Narrow> {
        self.narrow
    }

    /// Whether numbers are rounded to bf16.
    pub(crate) fn is_in_bf16(&self) -> bool {
        self.narrow == Some(Narrow::Bf16)
    }

    /// Asks for all of it, to be read soon.
    pub(crate) fn prefetch_all(&self) {
        let (lines, width) = if self.by_columns {
            (self.columns, 0..self.rows)
        } else {
            (self.rows, 0..self.columns)
        };
        (0..lines).for_each(|line| self.prefetch_line(line, &width));
    }

    /// Writes one row.
    pub(crate) fn copy_row(&self, isa: Isa, row: usize, out: &mut [f32]) {
        if self.by_columns {
            self.turn_rows(isa, row..row + 1, 1, out);
        } else {
            self.copy_line(isa, row, &(0..self.columns), out);
        }
    }

    /// Writes the rows `rows` side by side: `out[column · width + index]` is element `column` of the row with this index.
    pub(in crate::matmul) fn turn_rows(
        &self,
        isa: Isa,
        rows: Range<usize>,
        width: usize,
        out: &mut [f32],
    ) {
        if self.by_columns {
            for (column, out) in (0..self.columns).zip(out.chunks_mut(width)) {
                self.copy_line(isa, column, &rows, &mut out[..rows.len()]);
            }
            return;
        }
        let mut wide = Vec::new();
        for (index, row) in rows.enumerate() {
            let line = self.line(row, &(0..self.columns)).read(0..self.columns, &mut wide);
            for (out, &value) in out.chunks_mut(width).zip(line) {
                out[index] = value;
            }
        }
    }

    /// The part `part` of a stored line.
    fn line(&self, index: usize, part: &Range<usize>) -> Numbers<'a> {
        let start = index * self.stride;
        self.data.part(start + part.start..start + part.end)
    }

    /// Copies the part `part` of a stored line.
    fn copy_line(&self, isa: Isa, index: usize, part: &Range<usize>, to: &mut [f32]) {
        match self.line(index, part) {
            Numbers::F32(line) => to.copy_from_slice(line),
            Numbers::Bf16(line) => vectorized!(isa, widen(to: &mut [f32], line: &[bf16])),
        }
    }

    fn prefetch_line(&self, index: usize, part: &Range<usize>) {
        match self.line(index, part) {
            Numbers::F32(line) => prefetch(line.as_ptr(), line.len()),
            Numbers::Bf16(line) => prefetch(line.as_ptr(), line.len()),
        }
    }

    /// The stored lines that a part is of, and its part of each.
    fn stored_part(
        &self,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) -> (Range<usize>, Range<usize>) {
        if self.by_columns {
            (columns.clone(), rows.clone())
        } else {
            (rows.clone(), columns.clone())
        }
    }

    /// A part where it is stored, unless that is in bf16.
    fn part(&self, rows: &Range<usize>, columns: &Range<usize>) -> Option<DensePart<'a>> {
        let Numbers::F32(data) = self.data else { return None };
        let (lines, part) = self.stored_part(rows, columns);
        let data = &data[lines.start * self.stride + part.start..];
        Some(self.part_of(data, self.stride, lines.len(), part.len()))
    }

    /// A copy of a part.
    fn copied_part<'b>(
        &self,
        isa: Isa,
        rows: &Range<usize>,
        columns: &Range<usize>,
        buffer: &'b mut Vec<f32>,
    ) -> DensePart<'b> {
        let (lines, part) = self.stored_part(rows, columns);
        let width = part.len();
        buffer.resize(lines.len() * width, 0.0);
        for (line, to) in lines.clone().zip(buffer.chunks_mut(width.max(1))) {
            self.copy_line(isa, line, &part, to);
        }
        self.part_of(buffer, width, lines.len(), width)
    }

    fn part_of<'b>(
        &self,
        data: &'b [f32],
        stride: usize,
        count: usize,
        width: usize,
    ) -> DensePart<'b> {
        let (by_columns, narrow) = (self.by_columns, self.narrow);
        DensePart { data, stride, count, width, by_columns, narrow }
    }

    /// Packs the rows of `blocks` for the units `depth` as left operand, one block after the other:
    /// `block[unit * rows + row]`. `scales` become what products with each block are to be multiplied with.
    pub(super) fn pack(
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
        if self.takes_registers(plan) {
            let blocks = blocks.clone().map(|block| plan.block(block));
            if self.by_columns {
                self.join(&columns, &rows, &blocks.collect::<Vec<_>>(), out, 0);
            } else {
                for block in blocks {
                    let units = &mut out[(block.start - rows.start) * depth.len()..];
                    let units = &mut units[..block.len() * depth.len()];
                    self.turn(&block, &columns, units, block.len());
                }
            }
            scales.fill(1.0);
            return;
        }
        // Of columns a copy: a block of a few rows would take a few values of each, and each time as many pages and cache
        // lines as there are columns.
        let in_place = if self.by_columns { None } else { self.part(&rows, &columns) };
        let part = in_place.unwrap_or_else(|| self.copied_part(plan.isa, &rows, &columns, part));
        part.pack(plan, blocks, depth.len(), out, scales, lines);
    }

    /// Whether the CPU rounds and pairs in registers what this kernel multiplies: the kernel is that of AVX-512 BF16, the
    /// only one for pairs of bf16.
    #[cfg(target_arch = "x86_64")]
    fn takes_registers(&self, plan: &Plan) -> bool {
        plan.kernel.units == Units::Pairs
            && self.narrow == Some(Narrow::Bf16)
            && plan.isa.bf16_dot()
    }

    /// [`registers::join`] of the part `part` of the stored lines `from`, where the matrix
    /// [takes registers](Self::takes_registers).
    #[cfg(target_arch = "x86_64")]
    fn join(
        &self,
        from: &Range<usize>,
        part: &Range<usize>,
        blocks: &[Range<usize>],
        out: &mut [f32],
        width: usize,
    ) {
        // SAFETY: as `takes_registers` says.
        unsafe {
            match self.data {
                Numbers::F32(x) => registers::join(self.lines(x, from, part), blocks, out, width),
                Numbers::Bf16(x) => registers::join(self.lines(x, from, part), blocks, out, width),
            }
        }
    }

    /// [`registers::turn`] of the part `part` of the stored lines `from`, where the matrix
    /// [takes registers](Self::takes_registers).
    #[cfg(target_arch = "x86_64")]
    fn turn(&self, from: &Range<usize>, part: &Range<usize>, out: &mut [f32], width: usize) {
        // SAFETY: as `takes_registers` says.
        unsafe {
            match self.data {
                Numbers::F32(x) => registers::turn(self.lines(x, from, part), out, width),
                Numbers::Bf16(x) => registers::turn(self.lines(x, from, part), out, width),
            }
        }
    }

    /// The part `part` of the lines `from` that `data` stores.
    #[cfg(target_arch = "x86_64")]
    fn lines<'b, T>(
        &self,
        data: &'b [T],
        from: &Range<usize>,
        part: &Range<usize>,
    ) -> Lines<'b, T> {
        let data = &data[from.start * self.stride + part.start..];
        Lines { data, stride: self.stride, width: part.len(), count: from.len() }
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
        PackMemory { lines, part }: &mut PackMemory,
    ) {
        let width = plan.width();
        let rows = plan.lines(depth, self.rows);
        let own = cut(&(0..from.len()), width);
        #[cfg(target_arch = "x86_64")]
        if self.takes_registers(plan) {
            if self.by_columns {
                let panels = panels.chunks_mut(width * depth.len());
                cut(from, width)
                    .zip(panels)
                    .for_each(|(own, out)| self.turn(&own, &rows, out, width));
            } else {
                self.join(&rows, from, &own.collect::<Vec<_>>(), panels, width);
            }
            scales.fill(1.0);
            return;
        }
        let part =
            self.part(&rows, from).unwrap_or_else(|| self.copied_part(plan.isa, &rows, from, part));
        let panels = panels.chunks_mut(width * depth.len());
        for ((own, panel), scale) in own.zip(panels).zip(scales) {
            *scale = part.fill_panel(plan, &own, depth.len(), panel, lines);
        }
    }

    fn prefetch(
        &self,
        plan: &Plan,
        from: Range<usize>,
        depth: &Range<usize>,
        (part, parts): (usize, usize),
    ) {
        let (lines, within) = self.stored_part(&plan.lines(depth, self.rows), &from);
        for line in crate::pool::split(lines.len(), parts, part) {
            self.prefetch_line(lines.start + line, &within);
        }
    }
}
