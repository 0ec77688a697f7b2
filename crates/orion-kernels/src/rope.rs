//! Rotary positions (Su et al., 2021), halves paired as in Hugging Face's Llama.

use crate::Pool;
use crate::numbers::{Numbers, NumbersMut, rows, share_numbers};
use crate::vectorize::{share, vectorized};

/// Shape of the operand, `[batch, sequence, heads, head_dim]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the dimensions of the shape above")]
pub struct RopeShape {
    pub batch: usize,
    pub sequence: usize,
    pub heads: usize,
    pub head_dim: usize,
}

/// Cosines and sines, kept from call to call: all layers of a model turn by the same angles.
#[derive(Default)]
pub struct Angles {
    frequencies: Vec<f32>,
    position: usize,
    /// Of every frequency, place after place.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Angles {
    /// Makes the angles those of `places` tokens from `position` on.
    fn set(&mut self, pool: &Pool, frequencies: &[f32], position: usize, places: usize) {
        let count = places * frequencies.len();
        if self.frequencies == frequencies && self.position == position && self.cos.len() == count {
            return;
        }
        let mut both = vec![(0.0, 0.0); count];
        share(pool, &mut both, frequencies.len(), |both, at| {
            for (index, both) in both.iter_mut().enumerate() {
                let (place, index) =
                    ((at + index) / frequencies.len(), (at + index) % frequencies.len());
                // The angle is rounded to f32, as the models were trained; its sine and cosine are exact to f32.
                let angle = f64::from((position + place) as f32 * frequencies[index]);
                *both = (angle.cos() as f32, angle.sin() as f32);
            }
        });
        (self.cos, self.sin) = both.into_iter().unzip();
        self.frequencies.clear();
        self.frequencies.extend_from_slice(frequencies);
        self.position = position;
    }
}

/// Which way pairs are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By the angles.
    Forward,
    /// Back by the angles: the inverse, and, turning being orthogonal, the gradient.
    Back,
}

