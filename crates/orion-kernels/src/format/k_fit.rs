//! How the K formats choose scales: a search for small weighted squared error, per sub-block and then per block.
//!
//! For fixed codes the best scale (and offset) is a least-squares solution in closed form, and for fixed scales the
//! best codes are found by rounding. So the search tries a row of starting scales around the one that covers the
//! range, solves for each, and keeps the best. Large values weigh more, since they carry most of a dot product.
//! The sub-block scales are then rounded to the few bits that they get, trying the neighbouring roundings too.

/// 256 values as `(d * scale) * code - dmin * min` per sub-block of 32.
pub(super) struct AffineFit {
    pub(super) d: f32,
    pub(super) dmin: f32,
    pub(super) scales: [u8; 8],
    pub(super) minima: [u8; 8],
    pub(super) codes: [u8; 256],
}

/// 256 values as `(d * scale) * (code - 32)` per sub-block of 16.
pub(super) struct SymmetricFit {
    pub(super) d: f32,
    pub(super) scales: [i8; 16],
    pub(super) codes: [u8; 256],
}

/// How often the block's own scales are solved for again after rounding; more gains next to nothing.
const REFINEMENTS: usize = 2;

/// Largest value of the six bits that a scale or minimum of Q4_K and Q5_K has.
const SIX_BITS: f32 = 63.0;

#[inline(always)]
pub(super) fn fit_affine_block<const LEVELS: u8>(values: &[f32; 256]) -> AffineFit {
    let (subs, _) = values.as_chunks::<32>();
    let (mut scales, mut minima) = ([0.0f32; 8], [0.0f32; 8]);
    for (s, sub) in subs.iter().enumerate() {
        (scales[s], minima[s]) = fit_affine::<LEVELS>(sub);
    }
    let d = scales.into_iter().fold(0.0, f32::max) / SIX_BITS;
    let dmin = minima.into_iter().fold(0.0, f32::max) / SIX_BITS;
    let (mut best, mut best_error) = fit_codes::<LEVELS>(values, &scales, &minima, d, dmin);
    for _ in 0..REFINEMENTS {
        let (d, dmin) = solve_block_scales(values, &best);
        let (fit, error) = fit_codes::<LEVELS>(values, &scales, &minima, d, dmin);
        if error >= best_error {
            break;
        }
        (best, best_error) = (fit, error);
    }
    best
}

/// Rounds sub-block scales and minima to six bits under `d` and `dmin`, and values to codes; also the error.
#[inline(always)]
fn fit_codes<const LEVELS: u8>(
    values: &[f32; 256],
    scales: &[f32; 8],
    minima: &[f32; 8],
    d: f32,
    dmin: f32,
) -> (AffineFit, f32) {
    let (d, dmin) = (round_f16(d), round_f16(dmin));
    let (inverse_d, inverse_dmin) = (super::inverse_or_zero(d), super::inverse_or_zero(dmin));
    let mut fit = AffineFit { d, dmin, scales: [0; 8], minima: [0; 8], codes: [0; 256] };
    let mut total = 0.0;
    for (s, sub) in values.as_chunks::<32>().0.iter().enumerate() {
        let weights = weights(sub);
        let scale = (scales[s] * inverse_d).round_ties_even();
        let min = (minima[s] * inverse_dmin).round_ties_even();
        let mut best = f32::INFINITY;
        for scale in [scale, scale - 1.0, scale + 1.0].map(|s| s.clamp(0.0, SIX_BITS)) {
            for min in [min, min - 1.0, min + 1.0].map(|m| m.clamp(0.0, SIX_BITS)) {
                let (step, offset) = (d * scale, dmin * min);
                let inverse = super::inverse_or_zero(step);
                let mut codes = *sub;
                for code in &mut codes {
                    *code = round((*code + offset) * inverse, 0.0, LEVELS as f32);
                }
                let error = squared_error(sub, &weights, &codes, step, -offset);
                if error < best {
                    best = error;
                    (fit.scales[s], fit.minima[s]) = (scale as u8, min as u8);
                    for (out, code) in fit.codes[32 * s..].iter_mut().zip(codes) {
                        *out = code as u8;
                    }
                }
            }
        }
        total += best;
    }
    (fit, total)
}

