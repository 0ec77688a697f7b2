//! `constant`: a tensor that is part of the program.

use super::{Forward, Primitive, Sample};
use crate::ir::types::TypeError;
use crate::{Builder, DType, Tensor, TensorType, Value, attributes};

attributes! {
    /// A tensor of numbers written in the program: one for every element, or a single one for all of them.
    pub struct Constant {
        /// Element type: a dense real type or `i32`.
        pub dtype: DType,
        /// Shape of the result.
        pub shape: Vec<usize>,
        /// The elements in row-major order, or one element for all.
        pub values: Vec<f64>,
    }
}

impl Primitive for Constant {
    const NAME: &'static str = "constant";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let ty = TensorType::new(self.dtype, self.shape.clone());
        if !inputs.is_empty() {
            return Err(TypeError::new("takes no operands"));
        }
        if !(self.dtype.is_dense_float() || self.dtype == DType::I32) {
            return Err(TypeError(format!(
                "{ty} cannot be written as a constant; only f32, f16, bf16 and i32"
            )));
        }
        if self.values.len() != 1 && self.values.len() != ty.elements() {
            return Err(TypeError(format!(
                "{} values for {ty}; give one for all or one for each",
                self.values.len()
            )));
        }
        Ok(vec![ty])
    }

    fn eval(&self, _: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let ty = &outputs[0];
        let values: Vec<f64> = match self.values.as_slice() {
            [value] => vec![*value; ty.elements()],
            values => values.to_vec(),
        };
        if self.dtype == DType::I32 {
            return vec![Tensor::i32(
                ty.shape.clone(),
                values.into_iter().map(|x| x as i32).collect(),
            )];
        }
        vec![Tensor::real(ty.clone(), values).rounded()]
    }

    fn vjp(&self, _: &Builder, _: Forward<'_>, _: &[Value]) -> Vec<Option<Value>> {
        Vec::new()
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self {
                dtype: DType::F32,
                shape: vec![2, 2],
                values: vec![1.0, -2.5, 1e-5, 3e10],
            }),
            Sample::of(Self { dtype: DType::BF16, shape: vec![3], values: vec![0.1] }),
            Sample::of(Self { dtype: DType::I32, shape: vec![], values: vec![-7.0] }),
        ]
    }
}

impl Builder {
    /// One number for every element of `ty`.
    pub fn fill(&self, ty: &TensorType, value: f64) -> Value {
        self.constant(ty.dtype, &ty.shape, vec![value])
    }

    /// A single number of element type `dtype`.
    pub fn scalar(&self, dtype: DType, value: f64) -> Value {
        self.constant(dtype, &[], vec![value])
    }

    /// A tensor written in the program; one value stands for all elements.
    pub fn constant(&self, dtype: DType, shape: &[usize], values: Vec<f64>) -> Value {
        self.apply1(Constant { dtype, shape: shape.to_vec(), values }, &[])
    }
}
