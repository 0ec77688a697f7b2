//! Arithmetic of two operands, choice between two, and conversion of types.

use orion_compiler::mil::syntax::{Statement, Value};
use orion_compiler::{DType, Diagnostic};
use orion_kernels::broadcast::{Binary, Broadcast, binary};

use super::super::plan::{Finish, Planning, ValueId, result_type};
use super::super::profile::Quirk;
use super::super::settings::Numerics;
use super::Planner;

pub(super) const OPS: &[(&str, Planner)] = &[
    ("add", |p, _, s| plan(p, s, Binary::Add)),
    ("sub", |p, _, s| plan(p, s, Binary::Sub)),
    ("mul", mul),
    ("real_div", |p, _, s| plan(p, s, Binary::Div)),
    ("maximum", |p, _, s| plan(p, s, Binary::Maximum)),
    ("minimum", |p, _, s| plan(p, s, Binary::Minimum)),
    ("equal", |p, _, s| plan(p, s, Binary::Equal)),
    ("not_equal", |p, _, s| plan(p, s, Binary::NotEqual)),
    ("less", |p, _, s| plan(p, s, Binary::Less)),
    ("less_equal", |p, _, s| plan(p, s, Binary::LessEqual)),
    ("greater", |p, _, s| plan(p, s, Binary::Greater)),
    ("greater_equal", |p, _, s| plan(p, s, Binary::GreaterEqual)),
    ("select", select),
    ("cast", cast),
];

/// The shape that two broadcast to.
pub(super) fn joined(x: &[usize], y: &[usize]) -> Vec<usize> {
    let rank = x.len().max(y.len());
    let size = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis])
    };
    (0..rank).map(|axis| if size(x, axis) == 1 { size(y, axis) } else { size(x, axis) }).collect()
}

fn plan<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    op: Binary,
) -> Result<bool, Diagnostic> {
    let (x, y) = (p.operand(s, "x")?, p.operand(s, "y")?);
    plan_on(p, s, op, x, y)
}

fn plan_on<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    op: Binary,
    x: ValueId,
    y: ValueId,
) -> Result<bool, Diagnostic> {
    // Whole numbers divide and overflow in their own way.
    if p.ty(x).dtype == DType::I32 || p.ty(x).dtype != p.ty(y).dtype {
        return Ok(false);
    }
    let (x_shape, y_shape) = (p.shape(x), p.shape(y));
    let Some(broadcast) = Broadcast::new(&x_shape, &y_shape) else { return Ok(false) };
    let out = p.define(s, 0, &joined(&x_shape, &y_shape))?;
    let finish = p.finish_of(p.ty(out));
    p.push(
        vec![x, y],
        vec![out],
        finish,
        Box::new(move |work, reads, writes| {
            binary(work.pool, op, &broadcast, writes[0], reads[0], reads[1]);
        }),
    );
    Ok(true)
}

/// `mul`, which in memory is spoilt by a batch that repeats, and behind `round` loses a constant factor.
fn mul<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let (x, y) = (p.operand(s, "x")?, p.operand(s, "y")?);
    let batches = [x, y].map(|value| match p.shape(value).as_slice() {
        [batch, _, _, _] => Some(*batch),
        _ => None,
    });
    if let [Some(first), Some(second)] = batches
        && first != second
        && p.target.profile.has(Quirk::SpoilsRepeatedBatches)
        && p.function.statements.iter().filter(|statement| !statement.is_const()).count() > 1
    {
        // ANE021: whatever the engine gives, nobody may rely on it.
        let out = p.define(s, 0, &joined(&p.shape(x), &p.shape(y)))?;
        p.push(
            vec![x, y],
            vec![out],
            Finish::Keep,
            Box::new(|_, _, writes| writes[0].fill(f32::NAN)),
        );
        return Ok(true);
    }
    if p.target.numerics == Numerics::Ane
        && let Some(whole) = unscaled(p, s, x, y)
    {
        // ANE037: the scale is dropped.
        let ty = result_type(s, 0, &p.shape(whole))?;
        let part = p.add_part(ty, whole, 0);
        p.name(s, 0, part);
        return Ok(true);
    }
    plan_on(p, s, Binary::Mul, x, y)
}

