//! Transposition of tensors: dimensions in another order, in memory.

use crate::Pool;
use crate::vectorize::WORTH_SHARING;

/// A side of the squares that are turned at once: 16 lines of a cache on either side.
const SQUARE: usize = 16;

/// Dimensions in the order of a result, each with its length and how far apart its neighbours lie in the operand.
/// Dimensions that stay neighbours are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permutation {
    dims: Vec<(usize, usize)>,
    elements: usize,
}

impl Permutation {
    /// The result has the dimensions `order[0]`, `order[1]` … of `shape`. `None` when `order` does not name each once.
    pub fn new(shape: &[usize], order: &[usize]) -> Option<Self> {
        let mut named = order.to_vec();
        named.sort_unstable();
        if !named.iter().copied().eq(0..shape.len()) {
            return None;
        }
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        let mut dims: Vec<(usize, usize)> = Vec::new();
        for &axis in order {
            let (length, stride) = (shape[axis], strides[axis]);
            match dims.last_mut() {
                _ if length == 1 => {}
                Some(last) if last.1 == stride * length => *last = (last.0 * length, stride),
                _ => dims.push((length, stride)),
            }
        }
        if dims.is_empty() {
            dims.push((1, 1));
        }
        Some(Self { dims, elements: shape.iter().product() })
    }

    /// Whether nothing moves.
    pub fn is_identity(&self) -> bool {
        self.dims.len() == 1
    }
}

/// `out` is `x` with its dimensions in another order.
///
/// # Panics
/// When a length is not that of the planned shape.
pub fn permute(pool: &Pool, plan: &Permutation, out: &mut [f32], x: &[f32]) {
    assert!(out.len() == plan.elements && x.len() == plan.elements, "tensors of the planned shape");
    if plan.elements == 0 {
        return;
    }
    let [first, rest @ ..] = plan.dims.as_slice() else { return };
    let inner: usize = rest.iter().map(|dim| dim.0).product();
    // Whole squares for each thread.
    let parts = if out.len() < WORTH_SHARING { 1 } else { pool.threads() };
    let rows = first.0.div_ceil(parts).next_multiple_of(SQUARE).min(first.0);
    pool.for_each_part_mut(out, rows * inner, |index, out| {
        let from = index * rows;
        let mut dims = plan.dims.clone();
        dims[0].0 = out.len() / inner;
        copy(&dims, out, &x[from * first.1..]);
    });
}

/// Copies in the order of `out`; the dimension along which `x` has neighbours, if it is not the last, is turned with the
/// last in squares.
fn copy(dims: &[(usize, usize)], out: &mut [f32], x: &[f32]) {
    match dims {
        [] => {}
        &[(length, 1)] => out.copy_from_slice(&x[..length]),
        &[(_, stride)] => {
            out.iter_mut().zip(x.iter().step_by(stride)).for_each(|(out, &x)| *out = x);
        }
        &[(rows, 1), (columns, stride)] => turn(out, x, rows, columns, stride),
        // The neighbours in `x` come first: they and the last are a matrix for every place between.
        [(rows, 1), between @ .., (columns, stride)] => {
            let width: usize = between.iter().map(|dim| dim.0).product::<usize>() * columns;
            places(between, 0, 0, &mut |to, from| {
                turn_apart(&mut out[to * columns..], &x[from..], *rows, *columns, *stride, width);
            });
        }
        [(_, stride), rest @ ..] => {
            let inner: usize = rest.iter().map(|dim| dim.0).product();
            for (index, out) in out.chunks_mut(inner).enumerate() {
                copy(rest, out, &x[index * stride..]);
            }
        }
    }
}

/// Calls `each` with the number of every place of these dimensions and where it lies.
fn places(dims: &[(usize, usize)], to: usize, from: usize, each: &mut impl FnMut(usize, usize)) {
    match dims {
        [] => each(to, from),
        [(length, stride), rest @ ..] => {
            for index in 0..*length {
                places(rest, to * length + index, from + index * stride, each);
            }
        }
    }
}

/// `out[row][column] = x[column · stride + row]`.
pub(crate) fn turn(out: &mut [f32], x: &[f32], rows: usize, columns: usize, stride: usize) {
    turn_apart(out, x, rows, columns, stride, columns);
}

/// [`turn`], where rows of `out` begin `width` apart.
fn turn_apart(
    out: &mut [f32],
    x: &[f32],
    rows: usize,
    columns: usize,
    stride: usize,
    width: usize,
) {
    for first_row in (0..rows).step_by(SQUARE) {
        let height = SQUARE.min(rows - first_row);
        for first in (0..columns).step_by(SQUARE) {
            let across = SQUARE.min(columns - first);
            let mut square = [[0.0_f32; SQUARE]; SQUARE];
            for (column, lines) in square.iter_mut().enumerate().take(across) {
                let from = (first + column) * stride + first_row;
                lines[..height].copy_from_slice(&x[from..from + height]);
            }
            for row in 0..height {
                let to = (first_row + row) * width + first;
                for (out, lines) in out[to..to + across].iter_mut().zip(&square) {
                    *out = lines[row];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::noise;

    #[test]
    fn elements_go_where_their_indices_say() {
        let pool = Pool::new(3, Isa::detect());
        let cases: [(&[usize], &[usize]); 10] = [
            (&[5], &[0]),
            (&[37, 50], &[1, 0]),
            (&[300, 200], &[1, 0]),
            (&[1, 12, 64, 16], &[0, 1, 3, 2]),
            (&[1, 16, 12, 64], &[0, 2, 1, 3]),
            (&[2, 3, 4, 5], &[3, 1, 0, 2]),
            (&[2, 3, 4, 5], &[3, 2, 1, 0]),
            (&[7, 1, 9], &[2, 1, 0]),
            (&[3, 40, 70], &[2, 0, 1]),
            (&[20, 30, 4, 25], &[3, 0, 2, 1]),
        ];
        for (shape, order) in cases {
            let plan = Permutation::new(shape, order).unwrap();
            let x = noise(shape.iter().product(), 8);
            let mut out = vec![f32::NAN; x.len()];
            permute(&pool, &plan, &mut out, &x);
            let result: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
            for (at, &found) in out.iter().enumerate() {
                let (mut rest, mut index) = (at, vec![0; shape.len()]);
                for (&axis, &size) in order.iter().zip(&result).rev() {
                    index[axis] = rest % size;
                    rest /= size;
                }
                let from = index.iter().zip(shape).fold(0, |from, (&i, &size)| from * size + i);
                assert_eq!(found, x[from], "{shape:?} by {order:?} at {at}");
            }
        }
        assert!(Permutation::new(&[2, 1, 3, 1], &[1, 0, 3, 2]).unwrap().is_identity());
        assert_eq!(Permutation::new(&[2, 3], &[0, 0]), None);
        assert_eq!(Permutation::new(&[2, 3], &[0]), None);
    }
}
