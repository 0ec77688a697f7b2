//! Reductions over dimensions that lie side by side.

use orion_compiler::mil::syntax::Statement;
use orion_compiler::{DType, Diagnostic};
use orion_kernels::pool::Pool;
use orion_kernels::reduce::{Reduction, reduce};

use super::super::plan::{Planning, axis_of};
use super::super::profile::Quirk;
use super::super::settings::Numerics;
use super::Planner;

pub(super) const OPS: &[(&str, Planner)] = &[
    ("reduce_sum", |p, _, s| plan(p, s, Reduction::Sum, |x, _| x)),
    ("reduce_mean", |p, _, s| plan(p, s, Reduction::Sum, |x, count| x / count)),
    ("reduce_max", |p, _, s| plan(p, s, Reduction::Largest, |x, _| x)),
    ("reduce_sum_square", |p, _, s| plan(p, s, Reduction::SumOfSquares, |x, _| x)),
    ("reduce_l1_norm", |p, _, s| plan(p, s, Reduction::SumOfSizes, |x, _| x)),
    ("reduce_l2_norm", |p, _, s| plan(p, s, Reduction::SumOfSquares, |x, _| x.sqrt())),
];

/// A shape around dimensions that are reduced: `[outer, length, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) length: usize,
    pub(super) inner: usize,
}

impl Block {
    /// Around these axes; `None` when others that are longer than one lie between them.
    pub(super) fn around(shape: &[usize], axes: &[usize]) -> Option<Self> {
        let long: Vec<usize> =
            (0..shape.len()).filter(|axis| axes.contains(axis) && shape[*axis] > 1).collect();
        let (Some(&first), Some(&last)) = (long.first(), long.last()) else {
            return Some(Self { length: 1, inner: 1 });
        };
        let is_whole = (first..=last).all(|axis| long.contains(&axis) || shape[axis] == 1);
        let length = shape[first..=last].iter().product();
        let inner = shape[last + 1..].iter().product();
        is_whole.then_some(Self { length, inner })
    }
}

/// The axes that a statement names, or all.
pub(super) fn axes<'p, 't>(
    p: &Planning<'p, 't>,
    s: &'p Statement<'t>,
    rank: usize,
) -> Result<Vec<usize>, Diagnostic> {
    let all: Vec<i64> = (0..rank as i64).collect();
    p.ints_or(s, "axes", &all)?.into_iter().map(|axis| axis_of(s, axis, rank)).collect()
}

fn plan<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    reduction: Reduction,
    last: fn(f32, f32) -> f32,
) -> Result<bool, Diagnostic> {
    let x = p.operand(s, "x")?;
    let shape = p.shape(x);
    let axes = axes(p, s, shape.len())?;
    let Some(Block { length, inner }) = Block::around(&shape, &axes) else { return Ok(false) };
    if p.ty(x).dtype == DType::I32 || length == 0 || inner == 0 {
        return Ok(false);
    }
    let keeps = p.flag(s, "keep_dims", false)?;
    let result: Vec<usize> = (0..shape.len())
        .filter(|axis| keeps || !axes.contains(axis))
        .map(|axis| if axes.contains(&axis) { 1 } else { shape[axis] })
        .collect();
    let out = p.define(s, 0, &result)?;
    let finish = p.finish_of_sum(p.ty(out));
    let count: usize = axes.iter().map(|&axis| shape[axis]).product();
    let in_fours = p.target.numerics == Numerics::Ane
        && p.target.profile.has(Quirk::AddsInFours)
        && reduction == Reduction::Sum;
    p.push(
        vec![x],
        vec![out],
        finish,
        Box::new(move |work, reads, writes| {
            if in_fours {
                sum_in_fours(work.pool, writes[0], reads[0], length, inner);
            } else {
                reduce(work.pool, reduction, writes[0], reads[0], length, inner);
            }
            writes[0].iter_mut().for_each(|x| *x = last(*x, count as f32));
        }),
    );
    Ok(true)
}

/// Sums as M1 takes them (GD ch. 3 and 20): numbers are added in fours to 12 bits, whose sums are added widely.
pub(super) fn sum_in_fours(pool: &Pool, out: &mut [f32], x: &[f32], length: usize, inner: usize) {
    pool.for_each_part_mut(out, inner, |block, out| {
        let x = &x[block * length * inner..][..length * inner];
        for (column, out) in out.iter_mut().enumerate() {
            let mut numbers = x[column..].iter().step_by(inner).copied();
            let mut sum = 0.0_f64;
            while let Some(first) = numbers.next() {
                let four = numbers.by_ref().take(3).fold(first, add_to_12_bits);
                sum += f64::from(four);
            }
            *out = sum as f32;
        }
    });
}

/// Both are cut to 12 bits, counted from the highest of the larger one, and added.
fn add_to_12_bits(a: f32, b: f32) -> f32 {
    let largest = a.abs().max(b.abs());
    if largest == 0.0 || !largest.is_finite() {
        return a + b;
    }
    let exponent = (largest.to_bits() >> 23).cast_signed() - 127;
    let unit = 2.0_f64.powi(exponent - 11);
    let cut = |x: f32| (f64::from(x) / unit).trunc() * unit;
    (cut(a) + cut(b)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use orion_kernels::Isa;

    fn sum(numbers: &[f32]) -> f32 {
        let mut out = [f32::NAN];
        sum_in_fours(&Pool::new(1, Isa::portable()), &mut out, numbers, numbers.len(), 1);
        out[0]
    }

    /// GD ch. 3: of sixteen ones beside a number and its negative, all survive below 4096, and four from there on, whatever
    /// their order.
    #[test]
    fn ones_survive_beside_large_numbers_as_on_m1() {
        for (large, survivors) in [
            (1024.0, 16.0),
            (3000.0, 16.0),
            (4090.0, 16.0),
            (4096.0, 4.0),
            (8000.0, 4.0),
            (16_000.0, 4.0),
            (30_000.0, 4.0),
        ] {
            assert_eq!(sum(&[large, -large, 1.0].repeat(16)), survivors, "{large}");
            assert_eq!(sum(&[large, 1.0, -large].repeat(16)), survivors, "{large}");
        }
    }

    /// GD ch. 3: 4096 and 1024 ones give 5117, which f16 shows as 5116; 16,000 ones are exact.
    #[test]
    fn long_sums_are_wide() {
        let mut numbers = vec![1.0; 1025];
        numbers[0] = 4096.0;
        assert_eq!(sum(&numbers), 5117.0);
        assert_eq!(sum(&vec![1.0; 16_000]), 16_000.0);
    }

    #[test]
    fn dimensions_between_the_reduced_ones_have_to_be_of_one_element() {
        assert_eq!(Block::around(&[1, 768, 1, 16], &[1]), Some(Block { length: 768, inner: 16 }));
        assert_eq!(Block::around(&[2, 3, 1, 5], &[1, 3]), Some(Block { length: 15, inner: 1 }));
        assert_eq!(Block::around(&[2, 3, 4, 5], &[1, 3]), None);
        assert_eq!(Block::around(&[1, 1], &[0]), Some(Block { length: 1, inner: 1 }));
    }
}
