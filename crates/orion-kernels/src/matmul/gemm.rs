//! Products of many rows: blocked so that arithmetic is the limit.
//!
//! `x` is packed once into blocks of a few rows (`[k][rows]`). For every stretch of [`DEPTH`] columns, a thread widens
//! a panel of weights into its L1 cache and runs the tile kernel down all blocks of `x`; the stretch of `x` stays in
//! its L2 cache.
//!
//! The right operand is packed weights or any dense matrix ([`Panels`]); the left one rows of numbers, or with
//! [`MatrixView`] also columns.
//!
//! Where the CPU multiplies bf16 fast and all weights are bf16, both operands are pairs of bf16 that travel as if they
//! were f32: the *units* below are columns of f32 or pairs of columns of bf16. `x` is then rounded to bf16.

mod operand;
mod pack;
mod tile;

use std::ops::Range;

pub use operand::MatrixView;
pub(crate) use pack::pair_up;

use operand::Panels;

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

/// How a product is cut into blocks of `x` and panels of the right operand.
struct Plan {
    kernel: TileKernel,
    isa: Isa,
    m: usize,
    units: usize,
    blocks: usize,
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
        let units = if kernel.pairs { columns.div_ceil(2) } else { columns };
        Self { kernel, isa, m, units, blocks: m.div_ceil(kernel.rows) }
    }

    fn panels<P: Panels>(&self, panels: &P) -> usize {
        panels.columns().div_ceil(self.kernel.groups * GROUP_ROWS)
    }

    fn block(&self, block: usize) -> Range<usize> {
        split(self.m, self.blocks, block)
    }

    /// Where in the packed `x` the stretch of units `depth` of a block lies.
    fn packed(&self, block: &Range<usize>, depth: &Range<usize>) -> Range<usize> {
        let start = self.m * depth.start + block.start * depth.len();
        start..start + block.len() * depth.len()
    }

    fn stretches(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let units = self.units;
        (0..units).step_by(DEPTH).map(move |start| start..(start + DEPTH).min(units))
    }
}

/// The product of rows `x` `[m, columns]` with packed matrices, as [`super::matmul`].
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
    let x = MatrixView::rows(x, m, columns);
    run(pool, scratch, &Plan::new(pool.isa(), kernel, m, columns), &x, &rights);
}

/// `out = x · y`, or `out += x · y` when `accumulate`, summed in f32. Both operands are rounded to bf16, or none. The rows of `out` start `stride` values apart.
///
/// Called from inside a job of `pool`, it does all the work on the calling thread.
///
/// # Panics
/// When the inner dimensions differ, only one operand is rounded to bf16, or `out` is too short.
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
    assert_eq!(x.is_bf16(), y.is_bf16(), "both operands are rounded, or none");
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
    let kernel = TileKernel::of(pool.isa(), x.is_bf16());
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
    pool.run(|thread| {
        let mut pairs = Vec::new();
        for block in split(blocks, pool.threads(), thread) {
            let block = plan.block(block);
            for depth in plan.stretches() {
                // SAFETY: every block belongs to one thread, and its stretches do not overlap.
                let out = unsafe { packed_parts.slice(plan.packed(&block, &depth)) };
                x.pack_block(plan, &block, &depth, out, &mut pairs);
            }
        }
    });
    let packed = &packed[..m * units];

    let panel_len = DEPTH * MAX_PANEL_GROUPS * GROUP_ROWS;
    let panels = DisjointMut::new(grow(&mut scratch.panels, pool.threads() * panel_len));
    let tasks = rights.iter().map(|right| plan.panels(right.panels) * blocks).sum();
    pool.run(|thread| {
        // SAFETY: every thread has its own panel.
        let panel = unsafe { panels.slice(thread * panel_len..(thread + 1) * panel_len) };
        let tasks = split(tasks, pool.threads(), thread);
        for depth in plan.stretches() {
            let mut first = 0;
            for right in rights {
                let last = first + plan.panels(right.panels) * blocks;
                let own =
                    tasks.start.clamp(first, last) - first..tasks.end.clamp(first, last) - first;
                first = last;
                plan.multiply(right, &own, &depth, packed, panel);
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
        packed: &[f32],
        panel: &mut [f32],
    ) {
        let TileKernel { groups, run, .. } = self.kernel;
        let width = groups * GROUP_ROWS;
        let columns = right.panels.columns();
        let panel = &mut panel[..depth.len() * width];
        let mut task = own.start;
        while task < own.end {
            let index = task / self.blocks;
            let end = own.end.min((index + 1) * self.blocks);
            let from = index * width;
            right.panels.fill(self, from..(from + width).min(columns), depth, panel);
            for block in 0..end - task {
                if end < own.end {
                    // While this panel is multiplied, the next one is fetched bit by bit.
                    let next = from + width..(from + 2 * width).min(columns);
                    right.panels.prefetch(self, next, depth, (block, end - task));
                }
                let block = self.block(task % self.blocks + block);
                let out = TileOutput {
                    start: right.out.at(block.start * right.stride + from),
                    stride: right.stride,
                    lanes: width.min(columns - from),
                };
                let x = &packed[self.packed(&block, depth)];
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
