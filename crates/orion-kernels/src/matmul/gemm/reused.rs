//! Operands that one thread packs once and multiplies several times, part by part: those of attention.

use std::ops::Range;

use super::narrow::Narrow;
use super::operand::{PackMemory, Panels};
use super::{MatrixView, Plan, TileKernel, TileOutput, Units, grow};
use crate::{Isa, memory::PageBuffer};

/// How operands are packed and multiplied: for the instructions of the CPU and what numbers are rounded to.
#[derive(Clone, Copy)]
pub(crate) struct TileProducts {
    isa: Isa,
    kernel: TileKernel,
    narrow: Option<Narrow>,
}

/// A left operand, `[rows, depth]`.
#[derive(Default)]
pub(crate) struct LeftOperand {
    /// The rows of each block.
    blocks: Vec<Range<usize>>,
    packed: Packed,
}

/// A right operand, `[depth, columns]`.
#[derive(Default)]
pub(crate) struct RightOperand {
    columns: usize,
    packed: Packed,
}

#[derive(Default)]
struct Packed {
    units: usize,
    values: Option<PageBuffer>,
    /// What products with each block or panel are multiplied with.
    scales: Vec<f32>,
    memory: PackMemory,
}

impl Packed {
    fn values(&self) -> &[f32] {
        self.values.as_ref().map_or(&[], PageBuffer::as_slice)
    }

    /// Room for `count` blocks or panels of `len` values together, their scales, and memory to pack them.
    fn room(
        &mut self,
        units: usize,
        count: usize,
        len: usize,
    ) -> (&mut [f32], &mut [f32], &mut PackMemory) {
        self.units = units;
        self.scales.resize(count, 1.0);
        (&mut grow(&mut self.values, len)[..len], &mut self.scales, &mut self.memory)
    }
}

/// Where a product goes.
pub(crate) struct ProductOutput<'a> {
    /// Row after row.
    pub(crate) values: &'a mut [f32],
    /// Values between the starts of two rows.
    pub(crate) stride: usize,
    /// Whether the product is added to what is there.
    pub(crate) accumulate: bool,
}

impl TileProducts {
    /// For matrices that are rounded as this one is.
    pub(crate) fn of(isa: Isa, matrix: &MatrixView<'_>) -> Self {
        let narrow = matrix.narrow();
        Self { isa, kernel: TileKernel::of(isa, narrow), narrow }
    }

    /// Rows of `x` that are multiplied together.
    pub(crate) fn rows(&self) -> usize {
        self.kernel.rows
    }

    /// The number of panels that hold so many columns.
    pub(crate) fn panels(&self, columns: usize) -> usize {
        columns.div_ceil(self.width())
    }

    /// Columns of a panel.
    pub(crate) fn width(&self) -> usize {
        self.kernel.groups * super::GROUP_ROWS
    }

    fn plan(&self, rows: usize, depth: usize) -> Plan {
        Plan::new(self.isa, self.kernel, rows, depth)
    }

    /// Packs a left operand.
    ///
    /// # Panics
    /// When it is rounded otherwise.
    pub(crate) fn pack_left(&self, x: &MatrixView<'_>, into: &mut LeftOperand) {
        assert_eq!(x.narrow(), self.narrow, "operands that are rounded alike");
        let (rows, depth) = (x.row_count(), x.column_count());
        let plan = self.plan(rows, depth);
        into.blocks.clear();
        into.blocks.extend((0..plan.blocks).map(|block| plan.block(block)));
        let room = into.packed.room(plan.units, plan.blocks, rows * plan.units);
        let (out, scales, memory) = room;
        x.pack(&plan, &(0..plan.blocks), &(0..plan.units), out, scales, memory);
    }

    /// Packs a right operand.
    ///
    /// # Panics
    /// When it is rounded otherwise, or has no rows.
    pub(crate) fn pack_right(&self, y: &MatrixView<'_>, into: &mut RightOperand) {
        assert_eq!(y.narrow(), self.narrow, "operands that are rounded alike");
        let (depth, columns) = (y.row_count(), y.column_count());
        let plan = self.plan(0, depth);
        into.columns = columns;
        let panels = self.panels(columns);
        let room = into.packed.room(plan.units, panels, panels * self.width() * plan.units);
        let (out, scales, memory) = room;
        y.fill(&plan, &(0..columns), &(0..plan.units), out, scales, memory);
    }

