//! A thread at its share of a product.

use std::ops::Range;

use super::operand::{PackMemory, Panels};
use super::share::{Piece, Share, Shares};
use super::{
    BLOCKS_AT_ONCE, Job, MatrixView, Plan, Product, ProductTile, Right, TILE_ROWS, TILE_STRIDE,
    TileOutput,
};

pub(super) struct Worker<'a, P> {
    plan: &'a Plan,
    x: &'a MatrixView<'a>,
    rights: &'a [Right<'a, P>],
    thread: usize,
    share: Share,
    keeps_panels: bool,
    blocks_at_once: usize,
    /// Packed blocks of `x`.
    left: &'a mut [f32],
    /// What products with a block of the share are multiplied with.
    left_scales: Vec<f32>,
    /// Packed panels.
    right: &'a mut [f32],
    /// What products with a piece are multiplied with.
    right_scales: Vec<f32>,
    memory: PackMemory,
    /// A tile that is handed on.
    tile: [f32; TILE_ROWS * TILE_STRIDE],
}

impl<'a, P: Panels> Worker<'a, P> {
    pub(super) fn new(
        Job { plan, x, rights }: &'a Job<'a, P>,
        shares: &Shares,
        thread: usize,
        room: &'a mut [f32],
    ) -> Self {
        let share = shares.of(plan, rights, thread);
        let (left, right) = room.split_at_mut(shares.room_for_blocks(plan));
        Self {
            plan,
            x,
            rights,
            thread,
            keeps_panels: shares.keeps_panels,
            blocks_at_once: shares.blocks_at_once(),
            left,
            left_scales: vec![1.0; share.blocks.len()],
            right,
            right_scales: vec![1.0; share.pieces.len()],
            share,
            memory: PackMemory::default(),
            tile: [0.0; TILE_ROWS * TILE_STRIDE],
        }
    }

    /// Does the share.
    pub(super) fn multiply(&mut self) {
        for depth in self.plan.stretches() {
            if self.keeps_panels {
                self.fill_all(&depth);
            }
            let own = self.share.blocks.clone();
            for first in own.clone().step_by(self.blocks_at_once) {
                let blocks = first..(first + self.blocks_at_once).min(own.end);
                self.pack(&blocks, &depth);
                for piece in 0..self.share.pieces.len() {
                    self.multiply_piece(piece, &blocks, &depth);
                }
            }
        }
    }

    /// Multiplies the packed `blocks` with a piece.
    fn multiply_piece(&mut self, piece: usize, blocks: &Range<usize>, depth: &Range<usize>) {
        let own = &self.share.pieces[piece].blocks;
        let own = own.start.max(blocks.start)..own.end.min(blocks.end);
        if own.is_empty() {
            return;
        }
        if self.keeps_panels {
            let panel = piece * depth.len() * self.plan.width();
            own.for_each(|block| self.tile(piece, panel, blocks, block, depth));
            return;
        }
        self.fill(piece..piece + 1, 0, depth);
        for block in own.clone() {
            // While this panel is multiplied, the next one is fetched bit by bit.
            if let Some(Piece { right, columns, .. }) = self.share.pieces.get(piece + 1) {
                let part = (block - own.start, own.len());
                self.rights[*right].panels.prefetch(self.plan, columns.clone(), depth, part);
            }
            self.tile(piece, 0, blocks, block, depth);
        }
    }

    /// Packs the panels of all pieces.
    fn fill_all(&mut self, depth: &Range<usize>) {
        let mut first = 0;
        while let Some(Piece { right, .. }) = self.share.pieces.get(first) {
            let others = self.share.pieces[first..].iter();
            let count = others.take_while(|piece| piece.right == *right).count();
            self.fill(first..first + count, first * depth.len() * self.plan.width(), depth);
            first += count;
        }
    }

    /// Packs the panels of some pieces of one right operand, from `at` on.
    fn fill(&mut self, pieces: Range<usize>, at: usize, depth: &Range<usize>) {
        let panels = &mut self.right[at..at + pieces.len() * depth.len() * self.plan.width()];
        let scales = &mut self.right_scales[pieces.clone()];
        if let [first, ..] = &self.share.pieces[pieces.clone()]
            && let [.., last] = &self.share.pieces[pieces]
        {
            let columns = first.columns.start..last.columns.end;
            let right = self.rights[first.right].panels;
            right.fill(self.plan, &columns, depth, panels, scales, &mut self.memory);
        }
    }

    /// Packs these blocks of `x`, one after the other.
    fn pack(&mut self, blocks: &Range<usize>, depth: &Range<usize>) {
        let start = self.plan.rows(blocks).start;
        for first in blocks.clone().step_by(BLOCKS_AT_ONCE) {
            let some = first..(first + BLOCKS_AT_ONCE).min(blocks.end);
            let rows = self.plan.rows(&some);
            let out = &mut self.left
                [(rows.start - start) * depth.len()..(rows.end - start) * depth.len()];
            let before = self.share.blocks.start;
            let scales = &mut self.left_scales[some.start - before..some.end - before];
            self.x.pack(self.plan, &some, depth, out, scales, &mut self.memory);
        }
    }

    /// Multiplies one block of the packed `blocks` with the panel of a piece, which lies at `panel`.
    fn tile(
        &mut self,
        piece: usize,
        panel: usize,
        blocks: &Range<usize>,
        block: usize,
        depth: &Range<usize>,
    ) {
        let plan = self.plan;
        let left_scale = self.left_scales[block - self.share.blocks.start];
        let scale = self.right_scales[piece] * left_scale;
        let Piece { right, columns, .. } = &self.share.pieces[piece];
        let rows_of = |block: usize| &self.share.rows[block - self.share.blocks.start];
        let rows = rows_of(block).clone();
        let at = (rows.start - rows_of(blocks.start).start) * depth.len();
        let x = &self.left[at..at + rows.len() * depth.len()];
        let panel = &self.right[panel..panel + depth.len() * plan.width()];
        let lanes = columns.len();
        match &self.rights[*right].product {
            Product::Matrix { out, stride, accumulate } => {
                let start = out.at(rows.start * stride + columns.start);
                let out = TileOutput { start, stride: *stride, lanes, scale };
                let accumulate = *accumulate || depth.start > 0;
                // SAFETY: the kernel was chosen by the pool's `Isa`; every block of rows and panel of columns of an output
                // belongs to one thread.
                unsafe { (plan.kernel.run)(x, panel, rows.len(), out, accumulate) };
            }
            Product::Rounded { out, stride } if let Some(run) = plan.kernel.rounded => {
                let start = out.at(rows.start * stride + columns.start);
                let out = TileOutput { start, stride: *stride, lanes, scale };
                // SAFETY: as above.
                unsafe { run(x, panel, rows.len(), out) };
            }
            product => {
                let start = self.tile.as_mut_ptr();
                let out = TileOutput { start, stride: TILE_STRIDE, lanes: plan.width(), scale };
                // SAFETY: as above; the tile has room for the rows and columns of any kernel.
                unsafe { (plan.kernel.run)(x, panel, rows.len(), out, false) };
                let (thread, columns, values) = (self.thread, columns.clone(), &mut self.tile);
                let tile = ProductTile { thread, rows, columns, values };
                match product {
                    Product::Tiles(take) => take(tile),
                    Product::Rounded { out, stride } => tile.store_rounded(plan.isa, out, *stride),
                    Product::Matrix { .. } => {}
                }
            }
        }
    }
}
