//! Seeded random operands for the tests: the same numbers on every machine and in every run.

use std::ops::Range;

use orion_compiler::tensor::round;
use orion_compiler::{DType, Tensor, TensorType};

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Draw(u64);

impl Draw {
    /// Numbers that depend on a name and a seed only.
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        // FNV-1a
        let hash = name.bytes().fold(0xcbf29ce484222325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100000001b3)
        });
        Self(hash ^ seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        z ^ (z >> 31)
    }

    /// A number in `range`.
    pub(crate) fn real(&mut self, range: &Range<f64>) -> f64 {
        range.start
            + (range.end - range.start) * ((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// A whole number below `end`.
    #[allow(dead_code, reason = "not every test draws choices")]
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }

    /// A tensor with elements in `range`: whole numbers for `i32`, above or below the middle for `bool`.
    pub(crate) fn tensor(&mut self, ty: &TensorType, range: &Range<f64>) -> Tensor {
        let mut values: Vec<f64> = (0..ty.elements()).map(|_| self.real(range)).collect();
        match ty.dtype {
            DType::I32 => {
                Tensor::i32(ty.shape.clone(), values.iter().map(|x| x.floor() as i32).collect())
            }
            DType::Bool => {
                let middle = f64::midpoint(range.start, range.end);
                Tensor::bool(ty.shape.clone(), values.iter().map(|&x| x > middle).collect())
            }
            dtype => {
                values.iter_mut().for_each(|x| *x = round(dtype, *x));
                Tensor::real(ty.clone(), values)
            }
        }
    }
}
