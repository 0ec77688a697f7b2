//! Operations on each element by itself. What MIL computes in one step is computed here in `f32` and rounded once.

use super::{Call, Raise, Refusal, axis_of};
use crate::{Builder, DType, Value};

pub(super) const OPS: &[(&str, Raise)] = &[
    ("add", |c| binary(c, Builder::add)),
    ("sub", |c| binary(c, Builder::sub)),
    ("mul", |c| binary(c, Builder::mul)),
    ("real_div", |c| binary(c, Builder::div)),
    ("maximum", |c| binary(c, Builder::maximum)),
    ("minimum", |c| binary(c, Builder::minimum)),
    ("pow", pow),
    ("floor_div", |c| wide_binary(c, |b, x, y| floor(b, b.div(x, y)))),
    ("mod", |c| wide_binary(c, |b, x, y| b.sub(x, b.mul(y, floor(b, b.div(x, y)))))),
    ("equal", |c| binary(c, Builder::equal)),
    ("not_equal", |c| binary(c, |b, x, y| not(b, b.equal(x, y)))),
    ("less", |c| binary(c, Builder::less)),
    ("less_equal", |c| binary(c, Builder::less_equal)),
    ("greater", |c| binary(c, |b, x, y| b.less(y, x))),
    ("greater_equal", |c| binary(c, |b, x, y| b.less_equal(y, x))),
    ("logical_and", |c| logical(c, Builder::mul)),
    ("logical_or", |c| logical(c, Builder::maximum)),
    ("logical_xor", |c| {
        logical(c, |b, x, y| {
            let d = b.sub(x, y);
            b.mul(d, d)
        })
    }),
    ("logical_not", |c| Ok(vec![not(c.builder, c.value("x")?)])),
    ("select", select),
    ("identity", |c| Ok(vec![c.value("x")?])),
    ("cast", cast),
    ("relu", |c| unary(c, |b, x| b.maximum(x, one(b, x, 0.0)))),
    ("relu6", |c| unary(c, |b, x| b.minimum(b.maximum(x, one(b, x, 0.0)), one(b, x, 6.0)))),
    ("abs", |c| unary(c, |b, x| b.maximum(x, b.neg(x)))),
    ("square", |c| unary(c, |b, x| b.mul(x, x))),
    ("exp", |c| unary(c, Builder::exp)),
    ("exp2", |c| unary(c, |b, x| b.exp(b.mul(x, one(b, x, std::f64::consts::LN_2))))),
    ("sin", |c| unary(c, Builder::sin)),
    ("cos", |c| unary(c, Builder::cos)),
    ("tan", |c| unary(c, |b, x| b.div(b.sin(x), b.cos(x)))),
    ("sqrt", |c| unary(c, Builder::sqrt)),
    ("tanh", |c| unary(c, Builder::tanh)),
    ("sigmoid", |c| unary(c, Builder::sigmoid)),
    ("silu", |c| unary(c, Builder::silu)),
    ("erf", |c| unary(c, Builder::erf)),
    ("floor", |c| unary(c, floor)),
    ("ceil", |c| unary(c, |b, x| b.neg(floor(b, b.neg(x))))),
    ("round", |c| unary(c, round)),
    ("sign", |c| {
        unary(c, |b, x| {
            let (zero, up) = (one(b, x, 0.0), one(b, x, 1.0));
            b.select(b.less(zero, x), up, b.select(b.less(x, zero), b.neg(up), zero))
        })
    }),
    ("softsign", |c| unary(c, |b, x| b.div(x, b.add(one(b, x, 1.0), b.maximum(x, b.neg(x)))))),
    ("softplus", |c| unary(c, softplus)),
    ("rsqrt", |c| epsilon(c, 1e-12, Builder::rsqrt)),
    ("log", |c| epsilon(c, 1e-45, Builder::log)),
    ("inverse", |c| epsilon(c, 1e-4, |b, x| b.div(one(b, x, 1.0), x))),
    ("gelu", gelu),
    ("clip", |c| parameters(c, |b, x, low, high| b.minimum(b.maximum(x, low), high))),
    ("leaky_relu", |c| {
        parameters(c, |b, x, slope, _| b.select(b.less(x, one(b, x, 0.0)), b.mul(x, slope), x))
    }),
    ("elu", |c| {
        parameters(c, |b, x, scale, _| {
            let below = b.mul(scale, b.sub(b.exp(x), one(b, x, 1.0)));
            b.select(b.less(x, one(b, x, 0.0)), below, x)
        })
    }),
    ("clamped_relu", |c| {
        parameters(c, |b, x, slope, most| {
            let bent = b.select(b.less(x, one(b, x, 0.0)), b.mul(x, slope), x);
            b.minimum(bent, most)
        })
    }),
    ("linear_activation", |c| parameters(c, |b, x, scale, shift| b.add(b.mul(x, scale), shift))),
    ("scaled_tanh", |c| parameters(c, |b, x, scale, inner| b.mul(scale, b.tanh(b.mul(x, inner))))),
    ("sigmoid_hard", |c| {
        parameters(c, |b, x, scale, shift| {
            let line = b.add(b.mul(x, scale), shift);
            b.minimum(b.maximum(line, one(b, x, 0.0)), one(b, x, 1.0))
        })
    }),
    ("threshold", |c| parameters(c, |b, x, least, _| b.maximum(x, least))),
    ("thresholded_relu", |c| {
        parameters(c, |b, x, least, _| b.select(b.less(x, least), one(b, x, 0.0), x))
    }),
    ("quantize", quantize),
    ("dequantize", dequantize),
];

