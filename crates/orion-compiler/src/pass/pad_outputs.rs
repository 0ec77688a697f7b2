//! `pad-outputs`: gives all outputs of a program one size, for who wants the safe side of a disputed rule: whether surfaces of
//! different sizes may be bound to one program (ANE005).
//!
//! Outputs are `[1, channels, height, width]`. Channels of zeros are added behind those that are there until every surface, whose
//! rows take multiples of 64 bytes, is as large as the largest. **To read a result back**, take the first `channels` planes of
//! its surface: since channels lie one after the other, they are its first bytes, and what is behind them can be left alone.
//!
//! The engine cannot pad channels (ANE028). The output of a convolution with a weight gets more rows of zeros in its weight, which
//! costs a run the arithmetic alone; others are padded along their height, as images of one channel.
//!
//! ```oir
//! program p {
//!   input %0 "x": f16[1,4,1,32]
//!   weight %1 "w": f16[6,4]
//!   %2: f16[1,6,1,32] = conv1x1(%0, %1)
//!   %3: f16[1,4,1,32] = tanh(%0)
//!   %4: f16[1,8,1,32] = concat(%3, %0) {axis = 1}
//!   output %2 "a"
//!   output %3 "b"
//!   output %4 "c"
//! }
//! // ----
//! program p {
//!   input %0 "x": f16[1,4,1,32]
//!   weight %1 "w": f16[6,4]
//!   %2: f16[1,4,1,32] = tanh(%0)
//!   %3: f16[1,8,1,32] = concat(%2, %0) {axis = 1}
//!   %4: f16[8,4] = pad(%1) {before = [0, 0], after = [2, 0]} @ pad-outputs
//!   %5: f16[1,8,1,32] = conv1x1(%0, %4) @ pad-outputs
//!   %6: f16[1,1,4,32] = reshape(%2) {shape = [1, 1, 4, 32]} @ pad-outputs
//!   %7: f16[1,1,8,32] = pad(%6) {before = [0, 0, 0, 0], after = [0, 0, 4, 0]} @ pad-outputs
//!   %8: f16[1,8,1,32] = reshape(%7) {shape = [1, 8, 1, 32]} @ pad-outputs
//!   output %5 "a"
//!   output %8 "b"
//!   output %3 "c"
//! }
//! ```

use crate::ir::builder::{BuildError, Builder, Value};
use crate::op::Conv1x1;
use crate::{DType, Program, TensorType};

/// Bytes that a row of a surface takes a multiple of (facts §0.4).
const ROW: usize = 64;
/// Bytes of an element on the engine.
const ELEMENT: usize = 2;

/// Why outputs cannot be of one size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PaddingError {
    /// An output is no image.
    #[error("output `{name}` is {ty}; only [1, channels, height, width] can be padded")]
    NoImage {
        /// The output.
        name: String,
        /// Its type.
        ty: TensorType,
    },
    /// No number of channels makes the surfaces equal without doubling them.
    #[error(
        "outputs whose planes take {first} and {second} bytes have no common size near their own"
    )]
    NoCommonSize {
        /// Bytes of a plane.
        first: usize,
        /// Bytes of another plane.
        second: usize,
    },
    /// The padded program could not be built: its dimensions grow beyond any size.
    #[error("{0}")]
    Build(#[from] BuildError),
}

/// The program with outputs of one size. Its other parts mean what they meant.
///
/// # Errors
/// When an output is no `[1, channels, height, width]`, or planes of different sizes have no common multiple that is at most
/// twice the largest output.
pub fn pad_outputs(program: &Program) -> Result<Program, PaddingError> {
    let mut planes = Vec::with_capacity(program.outputs().len());
    for output in program.outputs() {
        let ty = program.type_of(output.value);
        match *ty.shape.as_slice() {
            [1, channels, height, width] if ty.dtype.is_dense_float() => {
                planes.push((channels, height * (width * ELEMENT).next_multiple_of(ROW)));
            }
            _ => return Err(PaddingError::NoImage { name: output.name.clone(), ty: ty.clone() }),
        }
    }
    let largest = planes.iter().map(|(channels, plane)| channels * plane).max().unwrap_or(0);
    let step = planes.iter().fold(1, |step, (_, plane)| step / common(step, *plane) * plane);
    let size = largest.next_multiple_of(step.max(1));
    if size > 2 * largest {
        let first = planes.first().map_or(0, |first| first.1);
        let other = planes.iter().map(|plane| plane.1).find(|plane| *plane != first);
        return Err(PaddingError::NoCommonSize { first, second: other.unwrap_or(first) });
    }

    let (fixed, uses) = (program.fixed_values(), program.use_counts());
    let b = Builder::extending(program.clone());
    let mut padded = Vec::with_capacity(planes.len());
    for (output, (channels, plane)) in program.outputs().iter().zip(planes) {
        let value = Value(output.value);
        let more = size.checked_div(plane).map_or(0, |whole| whole - channels);
        let conv = program.producer_of::<Conv1x1>(output.value).map(|(node, _)| &node.inputs);
        let pad = || match conv.map(Vec::as_slice) {
            _ if more == 0 => value,
            Some([x, known @ ..])
                if uses[output.value.index()] == 1
                    && known.iter().all(|value| fixed[value.index()]) =>
            {
                let known: Vec<Value> =
                    known.iter().map(|&value| with_rows(&b, Value(value), more)).collect();
                b.apply1(Conv1x1 {}, &[&[Value(*x)], known.as_slice()].concat())
            }
            _ => with_planes(&b, value, more),
        };
        padded.push(b.scoped("pad-outputs", pad));
    }
    let mut result = b.finish()?;
    for (output, value) in result.outputs.iter_mut().zip(padded) {
        output.value = value.id();
    }
    result.drop_dead_nodes();
    Ok(result)
}

/// A weight or a bias with rows of zeros at its end.
fn with_rows(b: &Builder, weight: Value, rows: usize) -> Value {
    let ty = b.type_of(weight);
    let dense = if ty.dtype.is_block() { b.cast(weight, DType::F32) } else { weight };
    let none = vec![0; ty.rank()];
    let mut after = none.clone();
    after.iter_mut().take(1).for_each(|first| *first = rows);
    b.pad(dense, &none, &after)
}

/// An image with channels of zeros at its end, padded as one of a single channel.
fn with_planes(b: &Builder, image: Value, channels: usize) -> Value {
    let ty = b.type_of(image);
    let &[_, own, height, width] = ty.shape.as_slice() else { return image };
    let rows = b.reshape(image, &[1, 1, own * height, width]);
    let rows = b.pad(rows, &[0; 4], &[0, 0, channels * height, 0]);
    b.reshape(rows, &[1, own + channels, height, width])
}

/// The greatest common divisor, at least 1.
fn common(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { common(b, a % b) }
}
