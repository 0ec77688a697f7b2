//! Products of many rows: blocked so that arithmetic is the limit.
//!
//! `x` is packed once into blocks of a few rows (`[k][rows]`). For every stretch of [`DEPTH`] columns, a thread widens
//! a panel of weights into its L1 cache and runs the tile kernel down all blocks of `x`; the stretch of `x` stays in
//! its L2 cache.
//!
//! Where the CPU multiplies bf16 fast and all weights are bf16, both operands are pairs of bf16 that travel as if they
//! were f32: the *units* below are columns of f32 or pairs of columns of bf16. `x` is then rounded to bf16.

mod pack;
mod tile;

use std::ops::Range;

use super::{GROUP_ROWS, PackedMatrix, Scratch};
use crate::{
    format::WeightFormat,
    isa::{Isa, Level},
    memory::PageBuffer,
    pool::{DisjointMut, Pool, split},
};

/// Units per pass, even: a panel of 32 rows is then 32 KiB.
const DEPTH: usize = 256;
/// Groups that the widest panel holds.
const MAX_PANEL_GROUPS: usize = 2;

/// A variant's innermost loop.
#[derive(Clone, Copy)]
struct TileKernel {
    /// Most rows of `x` in a tile.
    rows: usize,
    /// Groups of weights in a tile.
    groups: usize,
    /// Whether a unit is a pair of bf16.
    pairs: bool,
    run: TileFn,
}

/// Multiplies `x` `[k][rows]` with `panel` `[k][groups * 16]` into `out`, adding to it when `accumulate`.
///
/// Safety: the CPU has the variant's instructions, and `out` describes memory that only this call touches.
type TileFn = unsafe fn(x: &[f32], panel: &[f32], rows: usize, out: TileOutput, accumulate: bool);

/// Where a tile goes: rows `stride` apart, of which `lanes` values are the tile's.
#[derive(Clone, Copy)]
struct TileOutput {
    start: *mut f32,
    stride: usize,
    lanes: usize,
}

impl TileKernel {
    fn of(isa: Isa, all_bf16: bool) -> Self {
        match (isa.level(), all_bf16 && isa.bf16_dot()) {
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, true) => tile::AVX512_BF16,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, false) => tile::AVX512,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, _) => tile::AVX2,
            #[cfg(target_arch = "aarch64")]
            (Level::Neon, _) => tile::NEON,
            _ => tile::PORTABLE,
        }
    }
}

/// How the product is cut into blocks of `x` and panels of weights.
struct Plan<'a> {
    kernel: TileKernel,
    isa: Isa,
    m: usize,
    units: usize,
    blocks: usize,
    matrices: &'a [&'a PackedMatrix],
}

impl Plan<'_> {
    fn panels(&self, matrix: &PackedMatrix) -> usize {
        matrix.groups().div_ceil(self.kernel.groups)
    }

    fn block(&self, block: usize) -> Range<usize> {
        split(self.m, self.blocks, block)
    }

    /// Where in the packed `x` the stretch of units `depth` of a block lies.
    fn packed(&self, block: &Range<usize>, depth: &Range<usize>) -> Range<usize> {
        let start = self.m * depth.start + block.start * depth.len();
        start..start + block.len() * depth.len()
    }

    /// The bytes of a group that hold the units `depth`.
    fn stretch<'g>(&self, group: &'g [u8], depth: &Range<usize>) -> &'g [u8] {
        &group[group.len() * depth.start / self.units..group.len() * depth.end / self.units]
    }

    fn stretches(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let units = self.units;
        (0..units).step_by(DEPTH).map(move |start| start..(start + DEPTH).min(units))
    }
}

