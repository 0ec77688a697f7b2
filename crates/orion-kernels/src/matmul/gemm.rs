//! Products of many rows: blocked so that arithmetic is the limit.
//!
//! A thread has rows and columns of the product to itself. For every stretch of a few hundred columns of `x`, it packs its
//! rows of `x` into blocks of a few (`[k][rows]`) and its columns of the right operand into panels, and runs the tile kernel
//! for each block and panel; what it reads again and again stays in its L2 cache.
//!
//! The right operand is packed weights or any dense matrix ([`Panels`]), the left one a dense matrix. Dense ones
//! ([`MatrixView`]) are of f32 or bf16, by rows or by columns.
//!
//! Attention multiplies small matrices in parts, by the same kernels: one thread packs them once ([`reused`]).
//!
//! Where the CPU multiplies 16-bit numbers fast and both operands are rounded to those (or are weights of bf16), they are
//! pairs of such numbers that travel as if they were f32: the *units* below are columns of f32 or pairs of columns.

mod dense_part;
mod matrix_view;
mod narrow;
mod operand;
mod pack;
mod products;
#[cfg(target_arch = "x86_64")]
mod registers;
mod reused;
mod share;
mod tile;
mod worker;

use std::ops::Range;

use half::bf16;

pub use matrix_view::MatrixView;
pub(crate) use products::product_tiles;
pub use products::{DenseProduct, product, products};
pub(crate) use reused::{LeftOperand, ProductOutput, RightOperand, TileProducts};

use narrow::Narrow;
use operand::Panels;
use share::Shares;
use worker::Worker;

use super::{GROUP_ROWS, PackedMatrix, Scratch};
use crate::{
    convert::narrow,
    format::WeightFormat,
    isa::{Isa, Level},
    memory::PageBuffer,
    numbers::{DisjointNumbers, NumbersMut},
    pool::{DisjointMut, Pool, split},
    vectorize::vectorized,
};

/// Blocks that are packed together where `x` is stored by columns: about a kilobyte of each column.
const BLOCKS_AT_ONCE: usize = 8;

/// Times a kernel's depth that a product's sums may take in one stretch: blocks and panels then still fit the L2 cache.
const LONGEST: usize = 4;

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
    /// The same into numbers of bf16, where the CPU rounds to those.
    rounded: Option<RoundedTileFn>,
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

/// Multiplies `x` `[k][rows]` with `panel` `[k][groups * 16]` into `out`, rounded; subnormal results become zeros.
///
/// Safety: as [`TileFn`].
type RoundedTileFn = unsafe fn(x: &[f32], panel: &[f32], rows: usize, out: TileOutput<bf16>);

/// Where a tile goes: rows `stride` apart, of which `lanes` values are the tile's.
#[derive(Clone, Copy)]
struct TileOutput<T = f32> {
    start: *mut T,
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

/// A right operand and where its product goes.
struct Right<'a, P> {
    panels: &'a P,
    product: Product<'a>,
}

/// Where a product goes.
enum Product<'a> {
    Matrix {
        out: DisjointMut<'a, f32>,
        /// Values between the starts of two rows of `out`.
        stride: usize,
        /// Whether the product is added to what `out` holds.
        accumulate: bool,
    },
    /// Rounded. Products of one stretch only.
    Rounded {
        out: DisjointMut<'a, bf16>,
        /// Values between the starts of two rows of `out`.
        stride: usize,
    },
    /// Tile by tile to a function. Products of one stretch only, so that tiles are done when they come.
    Tiles(&'a TileTaker<'a>),
}

/// What is done with the tiles of a product.
type TileTaker<'a> = dyn Fn(ProductTile<'_>) + Sync + 'a;

/// A part of a product.
pub(crate) struct ProductTile<'a> {
    /// The thread that has computed it.
    pub(crate) thread: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
    /// Row after row, [`TILE_STRIDE`] values apart; behind the columns may be anything.
    pub(crate) values: &'a mut [f32],
}

impl ProductTile<'_> {
    /// Writes the tile to its place in a matrix whose rows are `stride` apart, rounded if that is of bf16.
    pub(crate) fn store(&self, isa: Isa, out: &DisjointNumbers<'_>, stride: usize) {
        match out {
            DisjointNumbers::F32(out) => self.copy(self.values, out, stride),
            DisjointNumbers::Bf16(out) => self.store_rounded(isa, out, stride),
        }
    }

    fn store_rounded(&self, isa: Isa, out: &DisjointMut<'_, bf16>, stride: usize) {
        let values = &self.values[..self.rows.len() * TILE_STRIDE];
        let mut rounded = [bf16::ZERO; TILE_ROWS * TILE_STRIDE];
        let rounded = &mut rounded[..values.len()];
        vectorized!(isa, narrow(rounded: &mut [bf16], values: &[f32]));
        self.copy(rounded, out, stride);
    }

    /// Copies numbers that are laid out as the tile is.
    fn copy<T: Copy>(&self, values: &[T], out: &DisjointMut<'_, T>, stride: usize) {
        let lanes = self.columns.len();
        for (row, values) in self.rows.clone().zip(values.as_chunks::<TILE_STRIDE>().0) {
            let start = row * stride + self.columns.start;
            // SAFETY: every tile belongs to one thread.
            let out = unsafe { out.slice(start..start + lanes) };
            match out.as_mut_array::<TILE_STRIDE>() {
                // A few instructions where a call would take longer than they do.
                Some(out) => *out = *values,
                None => out.copy_from_slice(&values[..lanes]),
            }
        }
    }
}

