//! Real numbers in one of the two types that training keeps them in. What waits long, or is only read to be rounded, is kept
//! in bf16: half the memory and half the traffic. Kernels compute in f32 and widen and round as they read and write.

use std::ops::Range;

use half::bf16;

use crate::convert::{narrow, widen};
use crate::pool::DisjointMut;
use crate::vectorize::{share, vectorized};
use crate::{Isa, Pool};

/// Numbers that elementwise kernels widen at once: they stay in the first-level cache.
pub(crate) const RUN: usize = 1024;

/// Numbers to read.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the types themselves")]
pub enum Numbers<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// Numbers to write.
#[derive(Debug)]
#[expect(missing_docs, reason = "the types themselves")]
pub enum NumbersMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16]),
}

/// Numbers of which several threads write parts.
pub(crate) enum DisjointNumbers<'a> {
    F32(DisjointMut<'a, f32>),
    Bf16(DisjointMut<'a, bf16>),
}

impl<'a> From<&'a [f32]> for Numbers<'a> {
    fn from(numbers: &'a [f32]) -> Self {
        Self::F32(numbers)
    }
}

impl<'a> From<&'a mut [f32]> for NumbersMut<'a> {
    fn from(numbers: &'a mut [f32]) -> Self {
        Self::F32(numbers)
    }
}

impl<'a> Numbers<'a> {
    /// How many.
    pub const fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Bf16(x) => x.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those of `range`.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline(always)]
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        match self {
            Self::F32(x) => Self::F32(&x[range]),
            Self::Bf16(x) => Self::Bf16(&x[range]),
        }
    }

    /// Those of `range` in f32, widened into `wide` if they need it.
    #[inline(always)]
    pub(crate) fn read<'w>(self, range: Range<usize>, wide: &'w mut Vec<f32>) -> &'w [f32]
    where
        'a: 'w,
    {
        match self {
            Self::F32(x) => &x[range],
            Self::Bf16(x) => {
                wide.resize(wide.len().max(range.len()), 0.0);
                let wide = &mut wide[..range.len()];
                widen::<false>(wide, &x[range]);
                wide
            }
        }
    }
}

impl<'a> NumbersMut<'a> {
    /// How many.
    pub const fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Bf16(x) => x.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes all of them zero.
    pub fn clear(&mut self) {
        match self {
            Self::F32(x) => x.fill(0.0),
            Self::Bf16(x) => x.fill(bf16::ZERO),
        }
    }

    /// Makes them those of `x`, rounded if need be.
    ///
    /// # Panics
    /// When there are not as many.
    pub(crate) fn copy_from(&mut self, isa: Isa, x: &[f32]) {
        match self {
            Self::F32(to) => to.copy_from_slice(x),
            Self::Bf16(to) => {
                assert_eq!(to.len(), x.len(), "as many numbers");
                vectorized!(isa, narrow(to: &mut [bf16], x: &[f32]));
            }
        }
    }

    /// Where to write those of `range`: in `wide`, if [`keep`](Self::keep) is to round them. No closure writes them, as it
    /// might be compiled apart from its kernel, for other instructions.
    #[inline(always)]
    pub(crate) fn room<'w>(
        &'w mut self,
        range: &Range<usize>,
        wide: &'w mut Vec<f32>,
    ) -> &'w mut [f32] {
        match self {
            Self::F32(x) => &mut x[range.clone()],
            Self::Bf16(_) => {
                wide.resize(wide.len().max(range.len()), 0.0);
                &mut wide[..range.len()]
            }
        }
    }

    /// Keeps what was written to the [`room`](Self::room) of `range`.
    #[inline(always)]
    pub(crate) fn keep(&mut self, range: Range<usize>, wide: &[f32]) {
        if let Self::Bf16(x) = self {
            narrow::<false>(&mut x[range], wide);
        }
    }

    /// To read.
    pub const fn as_numbers(&self) -> Numbers<'_> {
        match self {
            Self::F32(x) => Numbers::F32(x),
            Self::Bf16(x) => Numbers::Bf16(x),
        }
    }

    /// The same for a while.
    pub const fn reborrow(&mut self) -> NumbersMut<'_> {
        match self {
            Self::F32(x) => NumbersMut::F32(x),
            Self::Bf16(x) => NumbersMut::Bf16(x),
        }
    }

    /// The same for several threads.
    pub(crate) fn disjoint(self) -> DisjointNumbers<'a> {
        match self {
            Self::F32(x) => DisjointNumbers::F32(DisjointMut::new(x)),
            Self::Bf16(x) => DisjointNumbers::Bf16(DisjointMut::new(x)),
        }
    }
}

impl DisjointNumbers<'_> {
    /// Those of `range`.
    ///
    /// # Safety
    /// As [`DisjointMut::slice`].
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> NumbersMut<'_> {
        // SAFETY: by this function's contract.
        unsafe {
            match self {
                Self::F32(x) => NumbersMut::F32(x.slice(range)),
                Self::Bf16(x) => NumbersMut::Bf16(x.slice(range)),
            }
        }
    }

    /// As [`DisjointMut::prefetch`].
    pub(crate) fn prefetch(&self, range: Range<usize>) {
        match self {
            Self::F32(x) => x.prefetch(range),
            Self::Bf16(x) => x.prefetch(range),
        }
    }
}

