//! Axes: where a value lies between two ends, and round values to mark.

/// Values beyond this are as good as infinite: drawing arithmetic on them would overflow.
const LARGEST: f64 = 1e100;

/// Whether a value can be drawn.
pub(super) fn drawable(value: f64) -> bool {
    value.abs() < LARGEST
}

/// Whether a value can be drawn on a logarithmic axis.
fn has_logarithm(value: f64) -> bool {
    value > 1.0 / LARGEST && drawable(value)
}

/// An axis from one value to a greater one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) min: f64,
    pub(super) max: f64,
    logarithmic: bool,
    /// Whether only whole numbers are marked.
    pub(super) whole: bool,
}

impl Axis {
    /// An axis over `values`, whose ends get `margin` of the length more room; 0 to 1 when there are none.
    pub(super) fn over(values: impl Iterator<Item = f64>, margin: f64) -> Self {
        let (min, max) = ends(values).unwrap_or((0.0, 1.0));
        // Ends that are (nearly) equal would leave no room for ticks.
        let least = (min.abs().max(max.abs()) * 1e-6).max(f64::MIN_POSITIVE * 1e16);
        let spread = if max - min >= least {
            0.0
        } else if max == 0.0 {
            0.5
        } else {
            0.05 * max.abs()
        };
        let margin = (max - min) * margin + spread;
        Self { min: min - margin, max: max + margin, logarithmic: false, whole: false }
    }

    /// An axis from zero over `values`, of which none is negative in practice.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>, margin: f64) -> Self {
        let (min, max) = ends(values).unwrap_or((0.0, 1.0));
        let (min, max) = (min.min(0.0), max.max(0.0));
        let room = if max > min { (max - min) * margin } else { 1.0 };
        Self {
            min: if min < 0.0 { min - room } else { 0.0 },
            max: max + room,
            logarithmic: false,
            whole: false,
        }
    }

    /// An axis over the logarithms of the values above zero.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>, margin: f64) -> Self {
        let logarithms = values.filter(|&value| has_logarithm(value)).map(f64::log10);
        let Self { min, max, .. } = Self::over(logarithms, margin);
        Self { min: 10_f64.powf(min), max: 10_f64.powf(max), logarithmic: true, whole: false }
    }

    /// Where a value lies: 0 at the lower end, 1 at the upper. `None` for what cannot be drawn.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let place = if self.logarithmic {
            (value / self.min).ln() / (self.max / self.min).ln()
        } else {
            (value - self.min) / (self.max - self.min)
        };
        let has_place = if self.logarithmic { has_logarithm(value) } else { drawable(value) };
        has_place.then_some(place)
    }

    /// At most about `count` round values between the ends, with their labels.
    pub(super) fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        if self.logarithmic {
            let values = self.decades(count);
            if values.len() >= 3 {
                return values.into_iter().map(|value| (value, short(value))).collect();
            }
        }
        let step = round_step((self.max - self.min) / count as f64);
        let step = if self.whole { step.max(1.0) } else { step };
        // An end that is a tick itself must not be lost to rounding.
        let [first, last] = [(self.min / step - 1e-9).ceil(), (self.max / step + 1e-9).floor()];
        let largest = self.max.abs().max(self.min.abs());
        (first as i64..=last as i64)
            .map(|tick| tick as f64 * step)
            .map(|value| (value, label(value, step, largest)))
            .collect()
    }

    /// Powers of ten between the ends, with as many of their multiples as fit.
    fn decades(&self, count: usize) -> Vec<f64> {
        const MULTIPLES: [&[f64]; 4] =
            [&[1., 2., 3., 4., 5., 6., 7., 8., 9.], &[1., 2., 3., 5.], &[1., 2., 5.], &[1.]];
        let [first, last] = [self.min.log10().floor() as i32, self.max.log10().ceil() as i32];
        let within = |multiples: &[f64]| -> Vec<f64> {
            let values = (first..=last).flat_map(|power| {
                multiples.iter().map(move |multiple| multiple * 10_f64.powi(power))
            });
            values.filter(|value| (self.min..=self.max).contains(value)).collect()
        };
        let sparse = || {
            let stride = ((last - first) as usize).div_ceil(count).max(1);
            (first..=last).step_by(stride).map(|power| 10_f64.powi(power)).collect::<Vec<_>>()
        };
        let fits = |values: &Vec<f64>| values.len() <= count + 2;
        let mut values = MULTIPLES.into_iter().map(within).find(fits).unwrap_or_else(sparse);
        values.retain(|value| (self.min..=self.max).contains(value));
        values
    }
}

