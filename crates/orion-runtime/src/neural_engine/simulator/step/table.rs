//! Functions from tables: 33 knots and straight lines between them, as the engine computes its activations.
//!
//! Where the knots lie was read out of programs that Apple's compiler made for M6 (751K, F3b): sigmoid on [−8, 8], tanh on
//! [0, 4] and erf on [0, 2], odd; GELU on [−4, 4] and SiLU on [−8, 8]. The largest errors that follow are those that were measured
//! on M1 (GD) and M6. What a table gives for 0 was measured on M1: −0.000543 for GELU and −0.001259 for SiLU; the ends of
//! sigmoid's domain, −9.938 and 8.320, too. All modes of GELU share one table (751K).

use std::sync::LazyLock;

use half::f16;

/// Knots of a table.
const KNOTS: usize = 33;

/// A function as a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tabled {
    Sigmoid,
    Tanh,
    Erf,
    Gelu,
    Silu,
}

#[derive(Clone, Debug)]
struct Table {
    /// Where the first knot is, and how many there are to one.
    first: f32,
    density: f32,
    /// Values at the knots, as f16.
    values: [f32; KNOTS],
}

impl Table {
    fn new(first: f64, step: f64, at_zero: Option<f64>, f: fn(f64) -> f64) -> Self {
        let values = std::array::from_fn(|index| {
            let x = first + step * index as f64;
            let exact = f(x);
            let value = at_zero.filter(|_| x == 0.0).unwrap_or(exact);
            f16::from_f64(value).to_f32()
        });
        Self { first: first as f32, density: (1.0 / step) as f32, values }
    }

    /// Between the two nearest knots; outside, the last one's value.
    fn at(&self, x: f32) -> f32 {
        let place = ((x - self.first) * self.density).clamp(0.0, (KNOTS - 1) as f32);
        let index = (place as usize).min(KNOTS - 2);
        let (low, high) = (self.values[index], self.values[index + 1]);
        low + (high - low) * (place - index as f32)
    }
}

static SIGMOID: LazyLock<Table> =
    LazyLock::new(|| Table::new(-8.0, 0.5, None, |x| 1.0 / (1.0 + (-x).exp())));
static TANH: LazyLock<Table> = LazyLock::new(|| Table::new(0.0, 0.125, None, f64::tanh));
static ERF: LazyLock<Table> = LazyLock::new(|| Table::new(0.0, 1.0 / 16.0, None, erf));
static GELU: LazyLock<Table> = LazyLock::new(|| {
    Table::new(-4.0, 0.25, Some(-0.000_543), |x| {
        x * 0.5 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))
    })
});
static SILU: LazyLock<Table> =
    LazyLock::new(|| Table::new(-8.0, 0.5, Some(-0.001_259), |x| x / (1.0 + (-x).exp())));

/// The ends of sigmoid's domain.
const SIGMOID_ENDS: [f32; 2] = [-9.938, 8.320];

/// The table's value.
pub(super) fn look_up(function: Tabled, x: f32) -> f32 {
    match function {
        Tabled::Sigmoid => {
            let [low, high] = SIGMOID_ENDS;
            if x <= low {
                0.0
            } else if x < -8.0 {
                SIGMOID.values[0] * (x - low) / (-8.0 - low)
            } else if x >= high {
                1.0
            } else if x > 8.0 {
                let last = SIGMOID.values[KNOTS - 1];
                last + (1.0 - last) * (x - 8.0) / (high - 8.0)
            } else {
                SIGMOID.at(x)
            }
        }
        Tabled::Tanh => (if x.abs() >= 4.0 { 1.0 } else { TANH.at(x.abs()) }).copysign(x),
        // What is beyond the table is the function itself; nobody has said what the engine does there.
        Tabled::Erf if x.abs() > 2.0 => erf(f64::from(x)) as f32,
        Tabled::Erf => ERF.at(x.abs()).copysign(x),
        Tabled::Gelu if x > 4.0 => x,
        Tabled::Gelu if x < -4.0 => 0.0,
        Tabled::Gelu => GELU.at(x),
        Tabled::Silu if x > 8.0 => x,
        Tabled::Silu if x < -8.0 => 0.0,
        Tabled::Silu => SILU.at(x),
    }
}

/// The error function, to within 2 · 10⁻¹⁶ of f64: the interpreter's.
pub(super) fn erf(x: f64) -> f64 {
    libm::erf(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of f16 in a range.
    fn halves(low: f32, high: f32) -> impl Iterator<Item = f32> {
        let all = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32());
        all.filter(move |x| (low..=high).contains(x))
    }

    /// The largest errors on M1 (GD ch. 3) and M6 (751K F3): sigmoid 0.0034, tanh 0.0017 and 0.0016, GELU 0.0059 and 0.0062,
    /// SiLU 0.015, erf 0.00086. The table's has to be as large, and no larger.
    #[test]
    fn largest_errors_are_those_that_were_measured() {
        let cases: [(Tabled, fn(f64) -> f64, f64, f64); 5] = [
            (Tabled::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 0.0029, 0.0034),
            (Tabled::Tanh, f64::tanh, 0.0014, 0.0017),
            (Tabled::Gelu, |x| x * 0.5 * (1.0 + erf(x / 2.0_f64.sqrt())), 0.0056, 0.0062),
            (Tabled::Silu, |x| x / (1.0 + (-x).exp()), 0.0135, 0.0155),
            (Tabled::Erf, erf, 0.000_855, 0.000_865),
        ];
        for (function, exact, low, high) in cases {
            let error = |x: f32| {
                let found = f64::from(f16::from_f32(look_up(function, x)).to_f32());
                (found - exact(f64::from(x))).abs()
            };
            let most = halves(-6.0, 6.0).map(error).fold(0.0, f64::max);
            assert!((low..=high).contains(&most), "{function:?}: {most}");
        }
    }

    /// GD ch. 3: origin biases, ends of domains, and NaN, which arrives as infinity.
    #[test]
    fn zero_and_the_ends_give_what_was_measured() {
        let half = |function, x| f16::from_f32(look_up(function, x)).to_f32();
        assert!((half(Tabled::Gelu, 0.0) + 0.000_543).abs() < 1e-6);
        assert!((half(Tabled::Silu, 0.0) + 0.001_259).abs() < 1e-6);
        assert_eq!(half(Tabled::Sigmoid, 8.32), 1.0);
        assert_eq!(half(Tabled::Sigmoid, -9.94), 0.0);
        for (function, at_infinity) in
            [(Tabled::Sigmoid, 1.0), (Tabled::Tanh, 1.0), (Tabled::Erf, 1.0)]
        {
            assert_eq!(half(function, f32::INFINITY), at_infinity);
        }
        assert_eq!(half(Tabled::Tanh, f32::NEG_INFINITY), -1.0);
        assert_eq!(half(Tabled::Gelu, f32::INFINITY), f32::INFINITY);
    }
}
