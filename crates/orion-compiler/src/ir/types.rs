//! Types of values: element type and static shape.

use std::fmt;

use crate::DType;

/// Type of a tensor value: element type and shape, outermost dimension first. A scalar has the empty shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorType {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self { dtype, shape: shape.into() }
    }

    /// The type of a single number.
    pub fn scalar(dtype: DType) -> Self {
        Self::new(dtype, [])
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements; saturates instead of overflowing, which the verifier refuses.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |product: usize, &n| product.saturating_mul(n))
    }

    /// Whether a backend can address the elements: as many of eight bytes fit in memory, even when a dimension of zero
    /// is counted as one, and rows of block types are whole blocks.
    pub fn is_addressable(&self) -> bool {
        let most = self.shape.iter().fold(1, |product: usize, &n| product.saturating_mul(n.max(1)));
        let row = self.shape.last().copied().unwrap_or(1);
        most.checked_mul(8).is_some_and(|bytes| isize::try_from(bytes).is_ok())
            && row.is_multiple_of(self.dtype.block_len())
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Self::new(dtype, self.shape.clone())
    }

    /// The same element type with another shape.
    pub fn with_shape(&self, shape: impl Into<Vec<usize>>) -> Self {
        Self::new(self.dtype, shape)
    }

    /// The dimension at `axis`, counted from the end when negative; 1 when there is none.
    pub fn dim(&self, axis: i64) -> usize {
        axis_index(axis, self.rank()).map_or(1, |index| self.shape[index])
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (index, dim) in self.shape.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{dim}")?;
        }
        f.write_str("]")
    }
}

/// Why operands do not fit an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TypeError(pub String);

impl TypeError {
    /// An error with a formatted message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Index of `axis` in a shape of `rank` dimensions; negative axes count from the end.
pub fn axis_index(axis: i64, rank: usize) -> Option<usize> {
    let index = if axis < 0 { axis.checked_add(i64::try_from(rank).ok()?)? } else { axis };
    usize::try_from(index).ok().filter(|&index| index < rank)
}

/// [`axis_index`] with the error that an operation reports.
pub fn require_axis(axis: i64, of: &TensorType) -> Result<usize, TypeError> {
    axis_index(axis, of.rank()).ok_or_else(|| {
        TypeError(format!("axis {axis} is outside of {of}, which has {} dimensions", of.rank()))
    })
}

/// Exactly `N` operands, or the error that says how many there were.
pub fn exactly<const N: usize, T: Clone>(operands: &[T]) -> Result<[T; N], TypeError> {
    <[T; N]>::try_from(operands.to_vec())
        .map_err(|found| TypeError(format!("takes {N} operands, found {}", found.len())))
}

/// The shape that both shapes broadcast to: aligned at the end, a dimension of 1 stretches (NumPy's rule).
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, TypeError> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |index| shape[index])
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            (x, y) => Err(TypeError(format!(
                "shapes {a:?} and {b:?} do not broadcast: {x} against {y} in dimension {axis} of the result"
            ))),
        })
        .collect()
}