/// The `(d, dmin)` of least weighted squared error for the codes, scales and minima of `fit`.
#[inline(always)]
fn solve_block_scales(values: &[f32; 256], fit: &AffineFit) -> (f32, f32) {
    // value = d * a - dmin * m with a = scale * code: two normal equations.
    let (mut aa, mut am, mut mm, mut ax, mut mx) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (s, sub) in values.as_chunks::<32>().0.iter().enumerate() {
        let weights = weights(sub);
        let (scale, m) = (f32::from(fit.scales[s]), f32::from(fit.minima[s]));
        let mut a = [0.0; 32];
        for (a, code) in a.iter_mut().zip(&fit.codes[32 * s..]) {
            *a = scale * f32::from(*code);
        }
        aa += sum::<32>(|i| weights[i] * a[i] * a[i]);
        am += sum::<32>(|i| weights[i] * a[i]) * m;
        mm += sum::<32>(|i| weights[i]) * m * m;
        ax += sum::<32>(|i| weights[i] * a[i] * sub[i]);
        mx += sum::<32>(|i| weights[i] * sub[i]) * m;
    }
    let determinant = aa * mm - am * am;
    if determinant > 0.0 {
        ((ax * mm - am * mx) / determinant, (ax * am - aa * mx) / determinant)
    } else {
        (if aa > 0.0 { ax / aa } else { fit.d }, fit.dmin)
    }
}

/// `(scale, min)` such that `scale * q - min` is near `values` for codes `0..=LEVELS`, with `min >= 0`.
#[inline(always)]
fn fit_affine<const LEVELS: u8>(values: &[f32; 32]) -> (f32, f32) {
    let (low, high) = super::range(values);
    let low = low.min(0.0);
    if high <= low {
        return (0.0, -low);
    }
    let weights = weights(values);
    let levels = LEVELS as f32;
    let sum_w = sum::<32>(|i| weights[i]);
    let sum_wx = sum::<32>(|i| weights[i] * values[i]);
    let (mut best, mut best_error) = (((high - low) / levels, -low), f32::INFINITY);
    for trial in -10..=10 {
        // Codes are laid from the best offset so far, which lets it wander away from the smallest value.
        let low = -best.1;
        let inverse = (levels + trial as f32 * 0.1) / (high - low);
        let mut codes = *values;
        for code in &mut codes {
            *code = round((*code - low) * inverse, 0.0, levels);
        }
        let mut wq = weights;
        for (wq, code) in wq.iter_mut().zip(&codes) {
            *wq *= code;
        }
        let sum_wq = sum::<32>(|i| wq[i]);
        let sum_wqq = sum::<32>(|i| wq[i] * codes[i]);
        let sum_wqx = sum::<32>(|i| wq[i] * values[i]);
        let determinant = sum_w * sum_wqq - sum_wq * sum_wq;
        if determinant <= 0.0 {
            continue;
        }
        let mut scale = (sum_w * sum_wqx - sum_wq * sum_wx) / determinant;
        let mut offset = (sum_wqq * sum_wx - sum_wq * sum_wqx) / determinant;
        if offset > 0.0 {
            (scale, offset) = (sum_wqx / sum_wqq, 0.0);
        }
        let error = squared_error(values, &weights, &codes, scale, offset);
        if error < best_error {
            (best, best_error) = ((scale, -offset), error);
        }
    }
    best
}

