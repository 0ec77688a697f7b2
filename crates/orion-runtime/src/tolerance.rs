//! How close is close enough: every tolerance that a test or self-check compares with, and why it is what it is.

/// How far a result may be from the reference: `|x - y| <= absolute + relative · |y|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Allowed whatever the magnitude.
    pub absolute: f64,
    /// Allowed in proportion to the reference.
    pub relative: f64,
}

/// `f32` kernels against the interpreter, which computes in `f64`: rounding of sums of a few thousand terms.
pub const F32: Tolerance = Tolerance { absolute: 2e-5, relative: 2e-5 };

/// Values that pass through `f16` storage once, such as a key-value cache: half a unit in the last of 11 bits.
pub const F16: Tolerance = Tolerance { absolute: 2e-3, relative: 2e-3 };

/// Logits of a small model whose keys and values were kept in `f16`: the rounding of every layer's cache adds up.
pub const F16_CACHE: Tolerance = Tolerance { absolute: 1e-2, relative: 1e-2 };

/// Logits or gradients of a small model all of whose operations are rounded to `f16`, as on the Neural Engine: length of the
/// difference as a part of the length. Each rounding is off by up to 5e-4; they add up over a few dozen operations.
pub const F16_MODEL: f64 = 4e-3;

/// Gradients of a small model, as [`F16_MODEL`]: the way back adds roundings, and gradients of keys are small differences.
pub const F16_GRADIENTS: f64 = 2e-2;

/// Matrix products whose operands are rounded to `bf16` (8 bits) first.
pub const BF16: Tolerance = Tolerance { absolute: 2e-2, relative: 2e-2 };

/// Logits of a small model on `f32` kernels against PyTorch's: both round, in different orders.
pub const LOGITS: Tolerance = Tolerance { absolute: 1e-4, relative: 1e-4 };

impl Tolerance {
    /// The first element that is too far off, with the pair of values; a NaN is near only to a NaN.
    pub fn first_breach(self, found: &[f32], reference: &[f32]) -> Option<(usize, f32, f32)> {
        if found.len() != reference.len() {
            return Some((found.len().min(reference.len()), f32::NAN, f32::NAN));
        }
        let near = |x: f32, y: f32| {
            let (x, y) = (f64::from(x), f64::from(y));
            x == y
                || (x.is_nan() && y.is_nan())
                || (x - y).abs() <= self.absolute + self.relative * y.abs()
        };
        let pairs = found.iter().copied().zip(reference.iter().copied()).enumerate();
        pairs.filter(|(_, (x, y))| !near(*x, *y)).map(|(at, (x, y))| (at, x, y)).next()
    }
}
