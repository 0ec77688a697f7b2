//! Plain Rust: the truth for the other variants.

use super::activations::Activations;
use super::layout::{Layout, Scales};
use crate::format::unpack_scale_min;
use crate::matmul::GROUP_ROWS;

type Lanes = [f32; GROUP_ROWS];

/// `out[i]` becomes the dot products of row `i` of `x` with the 16 rows of a group; activations in plain order.
///
/// Per 32 columns: `y += d * scale * (sum(code * x) - bias * sum(x)) + m * scale * sum(x)`.
pub(super) fn product<L: Layout, const M: usize>(
    panels: &[u8],
    headers: &[u8],
    x: [&[Activations]; M],
    out: &mut [Lanes],
) {
    for (x, out) in x.into_iter().zip(out) {
        *out = [0.0; GROUP_ROWS];
        let mut scales = [([0.0; GROUP_ROWS], [0.0; GROUP_ROWS]); 16];
        for (index, (panel, x)) in panels.chunks_exact(L::PANEL).zip(x).enumerate() {
            let (block, sub) =
                (index * 32 / L::SCALES.columns(), index * 32 % L::SCALES.columns() / 32);
            if sub == 0 {
                read_scales::<L>(
                    &headers[block * L::SCALES.bytes()..][..L::SCALES.bytes()],
                    &mut scales,
                );
            }
            let sums = dot::<L>(panel, &x.codes);
            for lane in 0..GROUP_ROWS {
                let biased = |half: usize| sums[half][lane] - L::BIAS * x.sums[half];
                out[lane] += if L::SCALES == Scales::Byte {
                    let first = biased(0) as f32 * scales[2 * sub].0[lane];
                    (first + biased(1) as f32 * scales[2 * sub + 1].0[lane]) * x.scale
                } else {
                    let (d, m) = &scales[sub];
                    (biased(0) + biased(1)) as f32 * (d[lane] * x.scale) + m[lane] * x.scaled_sum
                };
            }
        }
    }
}

/// Per sub-block of a header, the factor and offset of every row.
fn read_scales<L: Layout>(header: &[u8], scales: &mut [(Lanes, Lanes); 16]) {
    let half = |at: usize, lane: usize| {
        half::f16::from_le_bytes([header[at + 2 * lane], header[at + 2 * lane + 1]]).to_f32()
    };
    for lane in 0..GROUP_ROWS {
        let d = half(0, lane);
        match L::SCALES {
            Scales::Single => scales[0].0[lane] = d,
            Scales::Affine => (scales[0].0[lane], scales[0].1[lane]) = (d, half(32, lane)),
            Scales::SixBit => {
                let dmin = half(32, lane);
                let packed = std::array::from_fn(|i| header[64 + GROUP_ROWS * i + lane]);
                let (factors, minima) = unpack_scale_min(&packed);
                for s in 0..8 {
                    scales[s].0[lane] = d * f32::from(factors[s]);
                    scales[s].1[lane] = -dmin * f32::from(minima[s]);
                }
            }
            Scales::Byte => {
                for (s, scale) in scales.iter_mut().enumerate() {
                    scale.0[lane] = d * f32::from(header[32 + GROUP_ROWS * s + lane] as i8);
                }
            }
        }
    }
}

/// Sums of `code * x` over the first and the second 16 columns, per row.
fn dot<L: Layout>(panel: &[u8], x: &[i16; 32]) -> [[i32; GROUP_ROWS]; 2] {
    let mut sums = [[0; GROUP_ROWS]; 2];
    for quad in 0..8 {
        let codes = quad_codes::<L>(panel, quad);
        for (lane, sum) in sums[quad / 4].iter_mut().enumerate() {
            for i in 0..4 {
                *sum += i32::from(codes[4 * lane + i]) * i32::from(x[4 * quad + i]);
            }
        }
    }
    sums
}

/// The codes of 16 rows and four columns.
fn quad_codes<L: Layout>(panel: &[u8], quad: usize) -> [u8; 64] {
    let mut codes = [0; 64];
    if L::BITS == 8 {
        codes.copy_from_slice(&panel[64 * quad..64 * quad + 64]);
        return codes;
    }
    let nibbles = &panel[64 * (quad % 4)..][..64];
    for (code, byte) in codes.iter_mut().zip(nibbles) {
        *code = byte >> (quad / 4 * 4) & 15;
    }
    let upper = match L::BITS {
        5 => (&panel[256..320], quad, 1),
        6 => (&panel[256 + quad / 4 * 64..][..64], quad % 4 * 2, 3),
        _ => return codes,
    };
    let (bytes, shift, mask) = upper;
    for (code, byte) in codes.iter_mut().zip(bytes) {
        *code |= (byte >> shift & mask) << 4;
    }
    codes
}
