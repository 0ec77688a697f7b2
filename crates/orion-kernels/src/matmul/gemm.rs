//! Products of many rows: blocked so that arithmetic is the limit.
//!
//! `x` is packed once into blocks of a few rows (`[k][rows]`). For every stretch of a few hundred columns, a thread
//! widens a panel of weights into its L1 cache and runs the tile kernel down all blocks of `x`; the stretch of `x` stays in
//! its L2 cache.
//!
//! The right operand is packed weights or any dense matrix ([`Panels`]); the left one rows of numbers, or with
//! [`MatrixView`] also columns.
//!
//! Where the CPU multiplies 16-bit numbers fast and both operands are rounded to those (or are weights of bf16), they are
//! pairs of such numbers that travel as if they were f32: the *units* below are columns of f32 or pairs of columns.

mod narrow;
mod operand;
mod pack;
#[cfg(target_arch = "x86_64")]
mod registers;
mod tile;

use std::ops::Range;

pub use operand::MatrixView;

use narrow::Narrow;
use operand::Panels;

use super::{GROUP_ROWS, PackedMatrix, Scratch};
use crate::{
    format::WeightFormat,
    isa::{Isa, Level},
    memory::PageBuffer,
    pool::{DisjointMut, Pool, split},
};

/// Most units per pass of any kernel.
const MAX_DEPTH: usize = 384;
/// Blocks that are packed together where `x` is stored by columns: about a kilobyte of each column.
const BLOCKS_AT_ONCE: usize = 16;
/// Groups that the widest panel holds.
const MAX_PANEL_GROUPS: usize = 2;

/// A variant's innermost loop.
#[derive(Clone, Copy)]
struct TileKernel {
    /// Most rows of `x` in a tile.
    rows: usize,
    /// Groups of weights in a tile.
    groups: usize,
    /// Units per pass, even.
    depth: usize,
    units: Units,
    run: TileFn,
}

/// What a kernel multiplies at once in a lane.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Units {
    /// A number of f32.
    Single,
    /// Two numbers of 16 bits.
    Pairs,
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
    /// What the product is multiplied with.
    scale: f32,
}

impl TileKernel {
    /// For operands that are rounded so.
    fn of(isa: Isa, narrow: Option<Narrow>) -> Self {
        match (isa.level(), narrow) {
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, Some(Narrow::Bf16)) if isa.bf16_dot() => tile::AVX512_BF16,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, Some(Narrow::F16)) if isa.f16_arithmetic() => tile::AVX512_F16,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, _) => tile::AVX512,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, _) => tile::AVX2,
            #[cfg(target_arch = "aarch64")]
            (Level::Neon, _) => tile::NEON,
            _ => tile::PORTABLE,
        }
    }
}

/// How a product is cut into blocks of `x` and panels of the right operand.
struct Plan {
    kernel: TileKernel,
    isa: Isa,
    m: usize,
    units: usize,
    blocks: usize,
}

/// The packed left operand.
#[derive(Clone, Copy)]
struct Left<'a> {
    packed: &'a [f32],
    /// What products with it are multiplied with, by block and stretch.
    scales: &'a [f32],
    stretches: usize,
}

/// A right operand and where its product goes.
struct Right<'a, P> {
    panels: &'a P,
    out: DisjointMut<'a, f32>,
    /// Values between the starts of two rows of `out`.
    stride: usize,
    /// Whether the product is added to what `out` holds.
    accumulate: bool,
}

impl Plan {
    fn new(isa: Isa, kernel: TileKernel, m: usize, columns: usize) -> Self {
        let units = match kernel.units {
            Units::Single => columns,
            Units::Pairs => columns.div_ceil(2),
        };
        Self { kernel, isa, m, units, blocks: m.div_ceil(kernel.rows) }
    }

    fn panels<P: Panels>(&self, panels: &P) -> usize {
        panels.columns().div_ceil(self.kernel.groups * GROUP_ROWS)
    }

    fn block(&self, block: usize) -> Range<usize> {
        split(self.m, self.blocks, block)
    }

