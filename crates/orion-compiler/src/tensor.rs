//! Tensor values for the interpreter, constants and tests. Real numbers are kept as `f64` that the element type can
//! represent; a block-quantised tensor is kept as the numbers that its blocks decode to.

use half::{bf16, f16};

use crate::{DType, TensorType};

/// A tensor with its elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    ty: TensorType,
    elements: Elements,
}

#[derive(Clone, Debug, PartialEq)]
enum Elements {
    Real(Vec<f64>),
    Int(Vec<i32>),
    Bool(Vec<bool>),
}

impl Tensor {
    /// A tensor of a real type.
    ///
    /// # Panics
    /// When the number of elements is not the shape's, or the type is not real.
    pub fn real(ty: TensorType, elements: Vec<f64>) -> Self {
        assert!(
            ty.dtype.is_float() && ty.elements() == elements.len(),
            "{ty}: {} reals",
            elements.len()
        );
        Self { ty, elements: Elements::Real(elements) }
    }

    /// An `f32` tensor.
    ///
    /// # Panics
    /// When the number of elements is not the shape's.
    pub fn f32(shape: impl Into<Vec<usize>>, elements: &[f32]) -> Self {
        Self::real(
            TensorType::new(DType::F32, shape),
            elements.iter().map(|&x| f64::from(x)).collect(),
        )
    }

    /// An `i32` tensor.
    ///
    /// # Panics
    /// When the number of elements is not the shape's.
    pub fn i32(shape: impl Into<Vec<usize>>, elements: Vec<i32>) -> Self {
        let ty = TensorType::new(DType::I32, shape);
        assert_eq!(ty.elements(), elements.len(), "{ty}");
        Self { ty, elements: Elements::Int(elements) }
    }

    /// A `bool` tensor.
    ///
    /// # Panics
    /// When the number of elements is not the shape's.
    pub fn bool(shape: impl Into<Vec<usize>>, elements: Vec<bool>) -> Self {
        let ty = TensorType::new(DType::Bool, shape);
        assert_eq!(ty.elements(), elements.len(), "{ty}");
        Self { ty, elements: Elements::Bool(elements) }
    }

    /// All zero, or all false.
    pub fn zeros(ty: &TensorType) -> Self {
        let count = ty.elements();
        let elements = match ty.dtype {
            DType::I32 => Elements::Int(vec![0; count]),
            DType::Bool => Elements::Bool(vec![false; count]),
            _ => Elements::Real(vec![0.0; count]),
        };
        Self { ty: ty.clone(), elements }
    }

    /// The tensor's type.
    pub fn ty(&self) -> &TensorType {
        &self.ty
    }

    /// The elements of a real tensor; empty for others.
    pub fn reals(&self) -> &[f64] {
        match &self.elements {
            Elements::Real(values) => values,
            _ => &[],
        }
    }

    /// The elements of an integer tensor; empty for others.
    pub fn ints(&self) -> &[i32] {
        match &self.elements {
            Elements::Int(values) => values,
            _ => &[],
        }
    }

    /// The elements of a truth tensor; empty for others.
    pub fn bools(&self) -> &[bool] {
        match &self.elements {
            Elements::Bool(values) => values,
            _ => &[],
        }
    }

    /// The elements of a real tensor as `f32`.
    pub fn to_f32(&self) -> Vec<f32> {
        self.reals().iter().map(|&x| x as f32).collect()
    }

    /// The only integer of a scalar; 0 where there is none.
    pub fn scalar_int(&self) -> i64 {
        self.ints().first().map_or(0, |&x| i64::from(x))
    }

    /// Elements `picks[i]` in order, whatever their type, in a tensor of type `ty`.
    ///
    /// # Panics
    /// When a pick is outside of the tensor.
    pub fn pick(&self, ty: TensorType, picks: impl Iterator<Item = usize>) -> Self {
        let elements = match &self.elements {
            Elements::Real(values) => Elements::Real(picks.map(|at| values[at]).collect()),
            Elements::Int(values) => Elements::Int(picks.map(|at| values[at]).collect()),
            Elements::Bool(values) => Elements::Bool(picks.map(|at| values[at]).collect()),
        };
        Self { ty, elements }
    }

    /// The tensor with the elements `at` replaced, in order, by those of `from`.
    ///
    /// # Panics
    /// When the element types differ or a place is outside of the tensor.
    pub fn place(mut self, from: &Self, at: impl Iterator<Item = usize>) -> Self {
        match (&mut self.elements, &from.elements) {
            (Elements::Real(to), Elements::Real(from)) => {
                at.zip(from).for_each(|(at, &x)| to[at] = x)
            }
            (Elements::Int(to), Elements::Int(from)) => {
                at.zip(from).for_each(|(at, &x)| to[at] = x)
            }
            (Elements::Bool(to), Elements::Bool(from)) => {
                at.zip(from).for_each(|(at, &x)| to[at] = x)
            }
            _ => unreachable!("operands of one element type"),
        }
        self
    }

    /// The same elements under another type of as many elements and the same kind.
    pub fn with_type(mut self, ty: TensorType) -> Self {
        self.ty = ty;
        self
    }

    /// Rounds every element to what the element type can represent.
    pub fn rounded(mut self) -> Self {
        if let Elements::Real(values) = &mut self.elements {
            let dtype = self.ty.dtype;
            values.iter_mut().for_each(|x| *x = round(dtype, *x));
        }
        self
    }
}

/// The number of element type `dtype` nearest to `x`; block types keep `x`, as their numbers depend on neighbours.
pub fn round(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::F32 => f64::from(x as f32),
        DType::F16 => f16::from_f32(to_odd(x)).to_f64(),
        DType::BF16 => bf16::from_f32(to_odd(x)).to_f64(),
        _ => x,
    }
}

/// The neighbour of `x` among `f32` numbers whose last bit is set, unless `x` is one itself. Rounding that to a type of
/// at most 22 bits gives what rounding `x` gives (Boldo and Melquiond, 2008); rounding twice to nearest does not.
fn to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    if x.is_nan() || x.is_infinite() || f64::from(nearest) == x {
        return nearest;
    }
    let beyond = f64::from(nearest).abs() > x.abs();
    f32::from_bits((nearest.to_bits() - u32::from(beyond)) | 1)
}

/// Row-major distance between neighbours along each dimension.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Offsets, in row-major order of `shape`, into storage where dimension `i` moves by `steps[i]`.
pub fn offsets(shape: &[usize], steps: &[usize]) -> impl Iterator<Item = usize> + use<> {
    let count = shape.iter().product::<usize>();
    let (shape, steps) = (shape.to_vec(), steps.to_vec());
    (0..count).map(move |mut index| {
        let mut offset = 0;
        for (&dim, &step) in shape.iter().zip(&steps).rev() {
            offset += (index % dim) * step;
            index /= dim;
        }
        offset
    })
}

/// Steps that read a tensor of shape `from` as if it were broadcast to shape `to`.
pub fn broadcast_steps(from: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(from);
    let lead = to.len().saturating_sub(from.len());
    (0..to.len())
        .map(|axis| match axis.checked_sub(lead) {
            Some(at) if from[at] != 1 => own[at],
            _ => 0,
        })
        .collect()
}
