//! Arithmetic of two tensors that repeat along dimensions in which they have one element, as NumPy broadcasts.

use crate::Pool;
use crate::vectorize::{share, vectorized};

/// What is computed of two elements. Comparisons give 1 and 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the operations say it")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Maximum,
    Minimum,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Dimensions that are left after those are joined along which both operands move alike.
const MOST: usize = 4;

/// How two operands are walked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broadcast {
    shape: [usize; MOST],
    steps: [[usize; MOST]; 2],
    elements: [usize; 2],
}

impl Broadcast {
    /// For operands of these shapes, outermost dimension first.
    ///
    /// `None` when they do not broadcast to one another, or alternate more often than any program has been seen to do.
    pub fn new(x: &[usize], y: &[usize]) -> Option<Self> {
        let rank = x.len().max(y.len());
        let size = |shape: &[usize], axis: usize| {
            (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis])
        };
        // From the innermost on: how long, and whether each operand moves.
        let mut joined: Vec<(usize, [bool; 2])> = Vec::new();
        for axis in (0..rank).rev() {
            let sizes = [size(x, axis), size(y, axis)];
            let length = if sizes[0] == 1 { sizes[1] } else { sizes[0] };
            if sizes.iter().any(|&size| size != length && size != 1) {
                return None;
            }
            let moves = sizes.map(|size| size == length);
            match joined.last_mut() {
                _ if length == 1 => {}
                Some((inner, same)) if *same == moves => *inner *= length,
                _ => joined.push((length, moves)),
            }
        }
        if joined.len() > MOST {
            return None;
        }
        let mut plan = Self { shape: [1; MOST], steps: [[0; MOST]; 2], elements: [1; 2] };
        for (at, (length, moves)) in joined.into_iter().enumerate() {
            let axis = MOST - 1 - at;
            plan.shape[axis] = length;
            for ((steps, elements), moves) in
                plan.steps.iter_mut().zip(&mut plan.elements).zip(moves)
            {
                if moves {
                    steps[axis] = *elements;
                    *elements *= length;
                }
            }
        }
        Some(plan)
    }

    /// Elements of the result.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Where in an operand the row of the result with this number begins.
    fn start(&self, operand: usize, mut row: usize) -> usize {
        let mut start = 0;
        for axis in (0..MOST - 1).rev() {
            start += row % self.shape[axis] * self.steps[operand][axis];
            row /= self.shape[axis];
        }
        start
    }
}

/// `out = x ⋆ y`.
///
/// # Panics
/// When a length is not that of its shape.
pub fn binary(pool: &Pool, op: Binary, plan: &Broadcast, out: &mut [f32], x: &[f32], y: &[f32]) {
    assert_eq!([x.len(), y.len()], plan.elements, "operands of the planned shapes");
    assert_eq!(out.len(), plan.elements(), "a result of the planned shape");
    let width = plan.shape[MOST - 1];
    share(pool, out, width, |out, at| {
        let first = at / width.max(1);
        vectorized!(
            pool.isa(),
            rows(op: Binary, plan: &Broadcast, out: &mut [f32], x: &[f32], y: &[f32], first: usize)
        );
    });
}

#[inline(always)]
fn rows<const FUSED: bool>(
    op: Binary,
    plan: &Broadcast,
    out: &mut [f32],
    x: &[f32],
    y: &[f32],
    first: usize,
) {
    let flag = |is_true: bool| f32::from(u8::from(is_true));
    match op {
        Binary::Add => each(plan, out, x, y, first, |x, y| x + y),
        Binary::Sub => each(plan, out, x, y, first, |x, y| x - y),
        Binary::Mul => each(plan, out, x, y, first, |x, y| x * y),
        Binary::Div => each(plan, out, x, y, first, |x, y| x / y),
        // A NaN on either side comes out, as in NumPy and MIL.
        Binary::Maximum => {
            each(plan, out, x, y, first, |x, y| if x > y || x.is_nan() { x } else { y });
        }
        Binary::Minimum => {
            each(plan, out, x, y, first, |x, y| if x < y || x.is_nan() { x } else { y });
        }
        Binary::Equal => each(plan, out, x, y, first, |x, y| flag(x == y)),
        Binary::NotEqual => each(plan, out, x, y, first, |x, y| flag(x != y)),
        Binary::Less => each(plan, out, x, y, first, |x, y| flag(x < y)),
        Binary::LessEqual => each(plan, out, x, y, first, |x, y| flag(x <= y)),
        Binary::Greater => each(plan, out, x, y, first, |x, y| flag(x > y)),
        Binary::GreaterEqual => each(plan, out, x, y, first, |x, y| flag(x >= y)),
    }
}

