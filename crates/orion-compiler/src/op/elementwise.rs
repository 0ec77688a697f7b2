//! What elementwise operations share: types, evaluation with broadcasting, and the gradient's way back through a
//! broadcast.

use crate::ir::types::{TypeError, broadcast, exactly};
use crate::tensor::{broadcast_steps, offsets};
use crate::{Builder, DType, Op, Tensor, TensorType, Value};

impl Op {
    /// Whether each element of the only result depends on one element of each operand, those at its place after
    /// broadcasting, and on nothing else.
    pub const fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Self::Add(_)
                | Self::Cast(_)
                | Self::Cos(_)
                | Self::Div(_)
                | Self::Equal(_)
                | Self::Erf(_)
                | Self::Exp(_)
                | Self::Gelu(_)
                | Self::Less(_)
                | Self::LessEqual(_)
                | Self::Log(_)
                | Self::Maximum(_)
                | Self::Minimum(_)
                | Self::Mul(_)
                | Self::Neg(_)
                | Self::Rsqrt(_)
                | Self::Select(_)
                | Self::Sigmoid(_)
                | Self::Silu(_)
                | Self::Sin(_)
                | Self::Sqrt(_)
                | Self::Sub(_)
                | Self::Swiglu(_)
                | Self::Tanh(_)
        )
    }
}

/// One real operand; the result has its type.
pub(super) fn infer_unary(inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
    let [x] = exactly(inputs)?;
    require_dense(&x)?;
    Ok(vec![x])
}

/// Two real operands of one element type that broadcast.
pub(super) fn infer_binary(inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
    let [x, y] = exactly(inputs)?;
    require_dense(&x)?;
    if x.dtype != y.dtype {
        return Err(TypeError(format!(
            "operands are {x} and {y}; cast one so that both have one element type"
        )));
    }
    Ok(vec![x.with_shape(broadcast(&x.shape, &y.shape)?)])
}

/// [`infer_binary`], which also takes `i32`.
pub(super) fn infer_arithmetic(inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
    let [x, y] = exactly(inputs)?;
    if x.dtype == DType::I32 && y.dtype == DType::I32 {
        return Ok(vec![x.with_shape(broadcast(&x.shape, &y.shape)?)]);
    }
    infer_binary(inputs)
}

/// Two real or integer operands of one element type that broadcast; the result is `bool`.
pub(super) fn infer_comparison(inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
    let [x, y] = exactly(inputs)?;
    if x.dtype != y.dtype || x.dtype.is_block() || x.dtype == DType::Bool {
        return Err(TypeError(format!(
            "{x} and {y} cannot be compared; both must be i32 or one dense real type"
        )));
    }
    Ok(vec![TensorType::new(DType::Bool, broadcast(&x.shape, &y.shape)?)])
}

/// Refuses integers, truth values and block types.
pub(super) fn require_dense(x: &TensorType) -> Result<(), TypeError> {
    if x.dtype.is_dense_float() {
        return Ok(());
    }
    Err(TypeError(format!("works on f32, f16 and bf16, found {x}; cast it first")))
}

/// Applies `f` to every element.
pub(super) fn map(
    inputs: &[&Tensor],
    outputs: &[TensorType],
    f: impl Fn(f64) -> f64,
) -> Vec<Tensor> {
    vec![Tensor::real(outputs[0].clone(), inputs[0].reals().iter().map(|&x| f(x)).collect())]
}

/// Applies `f` to pairs of broadcast elements.
pub(super) fn zip(
    inputs: &[&Tensor],
    outputs: &[TensorType],
    f: impl Fn(f64, f64) -> f64,
) -> Vec<Tensor> {
    let (x, y) = (inputs[0].reals(), inputs[1].reals());
    let values = pairs(inputs, &outputs[0].shape).map(|(i, j)| f(x[i], y[j])).collect();
    vec![Tensor::real(outputs[0].clone(), values)]
}

/// [`zip`], which also takes `i32`.
pub(super) fn arithmetic(
    inputs: &[&Tensor],
    outputs: &[TensorType],
    reals: impl Fn(f64, f64) -> f64,
    ints: impl Fn(i32, i32) -> i32,
) -> Vec<Tensor> {
    if outputs[0].dtype != DType::I32 {
        return zip(inputs, outputs, reals);
    }
    let (x, y) = (inputs[0].ints(), inputs[1].ints());
    let values = pairs(inputs, &outputs[0].shape).map(|(i, j)| ints(x[i], y[j])).collect();
    vec![Tensor::i32(outputs[0].shape.clone(), values)]
}

/// Compares pairs of broadcast elements.
pub(super) fn compare(
    inputs: &[&Tensor],
    outputs: &[TensorType],
    reals: impl Fn(f64, f64) -> bool,
    ints: impl Fn(i32, i32) -> bool,
) -> Vec<Tensor> {
    let shape = &outputs[0].shape;
    let values = if inputs[0].ty().dtype == DType::I32 {
        let (x, y) = (inputs[0].ints(), inputs[1].ints());
        pairs(inputs, shape).map(|(i, j)| ints(x[i], y[j])).collect()
    } else {
        let (x, y) = (inputs[0].reals(), inputs[1].reals());
        pairs(inputs, shape).map(|(i, j)| reals(x[i], y[j])).collect()
    };
    vec![Tensor::bool(shape.clone(), values)]
}

/// Offsets of the two operands' elements that meet at each element of the result.
pub(super) fn pairs(
    inputs: &[&Tensor],
    shape: &[usize],
) -> impl Iterator<Item = (usize, usize)> + use<> {
    let x = offsets(shape, &broadcast_steps(&inputs[0].ty().shape, shape));
    let y = offsets(shape, &broadcast_steps(&inputs[1].ty().shape, shape));
    x.zip(y)
}

/// The gradient of an operand that was broadcast: summed back to the operand's shape.
pub(super) fn unbroadcast(b: &Builder, gradient: Value, operand: Value) -> Value {
    let (from, to) = (b.type_of(gradient).shape, b.type_of(operand).shape);
    if from == to {
        return gradient;
    }
    let lead = from.len().saturating_sub(to.len());
    let axes: Vec<i64> = (0..from.len())
        .filter(|&axis| axis < lead || (to[axis - lead] == 1 && from[axis] != 1))
        .map(|axis| axis as i64)
        .collect();
    b.reshape(b.reduce_sum(gradient, &axes, true), &to)
}

/// One operation an element of the result.
pub(super) fn flops(outputs: &[TensorType]) -> u64 {
    outputs.iter().map(|ty| ty.elements() as u64).sum()
}

/// Gradients of an operation that gives `x` where `first` holds, and else `y`: where both are equal they share it evenly,
/// as in PyTorch.
pub(super) fn vjp_of_choice(
    b: &Builder,
    x: Value,
    y: Value,
    first: Value,
    gradient: Value,
) -> Vec<Option<Value>> {
    let dtype = b.type_of(gradient).dtype;
    let (tie, zero) = (b.equal(x, y), b.scalar(dtype, 0.0));
    let half = b.mul(gradient, b.scalar(dtype, 0.5));
    let to_x = b.select(first, gradient, b.select(tie, half, zero));
    let to_y = b.select(first, zero, b.select(tie, half, gradient));
    vec![Some(unbroadcast(b, to_x, x)), Some(unbroadcast(b, to_y, y))]
}
