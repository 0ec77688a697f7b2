//! Arithmetic of two tensors. The second may be shorter: it then repeats, as a bias does along rows.

use crate::Pool;
use crate::vectorize::{share, vectorized};

macro_rules! binary {
    ($(#[$meta:meta])* $name:ident, $all:ident, $operator:tt) => {
        $(#[$meta])*
        ///
        /// # Panics
        /// When `out` and `x` differ in length, or are no multiple of `y`'s.
        pub fn $name(pool: &Pool, out: &mut [f32], x: &[f32], y: &[f32]) {
            check(out, x, y);
            let repeats = y.len() != x.len();
            share(pool, out, if repeats { y.len() } else { 16 }, |out, at| {
                let part = at..at + out.len();
                let (x, y) = (&x[part.clone()], if repeats { y } else { &y[part] });
                vectorized!(pool.isa(), $all(out: &mut [f32], x: &[f32], y: &[f32]));
            });
        }

        #[inline(always)]
        fn $all<const FUSED: bool>(out: &mut [f32], x: &[f32], y: &[f32]) {
            for (out, x) in out.chunks_mut(y.len()).zip(x.chunks(y.len())) {
                for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
                    *out = x $operator y;
                }
            }
        }
    };
}

binary!(
    /// `out = x + y`.
    add, add_all, +
);
binary!(
    /// `out = x - y`.
    sub, sub_all, -
);
binary!(
    /// `out = x · y`.
    mul, mul_all, *
);
binary!(
    /// `out = x / y`.
    div, div_all, /
);

fn check(out: &[f32], x: &[f32], y: &[f32]) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    assert!(
        !y.is_empty() && x.len().is_multiple_of(y.len()),
        "{} is no multiple of {}",
        x.len(),
        y.len()
    );
}

/// `out += y`.
///
/// # Panics
/// When `out`'s length is no multiple of `y`'s.
pub fn add_assign(pool: &Pool, out: &mut [f32], y: &[f32]) {
    assert!(
        !y.is_empty() && out.len().is_multiple_of(y.len()),
        "{} is no multiple of {}",
        out.len(),
        y.len()
    );
    let repeats = y.len() != out.len();
    share(pool, out, if repeats { y.len() } else { 16 }, |out, at| {
        let y = if repeats { y } else { &y[at..at + out.len()] };
        vectorized!(pool.isa(), add_assign_all(out: &mut [f32], y: &[f32]));
    });
}

#[inline(always)]
fn add_assign_all<const FUSED: bool>(out: &mut [f32], y: &[f32]) {
    for out in out.chunks_mut(y.len()) {
        out.iter_mut().zip(y).for_each(|(out, y)| *out += y);
    }
}

/// `out = x · factor`.
///
/// # Panics
/// When lengths differ.
pub fn scale(pool: &Pool, out: &mut [f32], x: &[f32], factor: f32) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    share(pool, out, 16, |out, at| {
        out.iter_mut().zip(&x[at..]).for_each(|(out, x)| *out = x * factor);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::noise;

    #[test]
    fn every_operation_takes_equal_and_repeating_operands() {
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            for (length, period) in [(7, 7), (12, 3), (40_000, 40_000), (40_000, 100)] {
                let (x, y) = (noise(length, 9), noise(period, 10));
                let mut out = vec![0.0; length];
                let mut check = |kernel: fn(&Pool, &mut [f32], &[f32], &[f32]),
                                 one: fn(f32, f32) -> f32| {
                    kernel(&pool, &mut out, &x, &y);
                    assert!(
                        (0..length).all(|i| out[i] == one(x[i], y[i % period])),
                        "{}",
                        isa.name()
                    );
                };
                check(add, |x, y| x + y);
                check(sub, |x, y| x - y);
                check(mul, |x, y| x * y);
                check(div, |x, y| x / y);
                out.copy_from_slice(&x);
                add_assign(&pool, &mut out, &y);
                assert!((0..length).all(|i| out[i] == x[i] + y[i % period]), "{}", isa.name());
                scale(&pool, &mut out, &x, 3.0);
                assert!((0..length).all(|i| out[i] == x[i] * 3.0), "{}", isa.name());
            }
        }
    }
}