    /// `out = x · y` for some `panels` of `y`, summed over `depth`, whose ends are rounded outwards to whole units.
    ///
    /// # Panics
    /// When an operand is smaller than its part, or `out` has no room for the columns.
    pub(crate) fn multiply(
        &self,
        x: &LeftOperand,
        y: &RightOperand,
        panels: Range<usize>,
        depth: Range<usize>,
        out: ProductOutput<'_>,
    ) {
        let ProductOutput { values, stride, accumulate } = out;
        let units = match self.kernel.units {
            Units::Single => depth,
            Units::Pairs => depth.start / 2..depth.end.div_ceil(2),
        };
        let width = self.width();
        let rows = x.blocks.last().map_or(0, |block| block.end);
        let columns = y.columns.min(panels.end * width);
        assert!(units.end <= x.packed.units.min(y.packed.units), "operands as deep as the part");
        assert!(stride >= columns && values.len() >= rows * stride, "room for the product");
        let (left, right) = (x.packed.values(), y.packed.values());
        for panel in panels {
            let lanes = (columns - panel * width).min(width);
            let scale = y.packed.scales[panel];
            let start = panel * y.packed.units;
            let panel_values = &right[(start + units.start) * width..(start + units.end) * width];
            for (block, left_scale) in x.blocks.iter().zip(&x.packed.scales) {
                let own = &left[block.start * x.packed.units..block.end * x.packed.units];
                let own = &own[units.start * block.len()..units.end * block.len()];
                let start = values[block.start * stride + panel * width..].as_mut_ptr();
                let out = TileOutput { start, stride, lanes, scale: scale * left_scale };
                // SAFETY: the kernel was chosen by an `Isa`; the rows and lanes lie in `values`, as was checked.
                unsafe { (self.kernel.run)(own, panel_values, block.len(), out, accumulate) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, noise};

    #[test]
    fn parts_of_packed_operands_multiply_as_matrices_do() {
        let (rows, depth, columns, stride) = (29, 70, 75, 96);
        let (x, y) = (noise(rows * depth, 1), noise(depth * columns, 2));
        let row_of = |matrix: &MatrixView<'_>, row| {
            let mut out = vec![0.0; matrix.column_count()];
            matrix.copy_row(Isa::portable(), row, &mut out);
            out
        };
        for isa in Isa::available() {
            for left in
                [MatrixView::rows(&x, rows, depth), MatrixView::rows(&x, depth, rows).transposed()]
            {
                for right in [
                    MatrixView::rows(&y, depth, columns),
                    MatrixView::rows(&y, columns, depth).transposed(),
                ] {
                    let products = TileProducts::of(isa, &left);
                    let (mut packed_x, mut packed_y) = Default::default();
                    products.pack_left(&left, &mut packed_x);
                    products.pack_right(&right, &mut packed_y);
                    let (panels, part) = (1..products.panels(columns), 6..64);
                    let mut out = vec![1.0; rows * stride];
                    let to = ProductOutput { values: &mut out, stride, accumulate: true };
                    products.multiply(&packed_x, &packed_y, panels, part.clone(), to);
                    let y_rows: Vec<_> = (0..depth).map(|row| row_of(&right, row)).collect();
                    for (row, out) in out.chunks(stride).enumerate() {
                        let x = row_of(&left, row);
                        for (column, &found) in out.iter().enumerate() {
                            let terms = part
                                .clone()
                                .map(|k| f64::from(x[k]) * f64::from(y_rows[k][column.min(74)]));
                            let is_in = (products.width()..columns).contains(&column);
                            let expected = if is_in { 1.0 + terms.sum::<f64>() } else { 1.0 };
                            assert_near(found, expected, 1e-5, isa.name());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn parts_of_rounded_operands_multiply_as_matrices_do() {
        let (rows, depth, columns) = (29, 71, 75);
        let (mut x, mut y) = (noise(rows * depth, 3), noise(depth * columns, 4));
        // Blocks and panels of very different sizes, so that each needs its own scale.
        for (row, x) in x.chunks_mut(depth).enumerate() {
            x.iter_mut().for_each(|x| *x *= 4.0_f32.powi(row as i32 / 7));
        }
        for y in y.chunks_mut(columns) {
            y.iter_mut().enumerate().for_each(|(at, y)| *y *= 4.0_f32.powi(at as i32 / 32));
        }
        for isa in Isa::available() {
            for round in [MatrixView::in_bf16, MatrixView::in_f16] {
                let left = round(MatrixView::rows(&x, rows, depth));
                let right = round(MatrixView::rows(&y, depth, columns));
                let products = TileProducts::of(isa, &left);
                let (mut packed_x, mut packed_y) = Default::default();
                products.pack_left(&left, &mut packed_x);
                products.pack_right(&right, &mut packed_y);
                for part in [6..71, 7..64] {
                    let mut out = vec![0.0; rows * columns];
                    let panels = 0..products.panels(columns);
                    let to = ProductOutput { values: &mut out, stride: columns, accumulate: false };
                    products.multiply(&packed_x, &packed_y, panels, part.clone(), to);
                    let pairs = products.kernel.units == Units::Pairs;
                    let from = if pairs { part.start & !1 } else { part.start };
                    for (index, &found) in out.iter().enumerate() {
                        let (row, column) = (index / columns, index % columns);
                        let term = |k: usize| {
                            f64::from(x[row * depth + k]) * f64::from(y[k * columns + column])
                        };
                        let sizes: f64 = (from..part.end).map(|k| term(k).abs()).sum();
                        let expected: f64 = (from..part.end).map(term).sum();
                        // Each operand is rounded by at most 2⁻⁹ of its size.
                        let error = (f64::from(found) - expected).abs();
                        assert!(error <= 4.5e-3 * sizes, "{isa:?} {row} {column}: {error}");
                    }
                }
            }
        }
    }
}