pub(super) fn gemm(
    pool: &Pool,
    scratch: &mut Scratch,
    x: &[f32],
    m: usize,
    matrices: &[&PackedMatrix],
    outputs: &mut [&mut [f32]],
) {
    let columns = x.len() / m;
    let all_bf16 = matrices.iter().all(|matrix| matrix.format() == WeightFormat::BF16);
    let kernel = TileKernel::of(pool.isa(), all_bf16);
    let units = if kernel.pairs { columns.div_ceil(2) } else { columns };
    let blocks = m.div_ceil(kernel.rows);
    let plan = Plan { kernel, isa: pool.isa(), m, units, blocks, matrices };

    let packed = grow(&mut scratch.activations, m * units);
    let packed_parts = DisjointMut::new(&mut packed[..m * units]);
    pool.run(|thread| {
        let mut rounded = Vec::new();
        for block in split(blocks, pool.threads(), thread) {
            let block = plan.block(block);
            let mut x = &x[block.start * columns..block.end * columns];
            if kernel.pairs {
                pack::round_pairs(x, columns, &mut rounded);
                x = &rounded;
            }
            for depth in plan.stretches() {
                // SAFETY: every block belongs to one thread, and its stretches do not overlap.
                let out = unsafe { packed_parts.slice(plan.packed(&block, &depth)) };
                pack::pack_block(x, units, &depth, out);
            }
        }
    });
    let packed = &packed[..m * units];

    let panel_len = DEPTH * MAX_PANEL_GROUPS * GROUP_ROWS;
    let panels = DisjointMut::new(grow(&mut scratch.panels, pool.threads() * panel_len));
    let outputs: Vec<_> = outputs.iter_mut().map(|output| DisjointMut::new(output)).collect();
    let tasks = matrices.iter().map(|matrix| plan.panels(matrix) * blocks).sum();
    pool.run(|thread| {
        // SAFETY: every thread has its own panel.
        let panel = unsafe { panels.slice(thread * panel_len..(thread + 1) * panel_len) };
        let tasks = split(tasks, pool.threads(), thread);
        for depth in plan.stretches() {
            let mut first = 0;
            for (matrix, output) in plan.matrices.iter().zip(&outputs) {
                let last = first + plan.panels(matrix) * blocks;
                let own =
                    tasks.start.clamp(first, last) - first..tasks.end.clamp(first, last) - first;
                first = last;
                plan.multiply(matrix, &own, &depth, packed, panel, output);
            }
        }
    });
}

impl Plan<'_> {
    /// Does the tasks `own` (panel-major, one per block of `x`) of one matrix for one stretch of units.
    fn multiply(
        &self,
        matrix: &PackedMatrix,
        own: &Range<usize>,
        depth: &Range<usize>,
        packed: &[f32],
        panel: &mut [f32],
        output: &DisjointMut<'_, f32>,
    ) {
        let TileKernel { groups, run, .. } = self.kernel;
        let width = groups * GROUP_ROWS;
        let panel = &mut panel[..depth.len() * width];
        let mut task = own.start;
        while task < own.end {
            let index = task / self.blocks;
            let end = own.end.min((index + 1) * self.blocks);
            let first = index * groups;
            for group in first..(first + groups).min(matrix.groups()) {
                let panel = &mut panel[(group - first) * GROUP_ROWS..];
                if self.kernel.pairs {
                    pack::copy_pairs(matrix.group(group), depth, panel, width);
                } else {
                    matrix.widen(self.isa, group, depth.clone(), panel, width);
                }
            }
            let row = first * GROUP_ROWS;
            // While this panel is multiplied, the next one is fetched bit by bit.
            let next = if end < own.end { first + groups..first + 2 * groups } else { 0..0 };
            for block in 0..end - task {
                for group in next.start..next.end.min(matrix.groups()) {
                    let stretch = self.stretch(matrix.group(group), depth);
                    pack::prefetch(&stretch[split(stretch.len(), end - task, block)]);
                }
                let block = self.block(task % self.blocks + block);
                let out = TileOutput {
                    start: output.at(block.start * matrix.rows() + row),
                    stride: matrix.rows(),
                    lanes: width.min(matrix.rows() - row),
                };
                let x = &packed[self.packed(&block, depth)];
                // SAFETY: the kernel was chosen by the pool's `Isa`; every task, i.e. every block of rows and panel of
                // columns of an output, belongs to one thread.
                unsafe { run(x, panel, block.len(), out, depth.start > 0) };
            }
            task = end;
        }
    }
}

/// At least `len` values of a buffer that is kept.
fn grow(buffer: &mut Option<PageBuffer>, len: usize) -> &mut [f32] {
    let bytes = len * size_of::<f32>();
    if buffer.as_ref().is_none_or(|buffer| buffer.len() < bytes) {
        *buffer = None;
        match PageBuffer::zeroed(bytes) {
            Ok(pages) => *buffer = Some(pages),
            Err(error) => panic!("cannot allocate {bytes} bytes for a product: {error}"),
        }
    }
    buffer.as_mut().map_or(&mut [], PageBuffer::as_mut_slice)
}