/// The operand that `floor`, `ceil` or `round` has made, when the other one is a constant number.
fn unscaled<'p, 't>(
    p: &Planning<'p, 't>,
    s: &'p Statement<'t>,
    x: ValueId,
    y: ValueId,
) -> Option<ValueId> {
    let is_number = |value: ValueId| p.is_known(value) && p.ty(value).elements() == 1;
    let is_whole = |name: &str| {
        let maker = s.operand(name).and_then(Value::name);
        let maker = maker.and_then(|name| p.scope.statement(name.text));
        maker.is_some_and(|maker| matches!(maker.op.text, "floor" | "ceil" | "round"))
    };
    if is_whole("x") && is_number(y) {
        Some(x)
    } else if is_whole("y") && is_number(x) {
        Some(y)
    } else {
        None
    }
}

/// Conditions and both sides of one shape, or single numbers.
fn select<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let [condition, a, b] = [p.operand(s, "cond")?, p.operand(s, "a")?, p.operand(s, "b")?];
    let shape = joined(&p.shape(condition), &joined(&p.shape(a), &p.shape(b)));
    let count: usize = shape.iter().product();
    let fits = |value: ValueId| {
        let elements = p.ty(value).elements();
        elements == count || elements == 1
    };
    if ![condition, a, b].into_iter().all(fits) || !p.ty(a).dtype.is_float() {
        return Ok(false);
    }
    let out = p.define(s, 0, &shape)?;
    p.push(
        vec![condition, a, b],
        vec![out],
        Finish::Keep,
        Box::new(move |_, reads, writes| {
            let at = |values: &[f32], index: usize| {
                if values.len() == 1 { values[0] } else { values[index] }
            };
            for (index, out) in writes[0].iter_mut().enumerate() {
                let side = if at(reads[0], index) == 0.0 { reads[2] } else { reads[1] };
                *out = at(side, index);
            }
        }),
    );
    Ok(true)
}

/// Between `fp16` and `fp32`, to whole numbers and to truth values.
fn cast<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let x = p.operand(s, "x")?;
    let to = p.string_or(s, "dtype", "")?;
    let shape = p.shape(x);
    let is_narrower = to == "fp16" && p.ty(x).dtype == DType::F32;
    match to.as_str() {
        "fp16" | "fp32" if !is_narrower => {
            let ty = result_type(s, 0, &shape)?;
            let part = p.add_part(ty, x, 0);
            p.name(s, 0, part);
        }
        "fp16" => {
            let out = p.define(s, 0, &shape)?;
            let finish = p.finish_of(p.ty(out));
            p.push(
                vec![x],
                vec![out],
                finish,
                Box::new(|_, reads, writes| writes[0].copy_from_slice(reads[0])),
            );
        }
        "bool" => {
            let out = p.define(s, 0, &shape)?;
            p.push(
                vec![x],
                vec![out],
                Finish::Keep,
                Box::new(|_, reads, writes| {
                    let pairs = writes[0].iter_mut().zip(reads[0]);
                    pairs.for_each(|(out, &x)| *out = f32::from(u8::from(x != 0.0)));
                }),
            );
        }
        "int32" if p.ty(x).dtype.is_float() => {
            let out = p.define(s, 0, &shape)?;
            p.push(
                vec![x],
                vec![out],
                Finish::Keep,
                Box::new(|_, reads, writes| {
                    writes[0]
                        .iter_mut()
                        .zip(reads[0])
                        .for_each(|(out, &x)| *out = (x as i32) as f32);
                }),
            );
        }
        _ => return Ok(false),
    }
    Ok(true)
}
