//! Products summed in fixed point, as the Neural Engine's multipliers do it: 15 bits before the point and 16 behind it.
//!
//! The rules were found on M4 and M6 (751K, `notes/numerics.md`): a product is rounded to 2⁻¹⁶, ties away from zero; it is
//! dropped when the exponents of its factors (−14 for numbers below the smallest normal one) add up to less than −16; as soon as
//! a sum reaches 2¹⁵ it is infinite and stays so; the result is rounded to f16, ties away from zero; factors whose exponent
//! is all ones are read as if it were an ordinary one. The errors of ANEForge's matrix products on M1 and M5 follow from
//! the same rules to all 16 digits that were published (`tools/golden/fixed_point.py`).

mod add;

use add::add_products;

use super::gemm::MatrixView;
use super::{GROUP_ROWS, PackedMatrix};
use crate::half_rounding::{Ties, round};
use crate::isa::Isa;
use crate::pool::{DisjointMut, Pool, split};
use crate::vectorize::vectorized;

/// Columns that are summed together.
const COLUMNS: usize = 4;
/// What one is in a sum.
const ONE: f32 = 65_536.0;
/// The first number that a sum cannot hold.
const LIMIT: f64 = 32_768.0;
/// Sums of sizes below it cannot reach the limit on the way, however they are rounded.
const SAFE: f32 = 32_000.0;

type Sums = [i32; GROUP_ROWS];

/// Buffers that products use and keep for the next one.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    panel: Vec<f32>,
    factors: Vec<f32>,
    least: Vec<f32>,
}

/// `out [rows, width] = W · x [columns, width] + bias [rows]`, where all numbers of `x` are of f16 and matrices of f16 or
/// f32 hold only such. A bias is what a sum begins with.
///
/// # Panics
/// When a length does not match, or the matrix is quantised.
pub fn channel_product(
    pool: &Pool,
    scratch: &mut [Scratch],
    matrix: &PackedMatrix,
    x: &[f32],
    width: usize,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    assert!(!matrix.format().is_quantized(), "a matrix of plain numbers");
    assert_eq!(x.len(), columns * width, "x is [columns, width]");
    assert_eq!(out.len(), rows * width, "the result is [rows, width]");
    assert!(bias.is_none_or(|bias| bias.len() == rows), "one bias for each row");
    assert!(scratch.len() >= pool.threads(), "one scratch for each thread");
    let x = MatrixView::rows(x, columns, width).transposed();
    let row_sizes = matrix.row_sizes(pool.isa());
    let (out, scratch) = (DisjointMut::new(out), DisjointMut::new(scratch));
    pool.run(|thread| {
        // SAFETY: every thread has its own.
        let scratch = unsafe { &mut scratch.slice(thread..thread + 1)[0] };
        let groups = split(matrix.groups(), pool.threads(), thread);
        // Blocks of columns outside: their factors are made once, and the matrix is small beside what it is multiplied with.
        for first in (0..width).step_by(COLUMNS * 8) {
            let some = first..(first + COLUMNS * 8).min(width);
            let factors = Factors::new(pool.isa(), &x, some.clone(), scratch);
            for group in groups.clone() {
                scratch.panel.resize(columns * GROUP_ROWS, 0.0);
                matrix.widen(pool.isa(), group, 0..columns, &mut scratch.panel, GROUP_ROWS);
                let lanes = GROUP_ROWS.min(rows - group * GROUP_ROWS);
                let mut start = [0.0; GROUP_ROWS];
                if let Some(bias) = bias {
                    start[..lanes].copy_from_slice(&bias[group * GROUP_ROWS..][..lanes]);
                }
                let row = group * GROUP_ROWS;
                let mut sizes = [0.0; GROUP_ROWS];
                sizes.copy_from_slice(&row_sizes[row..row + GROUP_ROWS]);
                // SAFETY: every group belongs to one thread, and groups own disjoint rows of the result.
                let out = unsafe { out.slice(row * width..(row + lanes) * width) };
                let panel = Panel { weights: &scratch.panel, sizes, start };
                let (numbers, least) = (&scratch.factors, &scratch.least);
                multiply(pool.isa(), panel, numbers, least, factors, |column, sums| {
                    for (lane, sum) in sums.iter().enumerate().take(lanes) {
                        out[lane * width + some.start + column] = *sum;
                    }
                });
            }
        }
    });
}

