//! How threads share a product: each has a part of its own, a few rows by a few columns, and packs both operands for it
//! itself. Nothing that one thread has packed is read by another: it would come from the other's cache, and only after all
//! have packed.

use std::ops::Range;

use super::operand::Panels;
use super::{BLOCKS_AT_ONCE, Plan, Right};
use crate::pool::split;

/// Values of panels that stay in the L2 cache while rows of `x` stream past them: 800 KiB.
const KEPT: usize = 200 << 10;
/// Multiplications that take as long as packing one unit does.
const PACKING: usize = 24;

/// How a product is cut. Rows fall into `bands`; the threads of a band share its panels.
pub(super) struct Shares {
    blocks: usize,
    panels: usize,
    bands: usize,
    /// Threads of a band.
    ways: usize,
    /// Whether a thread packs its panels once and then `x`, some blocks at a time, instead of all its rows of `x` and then
    /// one panel at a time.
    pub(super) keeps_panels: bool,
}

/// A thread's part.
pub(super) struct Share {
    /// The blocks of its rows.
    pub(super) blocks: Range<usize>,
    /// The rows of each.
    pub(super) rows: Vec<Range<usize>>,
    pub(super) pieces: Vec<Piece>,
}

/// A panel of a right operand, and the blocks that it is multiplied with.
pub(super) struct Piece {
    /// Which right operand.
    pub(super) right: usize,
    /// The panel's columns.
    pub(super) columns: Range<usize>,
    pub(super) blocks: Range<usize>,
}

impl Shares {
    /// Those that take the least time, by the most that one thread has to multiply and pack.
    pub(super) fn new(plan: &Plan, threads: usize, panels: usize) -> Self {
        let blocks = plan.blocks;
        let cost = |bands: usize| {
            let ways = threads / bands;
            let tasks = (blocks.div_ceil(bands) * panels).div_ceil(ways);
            let rows = blocks.div_ceil(bands) * plan.kernel.rows;
            let columns = panels.div_ceil(ways) * plan.width();
            tasks * plan.kernel.rows * plan.width() + PACKING * (rows + columns)
        };
        let choices = (1..=threads).filter(|&bands| threads.is_multiple_of(bands));
        let bands = choices.min_by_key(|&bands| cost(bands)).unwrap_or(1);
        let ways = threads / bands;
        let mut shares = Self { blocks, panels, bands, ways, keeps_panels: false };
        shares.keeps_panels = shares.most_panels() * plan.width() * plan.depth() <= KEPT;
        shares
    }

    /// Most panels that a thread has a part of.
    fn most_panels(&self) -> usize {
        // A part may begin and end within a panel.
        let split = usize::from(self.ways > 1);
        (self.panels.div_ceil(self.ways) + split).min(self.panels)
    }

    /// Blocks that are packed before panels are multiplied with them.
    pub(super) fn blocks_at_once(&self) -> usize {
        let most = self.blocks.div_ceil(self.bands);
        if self.keeps_panels { most.min(BLOCKS_AT_ONCE) } else { most }
    }

    /// Values of packed `x` that a thread has in memory at a time.
    pub(super) fn room_for_blocks(&self, plan: &Plan) -> usize {
        self.blocks_at_once() * plan.kernel.rows * plan.depth()
    }

    /// Values of packed `x` and of panels that a thread has in memory at a time.
    pub(super) fn room(&self, plan: &Plan) -> usize {
        let panels = if self.keeps_panels { self.most_panels() } else { 1 };
        self.room_for_blocks(plan) + panels * plan.width() * plan.depth()
    }

    /// The part of `thread`.
    pub(super) fn of<P: Panels>(
        &self,
        plan: &Plan,
        rights: &[Right<'_, P>],
        thread: usize,
    ) -> Share {
        let blocks = split(self.blocks, self.bands, thread / self.ways);
        let count = blocks.len();
        // Panel after panel, each with all blocks of the band.
        let own = split(count * self.panels, self.ways, thread % self.ways);
        let mut pieces = Vec::new();
        let mut task = own.start;
        let mut first = 0;
        for (right, panels) in rights.iter().map(|right| right.panels).enumerate() {
            let end = first + plan.panels(panels);
            while task < own.end.min(end * count) {
                let panel = task / count;
                let next = own.end.min((panel + 1) * count);
                let from = (panel - first) * plan.width();
                pieces.push(Piece {
                    right,
                    columns: from..(from + plan.width()).min(panels.columns()),
                    blocks: blocks.start + task - panel * count
                        ..blocks.start + next - panel * count,
                });
                task = next;
            }
            first = end;
        }
        let rows = blocks.clone().map(|block| plan.block(block)).collect();
        Share { blocks, rows, pieces }
    }
}
