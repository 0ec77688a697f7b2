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
#[cfg(target_arch = "x86_64")]
mod registers;
mod reused;
mod share;
mod tile;
mod worker;

use std::ops::Range;

use half::bf16;

pub use matrix_view::MatrixView;
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
        let values = &self.values[..self.rows.len() * TILE_STRIDE];
        match out {
            DisjointNumbers::F32(out) => self.copy(values, out, stride),
            DisjointNumbers::Bf16(out) => {
                let mut rounded = [bf16::ZERO; TILE_ROWS * TILE_STRIDE];
                let rounded = &mut rounded[..values.len()];
                vectorized!(isa, narrow(rounded: &mut [bf16], values: &[f32]));
                self.copy(rounded, out, stride);
            }
        }
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
    run(pool, scratch, &plan, &x, &rights);
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
    let Some(plan) = plan_of(pool, x, y) else { return };
    assert!(stride >= columns && out.len() >= (m - 1) * stride + columns, "room for the product");
    if x.column_count() == 0 {
        if !accumulate {
            out.chunks_mut(stride).take(m).for_each(|row| row[..columns].fill(0.0));
        }
        return;
    }
    let product = Product::Matrix { out: DisjointMut::new(out), stride, accumulate };
    run(pool, scratch, &plan, x, &[Right { panels: y, product }]);
}

/// `out = x · y`, rounded, row after row. Operands are as those of [`product`].
///
/// # Panics
/// As [`product`].
pub fn rounded_product(
    pool: &Pool,
    scratch: &mut Scratch,
    x: &MatrixView<'_>,
    y: &MatrixView<'_>,
    out: &mut [bf16],
) {
    let (m, columns) = (x.row_count(), y.column_count());
    assert!(out.len() >= m * columns, "room for the product");
    if x.column_count() == 0 {
        out[..m * columns].fill(bf16::ZERO);
        return;
    }
    let out = NumbersMut::Bf16(out).disjoint();
    product_tiles(pool, scratch, x, y, |tile| tile.store(pool.isa(), &out, columns));
}

/// `x · y` tile by tile, for who needs not all of it in memory. Operands are as those of [`product`].
///
/// # Panics
/// When the inner dimensions differ or are zero, or the operands are rounded differently.
pub(crate) fn product_tiles(
    pool: &Pool,
    scratch: &mut Scratch,
    x: &MatrixView<'_>,
    y: &MatrixView<'_>,
    take: impl Fn(ProductTile<'_>) + Sync,
) {
    assert!(x.column_count() > 0, "columns to sum over");
    let Some(mut plan) = plan_of(pool, x, y) else { return };
    plan.kernel.depth = plan.units;
    run(pool, scratch, &plan, x, &[Right { panels: y, product: Product::Tiles(&take) }]);
}

/// How to multiply two matrices, if their product has any elements.
fn plan_of(pool: &Pool, x: &MatrixView<'_>, y: &MatrixView<'_>) -> Option<Plan> {
    assert_eq!(x.column_count(), y.row_count(), "inner dimensions");
    assert_eq!(x.narrow(), y.narrow(), "operands that are rounded alike");
    let kernel = TileKernel::of(pool.isa(), x.narrow());
    let has_elements = x.row_count() > 0 && y.column_count() > 0;
    has_elements.then(|| Plan::new(pool.isa(), kernel, x.row_count(), x.column_count()))
}

fn run<P: Panels>(
    pool: &Pool,
    scratch: &mut Scratch,
    plan: &Plan,
    x: &MatrixView<'_>,
    rights: &[Right<'_, P>],
) {
    // Within another job, this thread does all.
    let threads = if pool.is_busy() { 1 } else { pool.threads() };
    let panels = rights.iter().map(|right| plan.panels(right.panels)).sum();
    let shares = Shares::new(plan, threads, panels);
    let room = shares.room(plan);
    let buffers = DisjointMut::new(grow(&mut scratch.packed, threads * room));
    pool.run(|thread| {
        if thread < threads {
            // SAFETY: every thread has its own room.
            let room = unsafe { buffers.slice(thread * room..(thread + 1) * room) };
            Worker::new(plan, x, rights, &shares, thread, room).multiply();
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
