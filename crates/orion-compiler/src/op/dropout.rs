//! `dropout`: zeroing at random (Srivastava et al., 2014).

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly};
use crate::{Builder, DType, Tensor, TensorType, Value, attributes};

attributes! {
    /// Each element of `x` is zero with probability `rate`, else `x / (1 - rate)`.
    ///
    /// Operands: `x`, `seed i32[]`. Element `i` stays when the hash of seed, stream and `i` is at least `rate · 2³²`, so
    /// that the backward pass finds the same elements without a mask in memory.
    pub struct Dropout {
        /// Probability of a zero, below 1.
        pub rate: f64,
        /// Tells the dropouts of a program apart.
        pub stream: i64,
    }
}

/// Mixes all bits of a word into all others: two rounds of multiply and xor-shift, with the constants that C. Wellons
/// found least biased ("Prospecting for hash functions", 2018).
fn mix(word: u32) -> u32 {
    let word = (word ^ word >> 16).wrapping_mul(0x7feb_352d);
    let word = (word ^ word >> 15).wrapping_mul(0x846c_a68b);
    word ^ word >> 16
}

impl Dropout {
    /// What is mixed into the indices of one run.
    pub fn key(&self, seed: i32) -> u32 {
        mix(mix(seed as u32) ^ self.stream as u32)
    }

    /// Hashes below it drop their element.
    pub fn threshold(&self) -> u32 {
        (self.rate * f64::from(u32::MAX)).round() as u32
    }

    /// What the other elements are multiplied by.
    pub fn scale(&self) -> f64 {
        1.0 / (1.0 - self.rate)
    }
}

impl Primitive for Dropout {
    const NAME: &'static str = "dropout";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x, seed] = exactly(inputs)?;
        if !x.dtype.is_dense_float() || seed != TensorType::scalar(DType::I32) {
            return Err(TypeError(format!(
                "takes real numbers and a seed i32[], found {x}, {seed}"
            )));
        }
        if !(0.0..1.0).contains(&self.rate) {
            return Err(TypeError(format!("rate {} is not a probability below 1", self.rate)));
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let (key, threshold) = (self.key(inputs[1].ints()[0]), self.threshold());
        let scale = self.scale();
        let one = |(index, &x): (usize, &f64)| {
            if mix(index as u32 ^ key) < threshold { 0.0 } else { x * scale }
        };
        let values = inputs[0].reals().iter().enumerate().map(one).collect();
        vec![Tensor::real(outputs[0].clone(), values)]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        vec![Some(b.apply1(self.clone(), &[gradients[0], forward.inputs[1]])), None]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        super::elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { rate: 0.25, stream: 3 }).f32([40, 30]).i32([], 0..1000),
            Sample::of(Self { rate: 0.0, stream: 0 }).f32([2, 3]).i32([], 0..5),
        ]
    }
}

impl Builder {
    /// `x` with a part `rate` of its elements zero; `seed` and `stream` decide which.
    pub fn dropout(&self, x: Value, seed: Value, rate: f64, stream: i64) -> Value {
        self.apply1(Dropout { rate, stream }, &[x, seed])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_its_rate_and_others_with_another_seed_or_stream() {
        let ones = Tensor::real(TensorType::new(DType::F32, [100_000]), vec![1.0; 100_000]);
        let run = |stream: i64, seed: i32| {
            let seed = Tensor::i32(Vec::new(), vec![seed]);
            let op = Dropout { rate: 0.1, stream };
            op.eval(&[&ones, &seed], &[ones.ty().clone()])[0].reals().to_vec()
        };
        let first = run(0, 7);
        assert!(first.iter().all(|&x| x == 0.0 || (x - 1.0 / 0.9).abs() < 1e-12));
        let dropped = |x: &[f64]| x.iter().filter(|&&x| x == 0.0).count() as f64;
        // Ten thousand with a deviation of 95; and a tenth of those in common with an independent mask.
        assert!((dropped(&first) - 10_000.0).abs() < 500.0, "{}", dropped(&first));
        for other in [run(1, 7), run(0, 8), run(1, 8)] {
            let both: Vec<f64> = first.iter().zip(&other).map(|(x, y)| x.max(*y)).collect();
            assert!((dropped(&both) - 1000.0).abs() < 150.0, "{}", dropped(&both));
        }
    }
}