/// `out = x · y`, where all numbers are of f16, on the calling thread. The rows of `out` start `stride` values apart.
///
/// # Panics
/// When the inner dimensions differ or `out` is too short.
pub fn product(
    isa: Isa,
    scratch: &mut Scratch,
    x: &MatrixView<'_>,
    y: &MatrixView<'_>,
    out: &mut [f32],
    stride: usize,
) {
    let (rows, depth, columns) = (x.row_count(), x.column_count(), y.column_count());
    assert_eq!(depth, y.row_count(), "inner dimensions");
    assert!(rows == 0 || out.len() >= (rows - 1) * stride + columns, "room for the product");
    let lines = y.transposed();
    for first in (0..rows).step_by(COLUMNS * 8) {
        let some = first..(first + COLUMNS * 8).min(rows);
        let factors = Factors::new(isa, x, some.clone(), scratch);
        for from in (0..columns).step_by(GROUP_ROWS) {
            let lanes = GROUP_ROWS.min(columns - from);
            scratch.panel.clear();
            scratch.panel.resize(depth * GROUP_ROWS, 0.0);
            lines.turn_rows(isa, from..from + lanes, GROUP_ROWS, &mut scratch.panel);
            let mut sizes = [0.0; GROUP_ROWS];
            let (weights, sizes_of) = (&scratch.panel[..], &mut sizes);
            vectorized!(isa, add_sizes(weights: &[f32], sizes_of: &mut [f32; GROUP_ROWS]));
            let panel = Panel { weights, sizes, start: [0.0; GROUP_ROWS] };
            multiply(isa, panel, &scratch.factors, &scratch.least, factors, |row, sums| {
                let at = (some.start + row) * stride + from;
                out[at..at + lanes].copy_from_slice(&sums[..lanes]);
            });
        }
    }
}

/// Sixteen columns of the right operand.
#[derive(Clone, Copy)]
struct Panel<'a> {
    /// `[k][16]`.
    weights: &'a [f32],
    /// The sums of their sizes.
    sizes: [f32; GROUP_ROWS],
    /// What sums begin with.
    start: [f32; GROUP_ROWS],
}

/// Factors of a block of columns, in [`Scratch`]: `[block][k][width]`, and for each the smallest partner that it is not
/// dropped with.
#[derive(Clone, Copy)]
struct Factors {
    count: usize,
    /// Columns of a block: 1, 2 or [`COLUMNS`].
    width: usize,
    depth: usize,
    /// The largest of their sizes.
    largest: f32,
}

impl Factors {
    /// Those of some rows of `x`.
    fn new(
        isa: Isa,
        x: &MatrixView<'_>,
        rows: std::ops::Range<usize>,
        scratch: &mut Scratch,
    ) -> Self {
        let (count, depth) = (rows.len(), x.column_count());
        let width = if count <= 2 { count.max(1) } else { COLUMNS };
        let length = count.div_ceil(width) * width * depth;
        scratch.factors.clear();
        scratch.factors.resize(length, 0.0);
        let first = rows.start;
        for (block, factors) in scratch.factors.chunks_mut((width * depth).max(1)).enumerate() {
            let from = first + block * width;
            x.turn_rows(isa, from..(from + width).min(rows.end), width, factors);
        }
        let mut largest = 0.0_f32;
        scratch.least.clear();
        scratch.least.extend(scratch.factors.iter_mut().map(|factor| {
            *factor = as_ordinary(*factor);
            largest = largest.max(factor.abs());
            let least = least_partner(*factor);
            *factor *= ONE;
            least
        }));
        Self { count, width, depth, largest }
    }
}

/// The number that the multipliers read: an exponent of all ones is one more than the largest.
#[inline(always)]
fn as_ordinary(x: f32) -> f32 {
    if x.abs() <= 65_504.0 {
        x
    } else if x.is_nan() {
        98_304.0
    } else {
        65_536.0_f32.copysign(x)
    }
}

