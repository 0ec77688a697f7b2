//! States of a session, and surfaces.

use super::{Call, Raise, Refusal};
use crate::Value;
use crate::mil::syntax::{Type, TypeArgument};

pub(super) const OPS: &[(&str, Raise)] = &[
    ("read_state", |call| Ok(vec![call.value("input")?])),
    ("write_state", write_state),
    ("tensor_buffer_to_tensor", |call| Ok(vec![call.value("input")?])),
    ("tensor_to_tensor_buffer", |call| Ok(vec![call.value("input")?])),
];

fn write_state(call: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    call.builder.set_state(call.value("input")?, call.value("data")?);
    Ok(Vec::new())
}

/// What a state holds, if the type is one.
pub(super) fn of_state<'a, 't>(ty: &'a Type<'t>) -> Option<&'a Type<'t>> {
    match ty {
        Type::Composed { head, arguments } if head.text == "state" => match arguments.as_slice() {
            [TypeArgument::Type(inner)] => Some(inner),
            _ => None,
        },
        _ => None,
    }
}