/// A number of the type of `like`.
pub(super) fn one(b: &Builder, like: Value, value: f64) -> Value {
    b.scalar(b.type_of(like).dtype, value)
}

fn binary(
    c: &Call<'_, '_, '_>,
    op: fn(&Builder, Value, Value) -> Value,
) -> Result<Vec<Value>, Refusal> {
    let (x, y) = (c.value("x")?, c.value("y")?);
    Ok(vec![op(c.builder, x, y)])
}

/// In `f32`, rounded once.
pub(super) fn in_f32(b: &Builder, operands: &[Value], op: impl FnOnce(&[Value]) -> Value) -> Value {
    let dtype = operands.first().map_or(DType::F32, |x| b.type_of(*x).dtype);
    if dtype == DType::F32 || !dtype.is_float() {
        return op(operands);
    }
    let wide: Vec<Value> = operands.iter().map(|x| b.cast(*x, DType::F32)).collect();
    b.cast(op(&wide), dtype)
}

fn wide_binary(
    c: &Call<'_, '_, '_>,
    op: fn(&Builder, Value, Value) -> Value,
) -> Result<Vec<Value>, Refusal> {
    let (x, y) = (c.value("x")?, c.value("y")?);
    let dtype = c.ty(x).dtype;
    if dtype == DType::I32 {
        let [x, y] = [x, y].map(|value| c.builder.cast(value, DType::F32));
        return Ok(vec![c.builder.cast(op(c.builder, x, y), DType::I32)]);
    }
    Ok(vec![in_f32(c.builder, &[x, y], |xy| op(c.builder, xy[0], xy[1]))])
}

fn unary(c: &Call<'_, '_, '_>, op: fn(&Builder, Value) -> Value) -> Result<Vec<Value>, Refusal> {
    let x = c.value("x")?;
    Ok(vec![in_f32(c.builder, &[x], |x| op(c.builder, x[0]))])
}

fn epsilon(
    c: &Call<'_, '_, '_>,
    default: f64,
    op: fn(&Builder, Value) -> Value,
) -> Result<Vec<Value>, Refusal> {
    let (x, epsilon) = (c.value("x")?, c.real_or("epsilon", default)?);
    Ok(vec![in_f32(c.builder, &[x], |x| {
        let shifted =
            if epsilon == 0.0 { x[0] } else { c.builder.add(x[0], one(c.builder, x[0], epsilon)) };
        op(c.builder, shifted)
    })])
}

