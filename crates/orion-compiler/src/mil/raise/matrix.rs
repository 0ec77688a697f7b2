//! Products of matrices, and what is made of them. Sums are taken in `f32` or wider and rounded once.

use super::shape::every;
use super::{Call, MOST_NODES, Raise, Refusal};
use crate::{DType, Value};

pub(super) const OPS: &[(&str, Raise)] = &[
    ("matmul", |c| {
        let x = c.value("x")?;
        let y = c.value_like("y", x)?;
        Ok(vec![c.builder.matmul(
            x,
            y,
            c.flag("transpose_x", false)?,
            c.flag("transpose_y", false)?,
        )])
    }),
    ("linear", |c| {
        let x = c.value("x")?;
        let weight = c.value_like("weight", x)?;
        let y = c.builder.matmul(x, weight, false, true);
        Ok(vec![if c.has("bias") { c.builder.add(y, c.value_like("bias", x)?) } else { y }])
    }),
    ("conv", conv),
    ("scaled_dot_product_attention", attention),
];

/// Convolution over one or two dimensions: a product for every place of the window.
fn conv(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (x, weight) = (c.value("x")?, c.value("weight")?);
    let b = c.builder;
    let (dtype, x_shape, w_shape) = (c.ty(x).dtype, c.ty(x).shape, c.ty(weight).shape);
    let spatial = x_shape.len().saturating_sub(2);
    if !(1..=2).contains(&spatial) || w_shape.len() != x_shape.len() {
        return Err(Refusal::unsupported(format!("`conv` of {x_shape:?} by {w_shape:?}")));
    }
    // One dimension is two of which the first has one element.
    let lift = |shape: &[usize]| match *shape {
        [n, c, w] => [n, c, 1, w],
        [n, c, h, w, ..] => [n, c, h, w],
        _ => [1; 4],
    };
    let ([batch, channels, height, width], [out, per_group, rows, columns]) =
        (lift(&x_shape), lift(&w_shape));
    let pair = |name: &str| -> Result<[usize; 2], Refusal> {
        let list = c.ints_or(name, &vec![1; spatial])?;
        let list: Vec<usize> = list.iter().map(|&x| usize::try_from(x).unwrap_or(0)).collect();
        match *list {
            [w] if spatial == 1 && w > 0 => Ok([1, w]),
            [h, w] if spatial == 2 && h > 0 && w > 0 => Ok([h, w]),
            _ => {
                Err(Refusal::new("MIL033", format!("`{name}` of `conv` over {spatial} dimensions")))
            }
        }
    };
    if rows.saturating_mul(columns) > MOST_NODES {
        return Err(Refusal::unsupported(format!("a window of {rows} by {columns}")));
    }
    let (stride, dilation) = (pair("strides")?, pair("dilations")?);
    let groups = usize::try_from(c.int_or("groups", 1)?).unwrap_or(0).max(1);
    if per_group * groups != channels || !out.is_multiple_of(groups) {
        return Err(Refusal::new(
            "MIL033",
            format!("{groups} groups of {channels} channels, {per_group} in the weight"),
        ));
    }
    let [top, bottom, left, right] =
        padding(c, [height, width], [rows, columns], stride, dilation, spatial)?;
    let wide = b.reshape(b.cast(x, DType::F32), &[batch, channels, height, width]);
    let wide = b.pad(wide, &[0, 0, top, left], &[0, 0, bottom, right]);
    let weight =
        b.reshape(b.cast(weight, DType::F32), &[groups, out / groups, per_group, rows * columns]);
    let (full_height, full_width) = (height + top + bottom, width + left + right);
    let count = |full: usize, window: usize, dilation: usize, stride: usize| {
        full.checked_sub(dilation * (window - 1) + 1).map(|rest| rest / stride + 1)
    };
    let (Some(out_height), Some(out_width)) = (
        count(full_height, rows, dilation[0], stride[0]),
        count(full_width, columns, dilation[1], stride[1]),
    ) else {
        return Err(Refusal::new("MIL033", "the window of `conv` is larger than its input"));
    };
    let mut sum: Option<Value> = None;
    for row in 0..rows {
        for column in 0..columns {
            let (y, x) = (row * dilation[0], column * dilation[1]);
            let ends = [
                batch,
                channels,
                y + (out_height - 1) * stride[0] + 1,
                x + (out_width - 1) * stride[1] + 1,
            ];
            let mut part = b.slice(wide, &[0, 0, y, x], &ends);
            for (axis, step) in [(2, stride[0]), (3, stride[1])] {
                if step > 1 {
                    part = every(c, part, axis, step);
                }
            }
            let part = b.reshape(part, &[batch, groups, per_group, out_height * out_width]);
            let place = row * columns + column;
            let factor =
                b.slice(weight, &[0, 0, 0, place], &[groups, out / groups, per_group, place + 1]);
            let factor = b.reshape(factor, &[1, groups, out / groups, per_group]);
            let product = b.matmul(factor, part, false, false);
            sum = Some(sum.map_or(product, |sum| b.add(sum, product)));
        }
    }
    let Some(mut sum) = sum else { return Err(Refusal::new("MIL033", "an empty window")) };
    if c.has("bias") {
        let bias = b.cast(c.value("bias")?, DType::F32);
        sum = b.add(sum, b.reshape(bias, &[1, groups, out / groups, 1]));
    }
    let shape: Vec<usize> = if spatial == 1 {
        vec![batch, out, out_width]
    } else {
        vec![batch, out, out_height, out_width]
    };
    Ok(vec![b.cast(b.reshape(sum, &shape), dtype)])
}

