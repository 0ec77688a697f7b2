//! Constants as tensors: literals, and what files hold.

use half::{bf16, f16};

use super::{Files, Refusal, tensor_type};
use crate::mil::blob::{Blob, BlobFile, BlobType, unpack_bits};
use crate::mil::number;
use crate::mil::syntax::{Type, Value, Word, unquote};
use crate::{Builder, DType, Diagnostic, Tensor, TensorType};

/// Path and offset, if a value is a constant in a file.
pub(super) fn place(value: &Value<'_>) -> Option<(String, u64)> {
    let Value::Call(_, arguments) = value.bare() else { return None };
    let find = |name: &str| {
        arguments
            .iter()
            .find(|argument| argument.name.text == name)
            .map(|argument| argument.value.bare())
    };
    match (find("path")?, find("offset")?) {
        (Value::String(path), Value::Number(offset)) => {
            Some((unquote(path.text), offset.text.parse().ok()?))
        }
        _ => None,
    }
}

/// A constant's numbers.
pub(super) fn tensor(value: &Value<'_>, files: &dyn Files) -> Result<Tensor, Refusal> {
    let refuse =
        |diagnostic: Diagnostic| Refusal { code: diagnostic.code, message: diagnostic.message };
    let Value::Typed(typed) = value else {
        return literal_without_type(value);
    };
    let nowhere = Word { text: "", start: 0 };
    if let Some((path, offset)) = place(value) {
        let ty = tensor_type(&typed.ty, nowhere).map_err(refuse)?;
        let element = typed.ty.tensor().and_then(|(element, _)| BlobType::of_name(element.text));
        return read(&path, offset, &ty, element, files);
    }
    let ty = tensor_type(&typed.ty, nowhere).map_err(refuse)?;
    let mut numbers = Vec::new();
    collect(&typed.value, &mut numbers)?;
    of_numbers(&ty, numbers, &typed.ty)
}

/// Elements that one number may stand for.
const LONGEST: usize = 1 << 24;

fn of_numbers(ty: &TensorType, mut numbers: Vec<f64>, shown: &Type<'_>) -> Result<Tensor, Refusal> {
    if let (&[one], 2..=LONGEST) = (numbers.as_slice(), ty.elements()) {
        numbers = vec![one; ty.elements()];
    }
    if numbers.len() != ty.elements() {
        return Err(Refusal::new("MIL018", format!("`{shown}` of {} elements", numbers.len())));
    }
    Ok(match ty.dtype {
        DType::I32 => Tensor::i32(ty.shape.clone(), numbers.iter().map(|&x| x as i32).collect()),
        DType::Bool => Tensor::bool(ty.shape.clone(), numbers.iter().map(|&x| x != 0.0).collect()),
        _ => Tensor::real(ty.clone(), numbers).rounded(),
    })
}

/// Bare literals are no good MIL, but their meaning is plain.
fn literal_without_type(value: &Value<'_>) -> Result<Tensor, Refusal> {
    let mut numbers = Vec::new();
    collect(value, &mut numbers)?;
    let shape = if matches!(value, Value::List(_)) { vec![numbers.len()] } else { Vec::new() };
    let is_flag = matches!(value, Value::Bool(_));
    if is_flag {
        return Ok(Tensor::bool(shape, numbers.iter().map(|&x| x != 0.0).collect()));
    }
    if numbers.iter().all(|x| x.fract() == 0.0) {
        return Ok(Tensor::i32(shape, numbers.iter().map(|&x| x as i32).collect()));
    }
    Ok(Tensor::real(TensorType::new(DType::F32, shape), numbers).rounded())
}

fn collect(value: &Value<'_>, numbers: &mut Vec<f64>) -> Result<(), Refusal> {
    match value {
        Value::Number(word) => numbers.push(
            number::parse(word.text)
                .ok_or_else(|| Refusal::new("MIL005", format!("`{}` is no number", word.text)))?,
        ),
        Value::Bool(word) => numbers.push(f64::from(u8::from(word.text == "true"))),
        Value::List(items) | Value::Tuple(items) => {
            items.iter().try_for_each(|item| collect(item, numbers))?
        }
        _ => return Err(Refusal::unsupported(format!("`{value}` is no number"))),
    }
    Ok(())
}

/// What a file holds at an offset, as numbers of `ty`.
pub(super) fn read_file(
    path: &str,
    offset: u64,
    ty: &TensorType,
    files: &dyn Files,
) -> Result<Tensor, Diagnostic> {
    read(path, offset, ty, None, files)
        .map_err(|refusal| Diagnostic::new(refusal.code, refusal.message))
}

fn read(
    path: &str,
    offset: u64,
    ty: &TensorType,
    element: Option<BlobType>,
    files: &dyn Files,
) -> Result<Tensor, Refusal> {
    let refuse = |message: String| Refusal::new("MIL034", message);
    let bytes = files.bytes(path).ok_or_else(|| refuse(format!("there is no file `{path}`")))?;
    let blob = BlobFile::open(bytes).and_then(|file| file.at(offset));
    let mut blob = blob.map_err(|error| refuse(format!("{path}: {error}")))?;
    let wanted = element.unwrap_or(match ty.dtype {
        DType::F16 => BlobType::F16,
        DType::BF16 => BlobType::BF16,
        DType::F32 => BlobType::F32,
        _ => blob.ty,
    });
    // Truth values are stored as bytes.
    if blob.ty != wanted && ty.dtype != DType::Bool {
        return Err(refuse(format!(
            "{path}: at {offset} are numbers of {}, the text says {wanted}",
            blob.ty
        )));
    }
    // Without a size in its descriptor a constant goes on to the end of the file.
    if let Some(data) = wanted.bytes_of(ty.elements()).and_then(|bytes| blob.data.get(..bytes)) {
        blob.data = data;
        blob.padding_bits = 0;
    } else {
        let elements = blob.elements();
        return Err(refuse(format!(
            "{path}: at {offset} are {elements} numbers, the text says {}",
            ty.elements()
        )));
    }
    let numbers = numbers(&blob, ty.elements());
    Ok(match ty.dtype {
        DType::I32 => Tensor::i32(ty.shape.clone(), numbers.iter().map(|&x| x as i32).collect()),
        DType::Bool => Tensor::bool(ty.shape.clone(), numbers.iter().map(|&x| x != 0.0).collect()),
        _ => Tensor::real(ty.clone(), numbers),
    })
}