fn parameters(
    c: &Call<'_, '_, '_>,
    op: fn(&Builder, Value, Value, Value) -> Value,
) -> Result<Vec<Value>, Refusal> {
    let (x, alpha, beta) = (c.value("x")?, c.real_or("alpha", 0.0)?, c.real_or("beta", 0.0)?);
    let b = c.builder;
    Ok(vec![in_f32(b, &[x], |x| op(b, x[0], one(b, x[0], alpha), one(b, x[0], beta)))])
}

/// Exponents that are constants become exact operations; others go through `exp` and `log`, for positive bases.
fn pow(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let x = c.value("x")?;
    let b = c.builder;
    let constant =
        c.constant("y").ok().filter(|y| y.ty().elements() == 1 && y.ty().dtype.is_float());
    let exponent = constant.map(|y| y.reals()[0]);
    let whole = exponent.filter(|e| e.fract() == 0.0 && e.abs() <= 8.0);
    if let Some(exponent) = whole {
        return Ok(vec![in_f32(b, &[x], |x| {
            let factors = (0..exponent.abs() as usize).map(|_| x[0]);
            let product = factors.reduce(|product, x| b.mul(product, x)).unwrap_or_else(|| {
                // x⁰ is 1 for every x.
                b.add(b.mul(x[0], one(b, x[0], 0.0)), one(b, x[0], 1.0))
            });
            if exponent < 0.0 { b.div(one(b, x[0], 1.0), product) } else { product }
        })]);
    }
    match exponent {
        Some(0.5) => Ok(vec![b.sqrt(x)]),
        Some(-0.5) => Ok(vec![b.rsqrt(x)]),
        _ => {
            let y = c.value("y")?;
            Ok(vec![in_f32(b, &[x, y], |xy| b.exp(b.mul(xy[1], b.log(xy[0]))))])
        }
    }
}

fn logical(
    c: &Call<'_, '_, '_>,
    op: fn(&Builder, Value, Value) -> Value,
) -> Result<Vec<Value>, Refusal> {
    let b = c.builder;
    let [x, y] = [c.value("x")?, c.value("y")?].map(|value| b.cast(value, DType::F32));
    Ok(vec![b.less(b.scalar(DType::F32, 0.5), op(b, x, y))])
}

fn not(b: &Builder, x: Value) -> Value {
    b.less(b.cast(x, DType::F32), b.scalar(DType::F32, 0.5))
}

fn select(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (condition, x, y) = (c.value("cond")?, c.value("a")?, c.value("b")?);
    let b = c.builder;
    if c.ty(x).dtype.is_float() {
        return Ok(vec![b.select(condition, x, y)]);
    }
    let [x, y] = [x, y].map(|value| b.cast(value, DType::F32));
    Ok(vec![b.cast(b.select(condition, x, y), DType::I32)])
}

fn cast(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let x = c.value("x")?;
    let to = match c.string_or("dtype", "")?.as_str() {
        "fp16" => DType::F16,
        "fp32" => DType::F32,
        "bool" => {
            let wide = c.builder.cast(x, DType::F32);
            return Ok(vec![not(
                c.builder,
                c.builder.equal(wide, c.builder.scalar(DType::F32, 0.0)),
            )]);
        }
        name if name.starts_with("int") || name.starts_with("uint") => DType::I32,
        name => return Err(Refusal::unsupported(format!("a cast to `{name}`"))),
    };
    Ok(vec![if c.ty(x).dtype == to { x } else { c.builder.cast(x, to) }])
}