#[inline(always)]
fn each(
    plan: &Broadcast,
    out: &mut [f32],
    x: &[f32],
    y: &[f32],
    first: usize,
    f: impl Fn(f32, f32) -> f32,
) {
    let width = plan.shape[MOST - 1];
    let moves = plan.steps.map(|steps| steps[MOST - 1] != 0);
    for (row, out) in out.chunks_mut(width).enumerate() {
        let [from_x, from_y] = [0, 1].map(|operand| plan.start(operand, first + row));
        match moves {
            [true, true] => {
                let (x, y) = (&x[from_x..from_x + width], &y[from_y..from_y + width]);
                out.iter_mut().zip(x).zip(y).for_each(|((out, &x), &y)| *out = f(x, y));
            }
            [true, false] => {
                let (x, y) = (&x[from_x..from_x + width], y[from_y]);
                out.iter_mut().zip(x).for_each(|(out, &x)| *out = f(x, y));
            }
            [false, true] => {
                let (x, y) = (x[from_x], &y[from_y..from_y + width]);
                out.iter_mut().zip(y).for_each(|(out, &y)| *out = f(x, y));
            }
            [false, false] => out.fill(f(x[from_x], y[from_y])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::noise;

    /// The element of an operand that belongs to an element of the result.
    fn pick(shape: &[usize], result: &[usize], mut index: usize) -> usize {
        let (mut at, mut step) = (0, 1);
        for (axis, size) in result.iter().enumerate().rev() {
            let place = index % size;
            index /= size;
            if let Some(own) = (axis + shape.len()).checked_sub(result.len())
                && shape[own] != 1
            {
                at += place * step;
                step *= shape[own];
            }
        }
        at
    }

    #[test]
    fn operands_repeat_as_in_numpy() {
        let cases: [(&[usize], &[usize], &[usize]); 9] = [
            (&[2, 3, 1, 16], &[2, 3, 1, 16], &[2, 3, 1, 16]),
            (&[1, 8, 1, 16], &[1, 8, 1, 1], &[1, 8, 1, 16]),
            (&[1, 8, 1, 16], &[1, 1, 1, 16], &[1, 8, 1, 16]),
            (&[1, 4, 5, 7], &[], &[1, 4, 5, 7]),
            (&[1], &[3, 4], &[3, 4]),
            (&[1, 4, 1, 7], &[2, 1, 3, 7], &[2, 4, 3, 7]),
            (&[5, 1], &[1, 6], &[5, 6]),
            (&[1, 12, 16, 300], &[1, 1, 16, 300], &[1, 12, 16, 300]),
            (&[], &[], &[]),
        ];
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            for (x_shape, y_shape, result) in cases {
                let count = |shape: &[usize]| shape.iter().product::<usize>();
                let (x, y) = (noise(count(x_shape), 1), noise(count(y_shape), 2));
                let plan = Broadcast::new(x_shape, y_shape).unwrap();
                assert_eq!(plan.elements(), count(result));
                let mut out = vec![0.0; count(result)];
                for (op, one) in [
                    (Binary::Sub, (|x, y| x - y) as fn(f32, f32) -> f32),
                    (Binary::Div, |x, y| x / y),
                    (Binary::Maximum, f32::max),
                    (Binary::Minimum, f32::min),
                    (Binary::LessEqual, |x, y| f32::from(u8::from(x <= y))),
                ] {
                    binary(&pool, op, &plan, &mut out, &x, &y);
                    for (index, &found) in out.iter().enumerate() {
                        let [x, y] =
                            [x[pick(x_shape, result, index)], y[pick(y_shape, result, index)]];
                        assert_eq!(found, one(x, y), "{op:?} of {x_shape:?} and {y_shape:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        assert_eq!(Broadcast::new(&[2, 3], &[2]), None);
        assert_eq!(Broadcast::new(&[2], &[3]), None);
        // Six turns of who moves.
        assert_eq!(Broadcast::new(&[2, 1, 2, 1, 2, 1], &[1, 2, 1, 2, 1, 2]), None);
    }

    #[test]
    fn a_nan_on_either_side_comes_out_of_maximum_and_minimum() {
        let pool = Pool::new(1, Isa::detect());
        let plan = Broadcast::new(&[2], &[2]).unwrap();
        for op in [Binary::Maximum, Binary::Minimum] {
            let mut out = [0.0; 2];
            binary(&pool, op, &plan, &mut out, &[f32::NAN, 1.0], &[1.0, f32::NAN]);
            assert!(out.iter().all(|x| x.is_nan()));
        }
    }
}