fn numbers(blob: &Blob<'_>, count: usize) -> Vec<f64> {
    let halves = || blob.data.as_chunks::<2>().0.iter().copied();
    let words = || blob.data.as_chunks::<4>().0.iter().copied();
    let bytes = || blob.data.iter().copied();
    let bits = |width| unpack_bits(blob.data, width, count).into_iter();
    match blob.ty {
        BlobType::F16 => halves().map(|x| f16::from_le_bytes(x).to_f64()).collect(),
        BlobType::BF16 => halves().map(|x| bf16::from_le_bytes(x).to_f64()).collect(),
        BlobType::F32 => words().map(|x| f64::from(f32::from_le_bytes(x))).collect(),
        BlobType::I32 => words().map(|x| f64::from(i32::from_le_bytes(x))).collect(),
        BlobType::U32 => words().map(|x| f64::from(u32::from_le_bytes(x))).collect(),
        BlobType::I16 => halves().map(|x| f64::from(i16::from_le_bytes(x))).collect(),
        BlobType::U16 => halves().map(|x| f64::from(u16::from_le_bytes(x))).collect(),
        BlobType::U8 => bytes().map(f64::from).collect(),
        BlobType::I8 => bytes().map(|x| f64::from(x.cast_signed())).collect(),
        BlobType::I4 => bits(4).map(|x| f64::from(((x << 4).cast_signed()) >> 4)).collect(),
        BlobType::U1 | BlobType::U2 | BlobType::U3 | BlobType::U4 | BlobType::U6 => {
            bits(blob.ty.bits()).map(f64::from).collect()
        }
        BlobType::F8E4M3 => bytes().map(|x| float8(x, 4, 3)).collect(),
        BlobType::F8E5M2 => bytes().map(|x| float8(x, 5, 2)).collect(),
    }
}

/// A float of eight bits; the largest exponent of E5M2 is infinity and NaN, E4M3 has only NaN, all bits set.
fn float8(byte: u8, exponent_bits: i32, mantissa_bits: i32) -> f64 {
    let sign = if byte >> 7 == 1 { -1.0 } else { 1.0 };
    let mantissa = i32::from(byte) & ((1 << mantissa_bits) - 1);
    let exponent = (i32::from(byte) >> mantissa_bits) & ((1 << exponent_bits) - 1);
    let bias = (1 << (exponent_bits - 1)) - 1;
    let largest = (1 << exponent_bits) - 1;
    match (exponent == largest, exponent_bits, mantissa) {
        (true, 5, 0) => sign * f64::INFINITY,
        (true, 5, _) | (true, 4, 7) => f64::NAN,
        _ if exponent == 0 => sign * f64::from(mantissa) * 2.0_f64.powi(1 - bias - mantissa_bits),
        _ => {
            sign * (1.0 + f64::from(mantissa) * 2.0_f64.powi(-mantissa_bits))
                * 2.0_f64.powi(exponent - bias)
        }
    }
}

/// A tensor as a constant of the graph, which has none of truth values: those are compared.
pub(super) fn node(builder: &Builder, tensor: &Tensor) -> crate::Value {
    let (dtype, values) = match tensor.ty().dtype {
        DType::I32 => (DType::I32, tensor.ints().iter().map(|&x| f64::from(x)).collect()),
        DType::Bool => {
            (DType::F32, tensor.bools().iter().map(|&x| f64::from(u8::from(x))).collect())
        }
        dtype => (dtype, tensor.reals().to_vec()),
    };
    let constant = builder.constant(dtype, &tensor.ty().shape, values);
    match tensor.ty().dtype {
        DType::Bool => builder.less(builder.scalar(DType::F32, 0.5), constant),
        _ => constant,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest, smallest normal and smallest numbers of both formats, from their specification (OCP 8-bit floats, 2023).
    #[test]
    fn floats_of_eight_bits_are_those_of_the_specification() {
        for (byte, value) in
            [(0x7e, 448.0), (0x08, 2.0_f64.powi(-6)), (0x01, 2.0_f64.powi(-9)), (0xb8, -1.0)]
        {
            assert_eq!(float8(byte, 4, 3), value, "{byte:#x}");
        }
        for (byte, value) in [
            (0x7b, 57344.0),
            (0x04, 2.0_f64.powi(-14)),
            (0x01, 2.0_f64.powi(-16)),
            (0xfc, f64::NEG_INFINITY),
        ] {
            assert_eq!(float8(byte, 5, 2), value, "{byte:#x}");
        }
        assert!(float8(0x7f, 4, 3).is_nan() && float8(0x7d, 5, 2).is_nan());
    }
}
