//! The notch of the weight stream: where the weights of one core are a multiple of 1 MiB long, the engine's prefetch stops
//! and the stream slows down (EY on M3; EY4 and SH on M4). Cutting the sums in two keeps out of it.

use super::parameters::Common;

/// The length at whose multiples the stream slows down.
const LAP: u64 = 1 << 20;
/// How near to a multiple it begins to.
const WINDOW: u64 = 16 << 10;

/// Bytes of weights that a core reads: output channels are dealt out to 16 cores, and the fullest counts.
pub const fn of_core(bytes: u64, channels: u64) -> u64 {
    if channels == 0 {
        return 0;
    }
    channels.div_ceil(Common::CORES).saturating_mul(bytes / channels)
}

/// What is left of the stream, as a share. `floors` are those at 1 MiB and at further multiples.
pub fn share(of_core: u64, floors: [f64; 2]) -> f64 {
    let Some((laps, distance)) = nearest(of_core) else { return 1.0 };
    let floor = if laps == 1 { floors[0] } else { floors[1] };
    floor + (1.0 - floor) * (distance as f64 / WINDOW as f64)
}

/// The smallest number of parts, cut along the sums, that keeps weights of `bytes` out of the notch. 1 where they are out
/// of it already; `None` where no cut into up to 16 parts helps.
///
/// ```
/// use orion_compiler::cost::notch::split;
///
/// // 2048 channels of 4096 halves are exactly 1 MiB for each core: two parts of 512 KiB are not.
/// assert_eq!(split(2048, 4096, 2), Some(2));
/// assert_eq!(split(2016, 4096, 2), Some(1));
/// ```
pub fn split(channels: u64, depth: u64, bytes_each: u64) -> Option<u64> {
    let clear = |parts: u64| {
        let whole = depth.div_ceil(parts);
        [whole, depth / parts].iter().all(|&depth| {
            let bytes = channels.saturating_mul(depth).saturating_mul(bytes_each);
            nearest(of_core(bytes, channels)).is_none()
        })
    };
    (1..=16).find(|&parts| parts <= depth && clear(parts))
}

/// The multiple in whose window a length lies, and how far from it.
fn nearest(of_core: u64) -> Option<(u64, u64)> {
    let laps = (of_core + LAP / 2) / LAP;
    let distance = of_core.abs_diff(laps * LAP);
    (laps > 0 && distance < WINDOW).then_some((laps, distance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_recovers_over_the_window_on_both_sides() {
        let floors = [0.4, 0.6];
        assert_eq!(share(LAP, floors), 0.4);
        assert_eq!(share(2 * LAP, floors), 0.6);
        assert_eq!(share(7 * LAP, floors), 0.6);
        for side in [LAP - WINDOW / 2, LAP + WINDOW / 2] {
            assert!((share(side, floors) - 0.7).abs() < 1e-12);
        }
        // The first lap is never disturbed, nor is what lies between laps (SH).
        for clear in [0, WINDOW, LAP - WINDOW, LAP + WINDOW, 3 * LAP / 2] {
            assert_eq!(share(clear, floors), 1.0, "{clear}");
        }
    }

    /// SH: 2048×4096 and 4096×14336 in two parts; 4096×4096 and 2048×8192 in three measured like four.
    #[test]
    fn as_few_parts_as_the_published_remedy() {
        assert_eq!(split(2048, 4096, 2), Some(2));
        assert_eq!(split(4096, 14336, 2), Some(2));
        assert_eq!(split(4096, 4096, 2), Some(3));
        assert_eq!(split(2048, 8192, 2), Some(3));
        assert_eq!(split(0, 0, 2), None);
    }
}