#[inline(always)]
pub(super) fn fit_symmetric_block(values: &[f32; 256]) -> SymmetricFit {
    let (subs, _) = values.as_chunks::<16>();
    let mut scales = [0.0f32; 16];
    for (scale, sub) in scales.iter_mut().zip(subs) {
        *scale = fit_symmetric(sub);
    }
    let largest = scales.into_iter().fold(0.0f32, |a, b| if b.abs() > a.abs() { b } else { a });
    // The scale of largest magnitude goes to -128, the end of a byte that reaches further.
    let d = round_f16(largest / -128.0);
    let inverse_d = super::inverse_or_zero(d);
    let mut fit = SymmetricFit { d, scales: [0; 16], codes: [32; 256] };
    for (s, sub) in subs.iter().enumerate() {
        let weights = weights(sub);
        let scale = (scales[s] * inverse_d).round_ties_even();
        let mut best = f32::INFINITY;
        for scale in [scale, scale - 1.0, scale + 1.0].map(|s| s.clamp(-128.0, 127.0)) {
            let step = d * scale;
            let inverse = super::inverse_or_zero(step);
            let mut codes = *sub;
            for code in &mut codes {
                *code = round(*code * inverse, -32.0, 31.0);
            }
            let error = squared_error(sub, &weights, &codes, step, 0.0);
            if error < best {
                best = error;
                fit.scales[s] = scale as i8;
                for (out, code) in fit.codes[16 * s..].iter_mut().zip(codes) {
                    *out = (code + 32.0) as u8;
                }
            }
        }
    }
    fit
}

/// The scale such that `scale * q` is near `values` for codes `-32..=31`; its sign puts the extreme on `-32`'s side
/// or on `31`'s, whichever turns out better.
#[inline(always)]
fn fit_symmetric(values: &[f32; 16]) -> f32 {
    let extreme = values.iter().fold(0.0f32, |a, &b| if b.abs() > a.abs() { b } else { a });
    if extreme == 0.0 {
        return 0.0;
    }
    let weights = weights(values);
    let (mut best, mut best_gain) = (0.0, 0.0);
    for trial in -9..=9 {
        let inverse = -(32.0 + trial as f32 * 0.1) / extreme;
        let mut codes = *values;
        for code in &mut codes {
            *code = round(*code * inverse, -32.0, 31.0);
        }
        let mut wq = weights;
        for (wq, code) in wq.iter_mut().zip(&codes) {
            *wq *= code;
        }
        let sum_wqq = sum::<16>(|i| wq[i] * codes[i]);
        let sum_wqx = sum::<16>(|i| wq[i] * values[i]);
        // What the best scale for these codes takes off the squared error.
        if sum_wqx * sum_wqx > best_gain * sum_wqq {
            (best, best_gain) = (sum_wqx / sum_wqq, sum_wqx * sum_wqx / sum_wqq);
        }
    }
    best
}

/// How much each value's error counts.
#[inline(always)]
fn weights<const LEN: usize>(values: &[f32; LEN]) -> [f32; LEN] {
    let mean_square = sum::<LEN>(|i| values[i] * values[i]) / LEN as f32;
    let root = mean_square.sqrt();
    let mut weights = *values;
    for weight in &mut weights {
        *weight = root + weight.abs();
    }
    weights
}

#[inline(always)]
fn squared_error<const LEN: usize>(
    values: &[f32; LEN],
    weights: &[f32; LEN],
    codes: &[f32; LEN],
    scale: f32,
    offset: f32,
) -> f32 {
    sum::<LEN>(|i| {
        let error = scale * codes[i] + offset - values[i];
        weights[i] * error * error
    })
}

/// Sum of the terms `0..LEN` in eight lanes, so that it can be one vector; `LEN` is a multiple of eight.
#[inline(always)]
fn sum<const LEN: usize>(term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; 8];
    for start in (0..LEN).step_by(8) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5]))
        + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]))
}

/// The nearest integer within `low..=high`, ties to even. A NaN gives `low`.
#[inline(always)]
fn round(x: f32, low: f32, high: f32) -> f32 {
    // In this range the lowest bit of an f32 is worth one, so that the addition rounds; it is a vector operation on
    // every machine, unlike `round_ties_even`.
    const ONE_AND_A_HALF_AT_2_POW_23: f32 = 12_582_912.0;
    let x = if x > low { x } else { low };
    let x = if x < high { x } else { high };
    (x + ONE_AND_A_HALF_AT_2_POW_23) - ONE_AND_A_HALF_AT_2_POW_23
}

#[inline(always)]
fn round_f16(x: f32) -> f32 {
    half::f16::from_f32(x).to_f32()
}
