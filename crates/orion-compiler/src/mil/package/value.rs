//! Types and values as messages (`MIL.proto` of coremltools).

use half::{bf16, f16};

use super::PackageError;
use super::wire::Message;
use crate::mil::blob::{BlobType, pack_bits};
use crate::mil::number;
use crate::mil::syntax::{Dim, Type, TypeArgument, Value, unquote};

/// `DataType`.
fn data_type(name: &str) -> Option<u64> {
    Some(match name {
        "bool" => 1,
        "string" => 2,
        "fp16" => 10,
        "fp32" => 11,
        "fp64" => 12,
        "bf16" => 13,
        "int8" => 21,
        "int16" => 22,
        "int32" => 23,
        "int64" => 24,
        "int4" => 25,
        "uint8" => 31,
        "uint16" => 32,
        "uint32" => 33,
        "uint64" => 34,
        "uint4" => 35,
        "uint2" => 36,
        "uint1" => 37,
        "uint6" => 38,
        "uint3" => 39,
        "fp8e4m3fn" => 40,
        "fp8e5m2" => 41,
        _ => return None,
    })
}

/// `ValueType`.
pub(super) fn value_type(ty: &Type<'_>) -> Result<Message, PackageError> {
    let refuse = || PackageError(format!("`{ty}` has no place in a package"));
    if let Type::Composed { head, arguments } = ty {
        return match (head.text, arguments.as_slice()) {
            ("state", [TypeArgument::Type(inner)]) => {
                let inner = Message::default().message(1, &value_type(inner)?);
                Ok(Message::default().message(5, &inner))
            }
            _ => Err(refuse()),
        };
    }
    let (element, dims) = ty.tensor().ok_or_else(refuse)?;
    let dimension = |dim: &Dim| match dim.known() {
        Some(size) => Message::default().message(1, &Message::default().number(1, size)),
        None => Message::default().message(2, &Message::default()),
    };
    let tensor = Message::default()
        .number(1, data_type(element.text).ok_or_else(refuse)?)
        .number(2, dims.len() as u64)
        .messages(3, dims.iter().map(dimension));
    Ok(Message::default().message(1, &tensor))
}

/// `Value` of a constant with its type.
pub(super) fn value(value: &Value<'_>) -> Result<Message, PackageError> {
    let refuse =
        || PackageError(format!("`{value}` has no type; `orion mil lint --fix` gives it one"));
    let Value::Typed(typed) = value else { return Err(refuse()) };
    let message = Message::default().message(2, &value_type(&typed.ty)?);
    if let Value::Call(_, arguments) = &typed.value {
        let find =
            |name: &str| arguments.iter().find(|a| a.name.text == name).map(|a| a.value.bare());
        let (Some(Value::String(path)), Some(Value::Number(offset))) =
            (find("path"), find("offset"))
        else {
            return Err(refuse());
        };
        let offset = offset.text.parse().map_err(|_| refuse())?;
        let file = Message::default().text(1, &unquote(path.text)).number(2, offset);
        return Ok(message.message(5, &file));
    }
    let (element, _) = typed.ty.tensor().ok_or_else(refuse)?;
    let tensor = tensor_value(element.text, &typed.value)?;
    Ok(message.message(3, &Message::default().message(1, &tensor)))
}

/// `Value` of a string.
pub(super) fn string(text: &str) -> Message {
    let ty = Message::default().message(1, &Message::default().number(1, 2));
    let tensor = Message::default().message(4, &Message::default().text(1, text));
    Message::default().message(2, &ty).message(3, &Message::default().message(1, &tensor))
}

/// `TensorValue`: halves and all narrow numbers are bytes.
fn tensor_value(element: &str, literal: &Value<'_>) -> Result<Message, PackageError> {
    if element == "string" {
        let mut strings = Message::default();
        for item in items(literal) {
            let Value::String(word) = item else {
                return Err(PackageError(format!("`{item}` is no string")));
            };
            strings = strings.text(1, &unquote(word.text));
        }
        return Ok(Message::default().message(4, &strings));
    }
    let mut numbers = Vec::new();
    for item in items(literal) {
        numbers.push(match item {
            Value::Number(word) => number::parse(word.text),
            Value::Bool(word) => Some(f64::from(u8::from(word.text == "true"))),
            _ => None,
        });
    }
    let numbers: Option<Vec<f64>> = numbers.into_iter().collect();
    let numbers = numbers.ok_or_else(|| PackageError(format!("`{literal}` is no number")))?;
    let list = |field, bytes: Vec<u8>| {
        Message::default().message(field, &Message::default().bytes(1, &bytes))
    };
    let whole = |field| {
        Message::default()
            .message(field, &Message::default().packed(1, numbers.iter().map(|&x| x as i64)))
    };
    let each = numbers.iter().copied();
    Ok(match element {
        "fp32" => list(1, each.flat_map(|x| (x as f32).to_le_bytes()).collect()),
        "fp64" => list(6, each.flat_map(f64::to_le_bytes).collect()),
        "int32" => whole(2),
        "bool" => whole(3),
        "int64" => whole(5),
        "fp16" => list(7, each.flat_map(|x| f16::from_f64(x).to_le_bytes()).collect()),
        "bf16" => list(7, each.flat_map(|x| bf16::from_f64(x).to_le_bytes()).collect()),
        "uint32" => list(7, each.flat_map(|x| (x as u32).to_le_bytes()).collect()),
        "uint64" => list(7, each.flat_map(|x| (x as u64).to_le_bytes()).collect()),
        "int16" => list(7, each.flat_map(|x| (x as i16).to_le_bytes()).collect()),
        "uint16" => list(7, each.flat_map(|x| (x as u16).to_le_bytes()).collect()),
        "int8" => list(7, each.map(|x| (x as i8).cast_unsigned()).collect()),
        "uint8" => list(7, each.map(|x| x as u8).collect()),
        _ => {
            let bits = BlobType::of_name(element).map_or(8, BlobType::bits);
            let narrow: Vec<u8> = each.map(|x| (x as i8).cast_unsigned()).collect();
            list(7, pack_bits(&narrow, bits))
        }
    })
}

/// The elements of a literal, row by row.
fn items<'v, 't>(value: &'v Value<'t>) -> Vec<&'v Value<'t>> {
    match value {
        Value::List(list) | Value::Tuple(list) => list.iter().flat_map(items).collect(),
        one => vec![one],
    }
}