/// Values between the starts of two rows of a [`ProductTile`]: the width of the widest panel.
pub(crate) const TILE_STRIDE: usize = 2 * GROUP_ROWS;
/// Rows of the highest tile.
const TILE_ROWS: usize = 12;

impl Plan {
    fn new(isa: Isa, kernel: TileKernel, m: usize, columns: usize) -> Self {
        let units = match kernel.units {
            Units::Single => columns,
            Units::Pairs => columns.div_ceil(2),
        };
        Self { kernel, isa, m, units, blocks: m.div_ceil(kernel.rows) }
    }

    /// Columns of a panel.
    const fn width(&self) -> usize {
        self.kernel.groups * GROUP_ROWS
    }

    fn panels<P: Panels>(&self, panels: &P) -> usize {
        panels.columns().div_ceil(self.width())
    }

    fn block(&self, block: usize) -> Range<usize> {
        split(self.m, self.blocks, block)
    }

    /// The rows of several blocks.
    fn rows(&self, blocks: &Range<usize>) -> Range<usize> {
        if blocks.is_empty() {
            return 0..0;
        }
        self.block(blocks.start).start..self.block(blocks.end - 1).end
    }

    /// The columns of the left operand, rows of the right one, that these units are of.
    fn lines(&self, units: &Range<usize>, end: usize) -> Range<usize> {
        match self.kernel.units {
            Units::Single => units.clone(),
            Units::Pairs => 2 * units.start..(2 * units.end).min(end),
        }
    }

    /// Most units of a stretch: those of the kernel, or fewer if that makes no more stretches.
    fn depth(&self) -> usize {
        let stretches = self.units.div_ceil(self.kernel.depth).max(1);
        self.units.div_ceil(stretches).next_multiple_of(2).min(self.kernel.depth)
    }

    fn stretches(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (units, depth) = (self.units, self.depth());
        (0..units).step_by(depth.max(1)).map(move |start| start..(start + depth).min(units))
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
    let all_bf16 = matrices.iter().all(|matrix| matrix.format() == WeightFormat::BF16);
    let kernel = TileKernel::of(pool.isa(), all_bf16.then_some(Narrow::Bf16));
    let rights: Vec<_> = matrices
        .iter()
        .zip(outputs)
        .map(|(&panels, output)| {
            let (out, stride) = (DisjointMut::new(output), panels.rows());
            Right { panels, product: Product::Matrix { out, stride, accumulate: false } }
        })
        .collect();
    let x = if kernel.units == Units::Pairs { x.in_bf16() } else { x };
    let plan = Plan::new(pool.isa(), kernel, x.row_count(), x.column_count());
    run(pool, scratch, &[Job { plan, x, rights }]);
}

/// Products of one left operand.
struct Job<'a, P> {
    plan: Plan,
    x: MatrixView<'a>,
    rights: Vec<Right<'a, P>>,
}

/// Each thread does its shares of all jobs, one after the other.
fn run<P: Panels>(pool: &Pool, scratch: &mut Scratch, jobs: &[Job<'_, P>]) {
    // Within another job, this thread does all.
    let threads = if pool.is_busy() { 1 } else { pool.threads() };
    let shares: Vec<Shares> = jobs
        .iter()
        .map(|Job { plan, rights, .. }| {
            let panels = rights.iter().map(|right| plan.panels(right.panels)).sum();
            Shares::new(plan, threads, panels)
        })
        .collect();
    let room = jobs.iter().zip(&shares).map(|(job, shares)| shares.room(&job.plan)).max();
    let Some(room) = room else { return };
    let buffers = DisjointMut::new(grow(&mut scratch.packed, threads * room));
    pool.run(|thread| {
        if thread < threads {
            // SAFETY: every thread has its own room.
            let room = unsafe { buffers.slice(thread * room..(thread + 1) * room) };
            for (job, shares) in jobs.iter().zip(&shares) {
                Worker::new(job, shares, thread, room).multiply();
            }
        }
    });
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
