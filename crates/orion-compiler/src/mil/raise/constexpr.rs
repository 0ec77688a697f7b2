//! Weights that are stored in few bits: computed once, when the program is raised (facts §3.7).

use super::constant::node;
use super::{Call, Raise, Refusal, axis_of};
use crate::mil::blob::unpack_bits;
use crate::{DType, Tensor, TensorType, Value};

pub(super) const OPS: &[(&str, Raise)] = &[
    ("constexpr_affine_dequantize", affine),
    ("constexpr_blockwise_shift_scale", blockwise),
    ("constexpr_lut_to_dense", lut),
    ("constexpr_sparse_to_dense", sparse),
    ("constexpr_cast", |c| {
        result(
            c,
            &c.constant("source_val")?.ty().shape.clone(),
            numbers(&c.constant("source_val")?),
        )
    }),
];

fn numbers(tensor: &Tensor) -> Vec<f64> {
    match tensor.ty().dtype {
        DType::I32 => tensor.ints().iter().map(|&x| f64::from(x)).collect(),
        DType::Bool => tensor.bools().iter().map(|&x| f64::from(u8::from(x))).collect(),
        _ => tensor.reals().to_vec(),
    }
}

/// The numbers as the declared type.
fn result(c: &Call<'_, '_, '_>, shape: &[usize], values: Vec<f64>) -> Result<Vec<Value>, Refusal> {
    let declared = c.statement.results.first().and_then(|result| result.ty.tensor());
    let dtype = match declared.map(|(element, _)| element.text) {
        Some("fp16") => DType::F16,
        Some("bf16") => DType::BF16,
        Some("fp32") => DType::F32,
        _ => return Err(Refusal::unsupported("weights that are no real numbers")),
    };
    let ty = TensorType::new(dtype, shape);
    if ty.elements() != values.len() {
        return Err(Refusal::new("MIL034", format!("{} numbers for {ty}", values.len())));
    }
    Ok(vec![node(c.builder, &Tensor::real(ty, values).rounded())])
}

/// `scale · (q − zero_point)`, both of one number or one for each element of `axis`.
fn affine(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (data, scale, zero) =
        (c.constant("quantized_data")?, c.constant("scale")?, c.constant("zero_point")?);
    let shape = data.ty().shape.clone();
    let axis = axis_of(c.int("axis")?, shape.len())?;
    let (scale, zero) = (numbers(&scale), numbers(&zero));
    let inner: usize = shape[axis + 1..].iter().product();
    let at = |list: &[f64], index: usize| {
        let place = if list.len() == 1 { 0 } else { index / inner.max(1) % shape[axis] };
        list.get(place).copied().unwrap_or(0.0)
    };
    let values = numbers(&data)
        .into_iter()
        .enumerate()
        .map(|(i, q)| at(&scale, i) * (q - at(&zero, i)))
        .collect();
    result(c, &shape, values)
}

/// `scale · (q − offset)`; scales have the rank of the data, each of their dimensions divides the data's.
fn blockwise(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (data, scale) = (c.constant("data")?, c.constant("scale")?);
    let offset = if c.has("offset") { Some(numbers(&c.constant("offset")?)) } else { None };
    let (shape, blocks) = (data.ty().shape.clone(), scale.ty().shape.clone());
    let fits = blocks.len() == shape.len()
        && shape.iter().zip(&blocks).all(|(size, count)| *count > 0 && size.is_multiple_of(*count));
    if !fits {
        return Err(Refusal::new("MIL033", format!("scales {blocks:?} for {shape:?}")));
    }
    let scale = numbers(&scale);
    let block_of = |mut index: usize| {
        let (mut block, mut step) = (0, 1);
        for (size, count) in shape.iter().zip(&blocks).rev() {
            block += index % size / (size / count) * step;
            index /= size;
            step *= count;
        }
        block
    };
    let values = numbers(&data).into_iter().enumerate().map(|(index, q)| {
        let block = block_of(index);
        let offset = offset.as_ref().and_then(|offset| offset.get(block)).copied().unwrap_or(0.0);
        scale.get(block).copied().unwrap_or(0.0) * (q - offset)
    });
    let values = values.collect();
    result(c, &shape, values)
}

/// A table looked up: in iOS 16 packed bits and a shape, in iOS 18 indices of few bits and tables for blocks.
fn lut(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (indices, table) = (c.constant("indices")?, c.constant("lut")?);
    let entries = numbers(&table);
    if c.has("shape") {
        let shape = sizes(c)?;
        let bits = usize::try_from(entries.len().max(2).ilog2()).unwrap_or(8);
        let bytes: Vec<u8> = numbers(&indices).into_iter().map(|x| x as u8).collect();
        let places = unpack_bits(&bytes, bits, count(&shape, bytes.len())?);
        let values = places
            .into_iter()
            .map(|place| entries.get(usize::from(place)).copied().unwrap_or(0.0))
            .collect();
        return result(c, &shape, values);
    }
    let (shape, tables) = (indices.ty().shape.clone(), table.ty().shape.clone());
    let Some((&[size, vector], blocks)) =
        tables.split_last_chunk::<2>().map(|(blocks, last)| (last, blocks))
    else {
        return Err(Refusal::new("MIL033", format!("a table {tables:?}")));
    };
    if vector != 1 || blocks.len() != shape.len() || blocks.contains(&0) {
        return Err(Refusal::unsupported(format!("tables {tables:?} for {shape:?}")));
    }
    let values = numbers(&indices).into_iter().enumerate().map(|(mut index, place)| {
        let (mut block, mut step) = (0, 1);
        for (dim, count) in shape.iter().zip(blocks).rev() {
            block += index % dim / (dim / count).max(1) * step;
            index /= dim;
            step *= count;
        }
        entries.get(block * size + place as usize).copied().unwrap_or(0.0)
    });
    let values = values.collect();
    result(c, &shape, values)
}

/// The numbers that are not zero, and a bit for each place.
fn sparse(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (data, mask) = (numbers(&c.constant("nonzero_data")?), c.constant("mask")?);
    let (shape, bits) = if c.has("shape") {
        let shape = sizes(c)?;
        let bytes: Vec<u8> = numbers(&mask).into_iter().map(|x| x as u8).collect();
        let bits = unpack_bits(&bytes, 1, count(&shape, bytes.len())?);
        (shape, bits)
    } else {
        (mask.ty().shape.clone(), numbers(&mask).into_iter().map(|x| x as u8).collect())
    };
    let mut data = data.into_iter();
    let values = bits
        .into_iter()
        .map(|bit| if bit == 0 { 0.0 } else { data.next().unwrap_or(0.0) })
        .collect();
    result(c, &shape, values)
}

/// Elements of a shape, of which a byte holds no more than eight.
fn count(shape: &[usize], bytes: usize) -> Result<usize, Refusal> {
    let count = TensorType::new(DType::I32, shape).elements();
    if count > 8 * bytes {
        return Err(Refusal::new("MIL034", format!("{bytes} bytes for {count} elements")));
    }
    Ok(count)
}

fn sizes(c: &Call<'_, '_, '_>) -> Result<Vec<usize>, Refusal> {
    let shape: Result<Vec<usize>, _> = c.ints("shape")?.into_iter().map(usize::try_from).collect();
    shape.map_err(|_| Refusal::new("MIL033", "a dimension below zero"))
}
