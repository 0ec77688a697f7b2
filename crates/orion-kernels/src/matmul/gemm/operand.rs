//! What the operands of a blocked product are to those who multiply them, and packed weights as one.

use std::ops::Range;

use super::{Plan, Units, pack};
use crate::matmul::{GROUP_ROWS, PackedMatrix};
use crate::pool::split;
use crate::prefetch::prefetch;

/// Working memory of packing.
#[derive(Default)]
pub(super) struct PackMemory {
    /// Rounded lines.
    pub(super) lines: Vec<f32>,
    /// Lines of several blocks.
    pub(super) part: Vec<f32>,
}

/// The right operand of a product, as panels of `width` columns: `panel[k * width + lane]`.
pub(super) trait Panels: Sync {
    /// Columns of the product.
    fn columns(&self) -> usize;
    /// Fills panels with the columns `from`, of which all but the last fill theirs, for the units `depth`; lanes without a
    /// column hold anything. `scales` become what products with each panel are to be multiplied with.
    fn fill(
        &self,
        plan: &Plan,
        from: &Range<usize>,
        depth: &Range<usize>,
        panels: &mut [f32],
        scales: &mut [f32],
        memory: &mut PackMemory,
    );
    /// Asks for part `part.0` of `part.1` of what [`fill`](Self::fill) will read.
    fn prefetch(&self, plan: &Plan, from: Range<usize>, depth: &Range<usize>, part: (usize, usize));
}

impl Panels for PackedMatrix {
    fn columns(&self) -> usize {
        self.rows()
    }

    fn fill(
        &self,
        plan: &Plan,
        from: &Range<usize>,
        depth: &Range<usize>,
        panels: &mut [f32],
        scales: &mut [f32],
        _: &mut PackMemory,
    ) {
        let width = plan.width();
        for (from, panel) in cut(from, width).zip(panels.chunks_mut(width * depth.len())) {
            for (index, group) in groups(&from).enumerate() {
                let panel = &mut panel[index * GROUP_ROWS..];
                match plan.kernel.units {
                    Units::Pairs => pack::copy_pairs(self.group(group), depth, panel, width),
                    Units::Single => self.widen(plan.isa, group, depth.clone(), panel, width),
                }
            }
        }
        scales.fill(1.0);
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
            let part = &stretch[split(stretch.len(), parts, part)];
            prefetch(part.as_ptr(), part.len());
        }
    }
}

/// The columns of panel after panel.
pub(super) fn cut(
    columns: &Range<usize>,
    width: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let Range { start, end } = *columns;
    (start..end).step_by(width).map(move |start| start..(start + width).min(end))
}

/// The groups that hold these columns.
fn groups(columns: &Range<usize>) -> Range<usize> {
    columns.start / GROUP_ROWS..columns.end.div_ceil(GROUP_ROWS)
}