/// The size from which a partner's exponent is large enough.
#[inline(always)]
fn least_partner(x: f32) -> f32 {
    let exponent = ((x.to_bits() >> 23 & 0xff).cast_signed() - 127).max(-14);
    // All partners count as at least 2⁻¹⁴.
    if exponent >= -2 { 0.0 } else { f32::from_bits(((127 - 16 - exponent) << 23).cast_unsigned()) }
}

/// Multiplies a panel with all factors; `store(column, results)` gets them rounded to f16.
fn multiply(
    isa: Isa,
    panel: Panel<'_>,
    factors: &[f32],
    least: &[f32],
    Factors { count, width, depth, largest }: Factors,
    mut store: impl FnMut(usize, &[f32; GROUP_ROWS]),
) {
    let Panel { weights, sizes, start } = panel;
    // A NaN or an infinity among them is not safe either.
    let reach = |lane: usize| sizes[lane] * largest + start[lane].abs();
    let is_safe = (0..GROUP_ROWS).all(|lane| reach(lane) < SAFE && sizes[lane].is_finite());
    let begin = start.map(|bias| round_away(f64::from(as_ordinary(bias)) * f64::from(ONE)));
    let block = width * depth;
    for first in (0..count).step_by(width) {
        let at = first / width * block;
        let (factors, least) = (&factors[at..at + block], &least[at..at + block]);
        let columns = width.min(count - first);
        if is_safe {
            let mut sums = [begin.map(|bias| bias as i32); COLUMNS];
            // SAFETY: the sums of sizes are below 2³¹, and no number is NaN, as was just looked at.
            unsafe { add_products(isa, weights, factors, least, &mut sums[..width]) };
            for (column, sums) in sums.iter().enumerate().take(columns) {
                store(first + column, &sums.map(|sum| to_half(f64::from(sum))));
            }
        } else {
            for column in 0..columns {
                let factors = factors.iter().zip(least).skip(column).step_by(width);
                store(first + column, &careful(weights, factors, begin));
            }
        }
    }
}

/// Adds sizes of weights.
#[inline(always)]
fn add_sizes<const FUSED: bool>(weights: &[f32], sizes: &mut [f32; GROUP_ROWS]) {
    for weights in weights.as_chunks::<GROUP_ROWS>().0 {
        sizes.iter_mut().zip(weights).for_each(|(size, weight)| *size += weight.abs());
    }
}

/// One column whose sums may become infinite on the way.
fn careful<'a>(
    panel: &[f32],
    factors: impl Iterator<Item = (&'a f32, &'a f32)>,
    begin: [f64; GROUP_ROWS],
) -> [f32; GROUP_ROWS] {
    let limit = LIMIT * f64::from(ONE);
    let mut sums = begin;
    let mut infinite = [0.0_f32; GROUP_ROWS];
    let mut check = |sums: &[f64; GROUP_ROWS]| {
        for (infinite, sum) in infinite.iter_mut().zip(sums) {
            if *infinite == 0.0 && sum.abs() >= limit {
                *infinite = f32::INFINITY.copysign(*sum as f32);
            }
        }
    };
    check(&sums);
    for (weights, (x, least)) in panel.as_chunks::<GROUP_ROWS>().0.iter().zip(factors) {
        for (sum, &weight) in sums.iter_mut().zip(weights) {
            let weight = as_ordinary(weight);
            if weight.abs() >= *least {
                *sum += round_away(f64::from(*x) * f64::from(weight));
            }
        }
        check(&sums);
    }
    std::array::from_fn(
        |lane| {
            if infinite[lane] == 0.0 { to_half(sums[lane]) } else { infinite[lane] }
        },
    )
}

/// To the nearest whole number, ties away from zero.
fn round_away(x: f64) -> f64 {
    (x + 0.5_f64.copysign(x)).trunc()
}

/// A sum in units of 2⁻¹⁶ as the number of f16 that it is rounded to; a zero is positive.
#[inline(always)]
fn to_half(sum: f64) -> f32 {
    // 13 bits more than f16 has, the last one set when anything is lost: no tie is made or unmade.
    let bits = sum.to_bits();
    let short = bits & !((1 << 29) - 1);
    let sticky = short | u64::from(short != bits) << 29;
    round((f64::from_bits(sticky) / f64::from(ONE)) as f32, Ties::Away) + 0.0
}

#[cfg(test)]
mod tests;