/// Rows above and below, columns left and right.
fn padding(
    c: &Call<'_, '_, '_>,
    size: [usize; 2],
    window: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    spatial: usize,
) -> Result<[usize; 4], Refusal> {
    let kind = c.string_or("pad_type", "valid")?;
    let same = |at: usize, low: bool| {
        let reach = dilation[at] * (window[at] - 1) + 1;
        let all =
            ((size[at].div_ceil(stride[at]) - 1) * stride[at] + reach).saturating_sub(size[at]);
        if low { [all.div_ceil(2), all / 2] } else { [all / 2, all.div_ceil(2)] }
    };
    match kind.as_str() {
        "valid" => Ok([0; 4]),
        "same" | "same_lower" => {
            let ([top, bottom], [left, right]) = (same(0, kind != "same"), same(1, kind != "same"));
            Ok([top, bottom, left, right])
        }
        "custom" => {
            let pad =
                c.ints("pad")?.iter().map(|&x| usize::try_from(x).unwrap_or(0)).collect::<Vec<_>>();
            match *pad {
                [left, right] if spatial == 1 => Ok([0, 0, left, right]),
                [top, bottom, left, right] if spatial == 2 => Ok([top, bottom, left, right]),
                _ => Err(Refusal::new(
                    "MIL033",
                    "`pad` of `conv` has two numbers for each dimension",
                )),
            }
        }
        _ => Err(Refusal::new("MIL033", format!("`conv` has no `pad_type` {kind:?}"))),
    }
}

/// `softmax(Q·Kᵀ / √d + mask)·V`.
fn attention(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let [q, k, v] = [c.value("query")?, c.value("key")?, c.value("value")?];
    let b = c.builder;
    let ty = c.ty(q);
    let [q, k, v] = [q, k, v].map(|x| b.cast(x, DType::F32));
    let scale = 1.0 / (ty.dim(-1) as f64).sqrt();
    let mut scores = b.mul(b.matmul(q, k, false, true), b.scalar(DType::F32, scale));
    if c.has("attn_mask") {
        let mask = c.value("attn_mask")?;
        scores = if c.ty(mask).dtype == DType::Bool {
            b.select(mask, scores, b.scalar(DType::F32, f64::NEG_INFINITY))
        } else {
            b.add(scores, b.cast(mask, DType::F32))
        };
    }
    Ok(vec![b.cast(b.matmul(b.softmax(scores, -1), v, false, false), ty.dtype)])
}