    /// The columns of the left operand, rows of the right one, that these units are of.
    fn lines(&self, units: &Range<usize>, end: usize) -> Range<usize> {
        match self.kernel.units {
            Units::Single => units.clone(),
            Units::Pairs => 2 * units.start..(2 * units.end).min(end),
        }
    }

    /// Where in the packed `x` the stretch of units `depth` of a block lies.
    fn packed(&self, block: &Range<usize>, depth: &Range<usize>) -> Range<usize> {
        let start = self.m * depth.start + block.start * depth.len();
        start..start + block.len() * depth.len()
    }

    fn stretches(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (units, depth) = (self.units, self.kernel.depth);
        (0..units).step_by(depth).map(move |start| start..(start + depth).min(units))
    }
}

/// The product of `x` `[m, columns]` with packed matrices, as [`super::matmul`].
pub(super) fn gemm(
    pool: &Pool,
    scratch: &mut Scratch,
    x: MatrixView<'_>,
    matrices: &[&PackedMatrix],
    outputs: &mut [&mut [f32]],
) {
    let (m, columns) = (x.row_count(), x.column_count());
    let all_bf16 = matrices.iter().all(|matrix| matrix.format() == WeightFormat::BF16);
    let kernel = TileKernel::of(pool.isa(), all_bf16.then_some(Narrow::Bf16));
    let rights: Vec<_> = matrices
        .iter()
        .zip(outputs)
        .map(|(&panels, output)| Right {
            panels,
            out: DisjointMut::new(output),
            stride: panels.rows(),
            accumulate: false,
        })
        .collect();
    let x = if kernel.units == Units::Pairs { x.in_bf16() } else { x };
    run(pool, scratch, &Plan::new(pool.isa(), kernel, m, columns), &x, &rights);
}

/// `out = x · y`, or `out += x · y` when `accumulate`. Both operands are rounded alike, or not at all. The rows of `out`
/// start `stride` values apart.
///
/// Called from inside a job of `pool`, it does all the work on the calling thread.
///
/// # Panics
/// When the inner dimensions differ, the operands are rounded differently, or `out` is too short.
pub fn product(
    pool: &Pool,
    scratch: &mut Scratch,
    x: &MatrixView<'_>,
    y: &MatrixView<'_>,
    out: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    let (m, columns) = (x.row_count(), y.column_count());
    assert_eq!(x.column_count(), y.row_count(), "inner dimensions");
    assert_eq!(x.narrow(), y.narrow(), "operands that are rounded alike");
    if m == 0 || columns == 0 {
        return;
    }
    assert!(stride >= columns && out.len() >= (m - 1) * stride + columns, "room for the product");
    if x.column_count() == 0 {
        if !accumulate {
            out.chunks_mut(stride).take(m).for_each(|row| row[..columns].fill(0.0));
        }
        return;
    }
    let kernel = TileKernel::of(pool.isa(), x.narrow());
    let right = Right { panels: y, out: DisjointMut::new(out), stride, accumulate };
    run(pool, scratch, &Plan::new(pool.isa(), kernel, m, x.column_count()), x, &[right]);
}