/// The largest whole number not above `x`; numbers beyond 2³¹ are whole already.
fn floor(b: &Builder, x: Value) -> Value {
    let toward_zero = b.cast(b.cast(x, DType::I32), b.type_of(x).dtype);
    let below = b.select(b.less(x, toward_zero), one(b, x, 1.0), one(b, x, 0.0));
    let large = one(b, x, 2_147_483_000.0);
    b.select(b.less(b.maximum(x, b.neg(x)), large), b.sub(toward_zero, below), x)
}

/// The nearest whole number, of two the even one.
fn round(b: &Builder, x: Value) -> Value {
    let low = floor(b, x);
    let (distance, half) = (b.sub(x, low), one(b, x, 0.5));
    let high = b.add(low, one(b, x, 1.0));
    let is_odd = {
        let halved = b.mul(low, half);
        b.less(floor(b, halved), halved)
    };
    let tie = b.select(is_odd, high, low);
    b.select(b.less(distance, half), low, b.select(b.less(half, distance), high, tie))
}

/// `log(1 + eˣ)` without overflow.
fn softplus(b: &Builder, x: Value) -> Value {
    let small = b.exp(b.minimum(x, b.neg(x)));
    b.add(b.maximum(x, one(b, x, 0.0)), b.log(b.add(one(b, x, 1.0), small)))
}

fn gelu(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (x, b) = (c.value("x")?, c.builder);
    match c.string_or("mode", "EXACT")?.as_str() {
        "EXACT" => Ok(vec![b.gelu(x, false)]),
        "TANH_APPROXIMATION" => Ok(vec![b.gelu(x, true)]),
        "SIGMOID_APPROXIMATION" => {
            Ok(vec![in_f32(b, &[x], |x| b.mul(x[0], b.sigmoid(b.mul(x[0], one(b, x[0], 1.702)))))])
        }
        mode => Err(Refusal::new("MIL033", format!("`gelu` has no mode {mode:?}"))),
    }
}

/// `clamp(round(x / scale) + zero_point)`.
fn quantize(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (low, high) = match c.string_or("output_dtype", "int8")?.as_str() {
        "int8" => (-128.0, 127.0),
        "uint8" => (0.0, 255.0),
        name => return Err(Refusal::unsupported(format!("`quantize` to `{name}`"))),
    };
    let b = c.builder;
    let x = b.cast(c.value("input")?, DType::F32);
    let [scale, zero] = scale_and_zero(c, x)?;
    let shifted = b.add(round(b, b.div(x, scale)), zero);
    let clamped = b.minimum(b.maximum(shifted, one(b, x, low)), one(b, x, high));
    Ok(vec![b.cast(clamped, DType::I32)])
}

/// `scale · (x − zero_point)`.
fn dequantize(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let b = c.builder;
    let x = b.cast(c.value("input")?, DType::F32);
    let [scale, zero] = scale_and_zero(c, x)?;
    let dtype = c.ty(c.value("scale")?).dtype;
    Ok(vec![b.cast(b.mul(scale, b.sub(x, zero)), dtype)])
}

/// Both as `f32` that broadcasts along their axis.
fn scale_and_zero(c: &Call<'_, '_, '_>, x: Value) -> Result<[Value; 2], Refusal> {
    let b = c.builder;
    let rank = c.ty(x).rank();
    let spread = |value: Value| -> Result<Value, Refusal> {
        let value = b.cast(value, DType::F32);
        let count = c.ty(value).elements();
        if c.ty(value).rank() == 0 {
            return Ok(value);
        }
        let axis = axis_of(c.int_or("axis", 0)?, rank)?;
        let shape: Vec<usize> = (0..rank).map(|at| if at == axis { count } else { 1 }).collect();
        Ok(b.reshape(value, &shape))
    };
    let scale = spread(c.value("scale")?)?;
    let zero = if c.has("zero_point") {
        spread(c.value("zero_point")?)?
    } else {
        b.scalar(DType::F32, 0.0)
    };
    Ok([scale, zero])
}