/// The least and the greatest value that can be drawn.
fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|&value| drawable(value)).fold(None, |ends, value| match ends {
        None => Some((value, value)),
        Some((min, max)) => Some((value.min(min), value.max(max))),
    })
}

/// The next value of 1, 2 or 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * power >= least * 0.999);
    step.unwrap_or(10.0) * power
}

/// A tick's label, with as many digits as its neighbours at `step` need.
fn label(value: f64, step: f64, largest: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let (unit, suffix) = match largest {
        1e12.. => power_of_ten(largest),
        1e9.. => (1e9, "G".to_owned()),
        1e6.. => (1e6, "M".to_owned()),
        1e4.. => (1e3, "k".to_owned()),
        1e-2.. => (1.0, String::new()),
        _ => power_of_ten(largest),
    };
    let digits = (-(step / unit * 1.001).log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{:.digits$}{suffix}", value / unit)
}

fn power_of_ten(value: f64) -> (f64, String) {
    let power = value.log10().floor();
    (10_f64.powf(power), format!("e{power}"))
}

/// A value with up to three digits, and an exponent where zeros would hide it.
fn short(value: f64) -> String {
    if (1e-3..1e5).contains(&value) {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.0e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis) -> Vec<String> {
        axis.ticks(5).into_iter().map(|(_, label)| label).collect()
    }

    fn over(min: f64, max: f64) -> Axis {
        Axis::over([min, max].into_iter(), 0.0)
    }

    #[test]
    fn ticks_are_round_and_labelled_alike() {
        assert_eq!(labels(over(0.0, 1000.0)), ["0", "200", "400", "600", "800", "1000"]);
        assert_eq!(labels(over(2.13, 3.87)), ["2.5", "3.0", "3.5"]);
        assert_eq!(labels(over(1.0, 50_000.0)), ["10k", "20k", "30k", "40k", "50k"]);
        assert_eq!(labels(over(0.0, 2.5e7)), ["0", "5M", "10M", "15M", "20M", "25M"]);
        assert_eq!(labels(over(0.0, 3e-4)), ["0", "1e-4", "2e-4", "3e-4"]);
        assert_eq!(labels(over(0.0, 1e6)), ["0", "0.2M", "0.4M", "0.6M", "0.8M", "1.0M"]);
        assert_eq!(labels(Axis { whole: true, ..over(0.0, 2.0) }), ["0", "1", "2"]);
        assert_eq!(labels(over(-1.0, 1.0)), ["-1.0", "-0.5", "0", "0.5", "1.0"]);
    }

    #[test]
    fn logarithmic_ticks_are_round_on_short_and_long_axes() {
        let over = |min, max| Axis::logarithmic([min, max].into_iter(), 0.0);
        assert_eq!(labels(over(1.9, 11.0)), ["2", "3", "5", "10"]);
        assert_eq!(labels(over(0.009, 12.0)), ["0.01", "0.1", "1", "10"]);
        assert_eq!(labels(over(3.1, 3.4)), ["3.1", "3.2", "3.3", "3.4"]);
    }

    #[test]
    fn any_values_give_an_axis_with_a_few_ticks() {
        let sets: [&[f64]; 8] = [
            &[],
            &[0.0],
            &[3.25],
            &[-7.0],
            &[f64::NAN, f64::INFINITY],
            &[1e-300],
            &[3.0, 3.0 + 1e-12],
            &[f64::MAX, 1e90, -1e90],
        ];
        for values in sets {
            let all = || values.iter().copied();
            for axis in [
                Axis::over(all(), 0.05),
                Axis::from_zero(all(), 0.05),
                Axis::logarithmic(all(), 0.05),
            ] {
                let ticks = axis.ticks(5);
                assert!((1..12).contains(&ticks.len()), "{values:?} {axis:?} {ticks:?}");
                let is_on =
                    |value: f64| axis.place(value).is_some_and(|at| (-0.01..=1.01).contains(&at));
                assert!(ticks.iter().all(|&(value, _)| is_on(value)), "{values:?} {ticks:?}");
            }
        }
    }
}