/// Turns the pairs `(x[i], x[i + head_dim/2])` of every head by `frequencies[i] · (position + token)` radians, or back.
/// `angles` are those of the last call, and become those of this one.
///
/// # Panics
/// When lengths do not fit the shape: `head_dim` is even and there is a frequency for each pair.
pub fn rope(
    pool: &Pool,
    angles: &mut Angles,
    out: NumbersMut<'_>,
    x: Numbers<'_>,
    (frequencies, position): (&[f32], usize),
    shape: RopeShape,
    direction: Direction,
) {
    let RopeShape { batch, sequence, heads, head_dim } = shape;
    let token = heads * head_dim;
    assert!(
        out.len() == x.len() && x.len() == batch * sequence * token,
        "operands have the shape's size"
    );
    assert_eq!(2 * frequencies.len(), head_dim, "one frequency for each pair");
    if out.is_empty() {
        return;
    }
    angles.set(pool, frequencies, position, sequence);
    let (half, angles) = (head_dim / 2, &*angles);
    let sign = if direction == Direction::Back { -1.0 } else { 1.0 };
    share_numbers(pool, out, token, |out, at| {
        let x = x.part(at..at + out.len());
        let turn = Turn { angles, first: at / token % sequence, sequence, half, token, sign };
        vectorized!(pool.isa(), turn_all(out: NumbersMut<'_>, x: Numbers<'_>, turn: Turn<'_>));
    });
}

/// How tokens are turned.
#[derive(Clone, Copy)]
struct Turn<'a> {
    angles: &'a Angles,
    /// The first token's place in its sequence.
    first: usize,
    sequence: usize,
    /// Numbers of half a head, and of a token.
    half: usize,
    token: usize,
    sign: f32,
}

#[inline(always)]
fn turn_all<const FUSED: bool>(mut out: NumbersMut<'_>, x: Numbers<'_>, turn: Turn<'_>) {
    let Turn { angles, first, sequence, half, token, sign } = turn;
    let [mut wide_out, mut wide_x] = [const { Vec::new() }; 2];
    for (index, row) in rows(x.len(), token).enumerate() {
        let place = (first + index) % sequence;
        let own = place * half..(place + 1) * half;
        let (cos, sin) = (&angles.cos[own.clone()], &angles.sin[own]);
        let x = x.read(row.clone(), &mut wide_x);
        turn_token(out.room(&row, &mut wide_out), x, cos, sin, sign);
        out.keep(row, &wide_out);
    }
}

#[inline(always)]
fn turn_token(out: &mut [f32], x: &[f32], cos: &[f32], sin: &[f32], sign: f32) {
    let half = cos.len();
    for (out, x) in out.chunks_exact_mut(2 * half).zip(x.chunks_exact(2 * half)) {
        let ((first, second), (x, y)) = (out.split_at_mut(half), x.split_at(half));
        for i in 0..half {
            let sin = sign * sin[i];
            first[i] = x[i] * cos[i] - y[i] * sin;
            second[i] = y[i] * cos[i] + x[i] * sin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::{assert_near, noise};

    #[test]
    fn angles_follow_frequencies_position_and_length() {
        let pool = Pool::new(2, Isa::detect());
        let mut kept = Angles::default();
        for (base, position, sequence) in
            [(10_000_f32, 7, 40), (500_000.0, 7, 40), (500_000.0, 8, 40), (500_000.0, 8, 39)]
        {
            let shape = RopeShape { batch: 1, sequence, heads: 2, head_dim: 8 };
            let frequencies: Vec<f32> = (0..4).map(|i| base.powf(-(i as f32) / 4.0)).collect();
            let x = noise(sequence * 16, 5);
            let [mut found, mut expected] = [vec![0.0; x.len()], vec![0.0; x.len()]];
            let at = (&frequencies[..], position);
            let x = Numbers::F32(&x);
            let out = NumbersMut::F32(&mut found);
            rope(&pool, &mut kept, out, x, at, shape, Direction::Forward);
            let fresh = &mut Angles::default();
            let out = NumbersMut::F32(&mut expected);
            rope(&pool, fresh, out, x, at, shape, Direction::Forward);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn pairs_turn_by_their_frequency_times_the_position() {
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            let mut angles = Angles::default();
            for (shape, position) in [
                (RopeShape { batch: 2, sequence: 3, heads: 2, head_dim: 6 }, 0),
                (RopeShape { batch: 1, sequence: 1, heads: 12, head_dim: 64 }, 100_000),
                (RopeShape { batch: 1, sequence: 40, heads: 9, head_dim: 64 }, 7),
                (RopeShape { batch: 1, sequence: 40, heads: 9, head_dim: 64 }, 8),
                (RopeShape { batch: 7, sequence: 13, heads: 6, head_dim: 48 }, 3),
            ] {
                let RopeShape { batch, sequence, heads, head_dim } = shape;
                let half = head_dim / 2;
                let frequencies: Vec<f32> =
                    (0..half).map(|i| 10_000_f32.powf(-(i as f32) / half as f32)).collect();
                let x = noise(batch * sequence * heads * head_dim, 4);
                let mut out = vec![0.0; x.len()];
                let at = (&frequencies[..], position);
                let (to, from) = (NumbersMut::F32(&mut out), Numbers::F32(&x));
                rope(&pool, &mut angles, to, from, at, shape, Direction::Forward);
                let mut back = vec![0.0; x.len()];
                let (to, from) = (NumbersMut::F32(&mut back), Numbers::F32(&out));
                rope(&pool, &mut angles, to, from, at, shape, Direction::Back);
                for (&found, &x) in back.iter().zip(&x) {
                    assert_near(found, f64::from(x), 1e-6, isa.name());
                }
                for (at, &found) in out.iter().enumerate() {
                    let (row, i) = (at / head_dim, at % head_dim);
                    let token = row / heads % sequence;
                    let angle = f64::from((position + token) as f32 * frequencies[i % half]);
                    let (a, b) = (
                        f64::from(x[row * head_dim + i % half]),
                        f64::from(x[row * head_dim + i % half + half]),
                    );
                    let reference = if i < half {
                        a * angle.cos() - b * angle.sin()
                    } else {
                        b * angle.cos() + a * angle.sin()
                    };
                    assert_near(found, reference, 1e-6, isa.name());
                }
            }
        }
    }
}