/// As [`share`].
pub(crate) fn share_numbers(
    pool: &Pool,
    out: NumbersMut<'_>,
    unit: usize,
    kernel: impl Fn(NumbersMut<'_>, usize) + Sync,
) {
    match out {
        NumbersMut::F32(out) => share(pool, out, unit, |out, at| kernel(NumbersMut::F32(out), at)),
        NumbersMut::Bf16(out) => {
            share(pool, out, unit, |out, at| kernel(NumbersMut::Bf16(out), at));
        }
    }
}

/// Ranges of at most [`RUN`] numbers.
pub(crate) fn runs(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(RUN).map(move |start| start..len.min(start + RUN))
}

/// Where each row of `width` numbers is.
pub(crate) fn rows(len: usize, width: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(width).map(move |start| start..start + width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::{gelu_erf, gelu_tanh, silu, swiglu};
    use crate::attention::{AttentionShape, Scratch, attention_by_products};
    use crate::gradient::{
        AttentionScratch, attention_gradient, gelu_gradient, layer_norm_gradient,
        rms_norm_gradient, swiglu_gradient,
    };
    use crate::norm::{layer_norm, rms_norm};
    use crate::rope::{Angles, Direction, RopeShape, rope};
    use crate::testing::noise;

    /// Runs `kernel` on operands of these lengths, in bf16 and as the numbers that they stand for: what it writes in bf16 is
    /// what it writes in f32, rounded.
    fn check<const I: usize, const O: usize>(
        name: &str,
        operands: [usize; I],
        results: [usize; O],
        kernel: impl Fn(&Pool, [Numbers<'_>; I], [NumbersMut<'_>; O]),
    ) {
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            let narrow: [Vec<bf16>; I] = std::array::from_fn(|at| {
                noise(operands[at], at as u64 + 1).into_iter().map(bf16::from_f32).collect()
            });
            let wide = narrow.each_ref().map(|x| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>());
            let mut found = results.map(|len| vec![bf16::NAN; len]);
            let mut expected = results.map(|len| vec![f32::NAN; len]);
            let to = found.each_mut().map(|x| NumbersMut::Bf16(x));
            kernel(&pool, narrow.each_ref().map(|x| Numbers::Bf16(x)), to);
            let to = expected.each_mut().map(|x| NumbersMut::F32(x));
            kernel(&pool, wide.each_ref().map(|x| Numbers::F32(x)), to);
            let expected = expected.map(|x| x.into_iter().map(bf16::from_f32).collect::<Vec<_>>());
            assert!(found == expected, "{name} {}", isa.name());
        }
    }

    #[test]
    fn kernels_on_bf16_do_what_they_do_on_the_numbers_it_stands_for() {
        for (rows, width) in [(1, 1), (3, 37), (2, 3 * RUN + 5), (700, 64)] {
            let len = rows * width;
            let weight = noise(width, 9);
            check("silu", [len], [len], |pool, [x], [out]| silu(pool, out, x));
            check("gelu", [len], [len], |pool, [x], [out]| gelu_tanh(pool, out, x));
            check("exact gelu", [len], [len], |pool, [x], [out]| gelu_erf(pool, out, x));
            check("swiglu", [len; 2], [len], |pool, [gate, up], [out]| swiglu(pool, out, gate, up));
            check("swiglu gradient", [len; 3], [len; 2], |pool, [dy, gate, up], [dgate, dup]| {
                swiglu_gradient(pool, dgate, dup, dy, gate, up);
            });
            for approximate in [true, false] {
                check("gelu gradient", [len; 2], [len], |pool, [dy, x], [dx]| {
                    gelu_gradient(pool, dx, dy, x, approximate);
                });
            }
            check("rms norm", [len], [len], |pool, [x], [out]| {
                rms_norm(pool, out, x, &weight, 1e-5);
            });
            check("layer norm", [len], [len], |pool, [x], [out]| {
                layer_norm(pool, out, x, &weight, &weight, 1e-5);
            });
            // Gradients of norms are added to others, and stay in f32.
            check("norm gradients", [len; 2], [2 * len], |pool, [dy, x], [mut out]| {
                let [mut dx, mut other] = [vec![0.0; len], vec![0.0; len]];
                let [mut dweight, mut dbias] = [vec![0.0; width], vec![0.0; width]];
                rms_norm_gradient(pool, &mut dx, &mut dweight, dy, x, &weight, 1e-5);
                let all = [&mut other[..], &mut dweight, &mut dbias];
                layer_norm_gradient(pool, all, dy, x, &weight, 1e-5);
                dx.extend(other);
                out.copy_from(pool.isa(), &dx);
            });
        }
        let shape = RopeShape { batch: 2, sequence: 5, heads: 3, head_dim: 14 };
        for direction in [Direction::Forward, Direction::Back] {
            check("rope", [420], [420], |pool, [x], [out]| {
                rope(pool, &mut Angles::default(), out, x, (&[0.3; 7], 2), shape, direction);
            });
        }
    }

    #[test]
    fn attention_on_bf16_is_that_of_the_numbers_it_stands_for() {
        let (heads, kv_heads, head_dim) = (4, 2, 14);
        for (batch, queries, capacity, position) in [(2, 35, 35, 0), (1, 3, 70, 60)] {
            let scale = 0.4;
            let shape = AttentionShape {
                batch,
                queries,
                heads,
                kv_heads,
                head_dim,
                capacity,
                position,
                scale,
                causal: true,
            };
            let read = batch * queries * heads * head_dim;
            let stored = batch * capacity * kv_heads * head_dim;
            let roundings: [crate::attention::Rounding; 2] =
                [|matrix| matrix, |matrix| matrix.in_bf16()];
            for round in roundings {
                check("attention", [read, stored, stored], [read], |pool, inputs, [out]| {
                    let scratch = &mut Scratch::default();
                    attention_by_products(pool, scratch, out, inputs, shape, round);
                });
                let operands = [read, read, stored, stored];
                check("its gradient", operands, [read, stored, stored], |pool, operands, out| {
                    let ([dy, inputs @ ..], scratch) = (operands, &mut AttentionScratch::default());
                    attention_gradient(pool, scratch, out, dy, inputs, shape, round);
                });
            }
        }
    }
}