fn run<P: Panels>(
    pool: &Pool,
    scratch: &mut Scratch,
    plan: &Plan,
    x: &MatrixView<'_>,
    rights: &[Right<'_, P>],
) {
    let &Plan { m, units, blocks, .. } = plan;
    let packed = grow(&mut scratch.activations, m * units);
    let packed_parts = DisjointMut::new(&mut packed[..m * units]);
    let stretches = plan.stretches().count();
    let mut scales = vec![1.0; blocks * stretches];
    let scale_parts = DisjointMut::new(&mut scales);
    pool.run(|thread| {
        let (mut buffer, mut lines) = (Vec::new(), Vec::new());
        let own = split(blocks, pool.threads(), thread);
        for first in own.clone().step_by(BLOCKS_AT_ONCE) {
            let some = first..(first + BLOCKS_AT_ONCE).min(own.end);
            let rows = plan.block(first).start..plan.block(some.end - 1).end;
            let together: Vec<_> = some.clone().map(|index| plan.block(index)).collect();
            for (stretch, depth) in plan.stretches().enumerate() {
                // SAFETY: every block belongs to one thread, and its stretches do not overlap.
                let out = unsafe { packed_parts.slice(plan.packed(&rows, &depth)) };
                if x.pack_together(plan, &together, &depth, out) {
                    continue;
                }
                let columns = plan.lines(&depth, x.column_count());
                let part = x.part(&rows, &columns, &mut buffer);
                for index in some.clone() {
                    let block = plan.block(index);
                    // SAFETY: every block belongs to one thread, and its stretches do not overlap.
                    let out = unsafe { packed_parts.slice(plan.packed(&block, &depth)) };
                    // SAFETY: as above.
                    let scale = unsafe {
                        scale_parts
                            .slice(index * stretches + stretch..index * stretches + stretch + 1)
                    };
                    let block = block.start - rows.start..block.end - rows.start;
                    scale[0] = part.pack_block(plan, &block, &(0..depth.len()), out, &mut lines);
                }
            }
        }
    });
    let left = Left { packed: &packed[..m * units], scales: &scales, stretches };

    let panel_len = MAX_DEPTH * MAX_PANEL_GROUPS * GROUP_ROWS;
    let panels = DisjointMut::new(grow(&mut scratch.panels, pool.threads() * panel_len));
    let tasks = rights.iter().map(|right| plan.panels(right.panels) * blocks).sum();
    pool.run(|thread| {
        // SAFETY: every thread has its own panel.
        let panel = unsafe { panels.slice(thread * panel_len..(thread + 1) * panel_len) };
        let mut lines = Vec::new();
        let tasks = split(tasks, pool.threads(), thread);
        for depth in plan.stretches() {
            let mut first = 0;
            for right in rights {
                let last = first + plan.panels(right.panels) * blocks;
                let own =
                    tasks.start.clamp(first, last) - first..tasks.end.clamp(first, last) - first;
                first = last;
                plan.multiply(right, &own, &depth, left, (panel, &mut lines));
            }
        }
    });
}

impl Plan {
    /// Does the tasks `own` (panel-major, one per block of `x`) of one right operand for one stretch of units.
    fn multiply<P: Panels>(
        &self,
        right: &Right<'_, P>,
        own: &Range<usize>,
        depth: &Range<usize>,
        left: Left<'_>,
        (panel, lines): (&mut [f32], &mut Vec<f32>),
    ) {
        let TileKernel { groups, run, depth: most, .. } = self.kernel;
        let stretch = depth.start / most;
        let width = groups * GROUP_ROWS;
        let columns = right.panels.columns();
        let panel = &mut panel[..depth.len() * width];
        let mut task = own.start;
        while task < own.end {
            let index = task / self.blocks;
            let end = own.end.min((index + 1) * self.blocks);
            let from = index * width;
            let filled = from..(from + width).min(columns);
            let scale = right.panels.fill(self, filled, depth, panel, lines);
            for block in 0..end - task {
                if end < own.end {
                    // While this panel is multiplied, the next one is fetched bit by bit.
                    let next = from + width..(from + 2 * width).min(columns);
                    right.panels.prefetch(self, next, depth, (block, end - task));
                }
                let index = task % self.blocks + block;
                let block = self.block(index);
                let out = TileOutput {
                    start: right.out.at(block.start * right.stride + from),
                    stride: right.stride,
                    lanes: width.min(columns - from),
                    scale: scale * left.scales[index * left.stretches + stretch],
                };
                let x = &left.packed[self.packed(&block, depth)];
                let accumulate = right.accumulate || depth.start > 0;
                // SAFETY: the kernel was chosen by the pool's `Isa`; every task, i.e. every block of rows and panel of
                // columns of an output, belongs to one thread.
                unsafe { run(x, panel, block.len(), out, accumulate) };
            }
            task = end;
        }
    }
}

/// At least `len` values of a buffer that is kept.
pub(crate) fn grow(buffer: &mut Option<PageBuffer>, len: usize) -> &mut [f32] {
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
