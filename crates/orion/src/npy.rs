//! Arrays in NumPy's format (NEP 1), so that anybody's script can make inputs and look at results. Little-endian numbers
//! in row-major order; other crates for it bring a parser of Python and big integers.

use half::f16;
use orion_compiler::{DType, Tensor, TensorType};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads an array as a tensor of `ty`. Numbers are converted; the shape has to be the tensor's.
///
/// # Errors
/// What is wrong with the file, or does not fit.
pub(crate) fn read(bytes: &[u8], ty: &TensorType) -> Result<Tensor, String> {
    let damaged = || "the file is damaged or no NumPy array".to_owned();
    if !bytes.starts_with(MAGIC) {
        return Err("not a NumPy array; `numpy.save` writes one".to_owned());
    }
    let (length, start) = match (bytes.get(6), bytes.get(8..12)) {
        (Some(1), Some(&[low, high, ..])) => (usize::from(low) + 256 * usize::from(high), 10),
        (Some(2 | 3), Some(word)) => {
            let word = word.try_into().map_err(|_| damaged())?;
            (usize::try_from(u32::from_le_bytes(word)).map_err(|_| damaged())?, 12)
        }
        _ => return Err(damaged()),
    };
    let end = length.checked_add(start).ok_or_else(damaged)?;
    let header = bytes.get(start..end).and_then(|header| std::str::from_utf8(header).ok());
    let header = header.ok_or_else(damaged)?;
    let kind =
        field(header, "'descr':").ok_or_else(damaged)?.trim_matches(['\'', '"', ' ']).to_owned();
    if field(header, "'fortran_order':").is_some_and(|order| order.trim() == "True") {
        return Err("columns come first; save `numpy.ascontiguousarray` of it".to_owned());
    }
    let shape = shape(header).ok_or_else(damaged)?;
    if shape != ty.shape {
        return Err(format!("the array has the shape {shape:?}, the input {:?}", ty.shape));
    }
    let values = numbers(&kind, &bytes[end..])?;
    if values.len() < ty.elements() {
        return Err(damaged());
    }
    let values = values.into_iter().take(ty.elements());
    Ok(match ty.dtype {
        DType::I32 => Tensor::i32(ty.shape.clone(), values.map(|x| x as i32).collect()),
        DType::Bool => Tensor::bool(ty.shape.clone(), values.map(|x| x != 0.0).collect()),
        _ => Tensor::real(ty.clone(), values.collect()).rounded(),
    })
}

/// What stands behind a key of the header, up to the next comma outside parentheses.
fn field<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let (_, rest) = header.split_once(key)?;
    rest.split([',', '}']).next()
}

fn shape(header: &str) -> Option<Vec<usize>> {
    let (_, rest) = header.split_once("'shape':")?;
    let (_, rest) = rest.split_once('(')?;
    let (inside, _) = rest.split_once(')')?;
    inside
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().ok())
        .collect()
}

fn numbers(kind: &str, data: &[u8]) -> Result<Vec<f64>, String> {
    macro_rules! all {
        ($kind:ty) => {
            data.as_chunks::<{ size_of::<$kind>() }>()
                .0
                .iter()
                .map(|&x| <$kind>::from_le_bytes(x) as f64)
                .collect()
        };
    }
    Ok(match kind {
        "<f4" => all!(f32),
        "<f8" => all!(f64),
        "<i4" => all!(i32),
        "<i8" => all!(i64),
        "<i2" => all!(i16),
        "<u2" => all!(u16),
        "<u4" => all!(u32),
        "|i1" => all!(i8),
        "|u1" | "|b1" => all!(u8),
        "<f2" => data.as_chunks::<2>().0.iter().map(|&x| f16::from_le_bytes(x).to_f64()).collect(),
        _ => {
            return Err(format!(
                "elements of kind {kind:?} are not read; save float32, float16 or int32"
            ));
        }
    })
}

/// The file of a tensor: `float32`, `float16`, `int32` or `bool`.
pub(crate) fn write(tensor: &Tensor) -> Vec<u8> {
    let (kind, data): (&str, Vec<u8>) = match tensor.ty().dtype {
        DType::I32 => ("<i4", tensor.ints().iter().flat_map(|x| x.to_le_bytes()).collect()),
        DType::Bool => ("|b1", tensor.bools().iter().map(|&x| u8::from(x)).collect()),
        DType::F16 => {
            ("<f2", tensor.reals().iter().flat_map(|&x| f16::from_f64(x).to_le_bytes()).collect())
        }
        _ => ("<f4", tensor.reals().iter().flat_map(|&x| (x as f32).to_le_bytes()).collect()),
    };
    let shape: String =
        tensor.ty().shape.iter().map(|size| format!("{size},")).collect::<Vec<_>>().concat();
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The data begin at a multiple of 64.
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).unwrap_or(u16::MAX).to_le_bytes();
    [MAGIC, &[1, 0], &length, header.as_bytes(), &data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let half = TensorType::new(DType::F16, [2, 3]);
        for tensor in [
            Tensor::f32([2, 2], &[1.0, -2.5, 0.1, 3e8]),
            Tensor::real(half, vec![1.0, 2.0, 0.5, -1.0, 65504.0, 0.25]),
            Tensor::i32([3], vec![1, -2, i32::MAX]),
            Tensor::bool([], vec![true]),
        ] {
            let bytes = write(&tensor);
            assert_eq!(read(&bytes, tensor.ty()).unwrap(), tensor);
            assert_eq!((bytes.len() - tensor.ty().elements() * size(&tensor)) % 64, 0);
        }
    }

    fn size(tensor: &Tensor) -> usize {
        tensor.ty().dtype.block_bytes()
    }

    /// Written by NumPy 2.4: `numpy.save(f, numpy.array([[1, 2, 3]], dtype=numpy.int64))`.
    #[test]
    fn an_array_of_numpy_is_read_and_damage_is_refused() {
        let mut bytes =
            b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'fortran_order': False, 'shape': (1, 3), }"
                .to_vec();
        bytes.resize(127, b' ');
        bytes.push(b'\n');
        [1_i64, 2, 3].iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        let ty = TensorType::new(DType::F32, [1, 3]);
        assert_eq!(read(&bytes, &ty).unwrap().reals(), [1.0, 2.0, 3.0]);
        assert!(read(&bytes, &TensorType::new(DType::F32, [3])).unwrap_err().contains("[1, 3]"));
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end], &ty).is_err(), "{end}");
        }
    }
}
