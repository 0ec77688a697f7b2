//! What a function costs, as far as its text says: operations, arithmetic, bytes.

use std::collections::BTreeMap;

use super::blob::BlobType;
use super::check::elements;
use super::scope::Scope;
use super::syntax::{Document, Function, Statement, Type, Value, unquote};

/// What a function consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// The function.
    pub function: String,
    /// How often each operation occurs; constants are not among them.
    pub ops: BTreeMap<String, usize>,
    /// Multiplications and additions, and what counts as one.
    pub flops: u64,
    /// Bytes of parameters and results.
    pub interface_bytes: u64,
    /// Bytes of the results of all operations but the function's.
    pub interior_bytes: u64,
    /// Constants with a name or a file.
    pub constants: usize,
    /// Bytes of constants in files.
    pub file_bytes: u64,
    /// Bytes of constants written in the text.
    pub text_bytes: u64,
    /// Results of unknown size; nothing of what they would add is counted.
    pub unknown: usize,
}

impl Stat {
    /// Operations, without constants.
    pub fn op_count(&self) -> usize {
        self.ops.values().sum()
    }
}

/// One [`Stat`] for each function, which is one dispatch.
pub fn stat(document: &Document<'_>) -> Vec<Stat> {
    document.functions.iter().map(of_function).collect()
}

fn of_function(function: &Function<'_>) -> Stat {
    let scope = Scope::new(function);
    let mut stat = Stat { function: function.name.text.to_owned(), ..Stat::default() };
    let is_result = |name: &str| function.results.iter().any(|result| result.text == name);
    for parameter in &function.parameters {
        stat.interface_bytes = stat.interface_bytes.saturating_add(stat.bytes(&parameter.ty));
    }
    for statement in &function.statements {
        for value in statement.arguments.iter().chain(&statement.attributes).map(|a| &a.value) {
            stat.constant(value);
        }
        if statement.is_const() {
            stat.constants += 1;
            continue;
        }
        *stat.ops.entry(statement.op.text.to_owned()).or_default() += 1;
        stat.flops = stat.flops.saturating_add(flops(statement, &scope).unwrap_or_default());
        for result in &statement.results {
            let bytes = stat.bytes(&result.ty);
            let sum = if is_result(result.name.text) {
                &mut stat.interface_bytes
            } else {
                &mut stat.interior_bytes
            };
            *sum = sum.saturating_add(bytes);
        }
    }
    stat
}

impl Stat {
    fn bytes(&mut self, ty: &Type<'_>) -> u64 {
        let bytes = bytes_of(ty);
        self.unknown += usize::from(bytes.is_none());
        bytes.unwrap_or_default()
    }

    fn constant(&mut self, value: &Value<'_>) {
        match value {
            Value::Typed(typed) => {
                let bytes = bytes_of(&typed.ty).unwrap_or_default();
                let in_file = matches!(typed.value, Value::Call(..));
                let sum = if in_file { &mut self.file_bytes } else { &mut self.text_bytes };
                *sum = sum.saturating_add(bytes);
            }
            Value::Tuple(items) | Value::List(items) => {
                items.iter().for_each(|item| self.constant(item))
            }
            _ => {}
        }
    }
}

/// Bytes of a tensor; `None` where a dimension is unknown. A string counts as nothing.
pub(crate) fn bytes_of(ty: &Type<'_>) -> Option<u64> {
    let (element, dims) = ty.tensor()?;
    let bits = match element.text {
        "string" => 0,
        "bool" => 8,
        "int64" | "uint64" | "fp64" => 64,
        name => BlobType::of_name(name)?.bits() as u64,
    };
    Some(elements(dims).ok()??.checked_mul(bits)?.div_ceil(8))
}

/// Multiplications and additions of a statement, or what its operation does for each element.
pub(crate) fn flops<'f, 't>(statement: &'f Statement<'t>, scope: &Scope<'f, 't>) -> Option<u64> {
    let dims_of = |name: &str| -> Option<Vec<u64>> {
        match statement.operand(name)? {
            Value::Name(word) => known(&scope.definition(word.text)?.ty),
            Value::Typed(typed) => known(&typed.ty),
            _ => None,
        }
    };
    let size = |dims: &[u64]| dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim));
    let results: u64 =
        statement.results.iter().filter_map(|r| size(&known(&r.ty)?)).fold(0, u64::saturating_add);
    match statement.op.text {
        "conv" => results.checked_mul(2)?.checked_mul(size(dims_of("weight")?.get(1..)?)?),
        "conv_transpose" => {
            let weight = dims_of("weight")?;
            size(&dims_of("x")?)?.checked_mul(2)?.checked_mul(size(weight.get(1..)?)?)
        }
        "einsum" => sums(statement, scope),
        "linear" => results.checked_mul(2)?.checked_mul(*dims_of("weight")?.get(1)?),
        "matmul" => {
            let x = dims_of("x")?;
            let transposed = statement.operand("transpose_x").and_then(|value| flag(value, scope));
            let from_end = if transposed == Some(true) { 2 } else { 1 };
            let depth = x.len().checked_sub(from_end).and_then(|at| x.get(at))?;
            results.checked_mul(2)?.checked_mul(*depth)
        }
        "scaled_dot_product_attention" => {
            let (query, key) = (dims_of("query")?, dims_of("key")?);
            let keys = *key.get(key.len().checked_sub(2)?)?;
            // Scores and their weighted sum.
            size(&query)?.checked_mul(keys)?.checked_mul(4)
        }
        op if op.starts_with("reduce_") || op == "softmax" || op.ends_with("_norm") => {
            size(&dims_of("x")?)
        }
        "reshape" | "transpose" | "concat" | "split" | "slice_by_index" | "slice_by_size"
        | "identity" | "squeeze" | "expand_dims" | "stack" | "tile" | "pad" | "gather" | "cast" => {
            Some(0)
        }
        _ => Some(results),
    }
}

/// Multiplications and additions of `einsum`: two for every combination of its indices.
fn sums<'f, 't>(statement: &'f Statement<'t>, scope: &Scope<'f, 't>) -> Option<u64> {
    let Value::String(equation) = scope.constant(statement.operand("equation")?)?.bare() else {
        return None;
    };
    let Value::Tuple(values) = statement.operand("values")? else { return None };
    let equation = unquote(equation.text);
    let terms = equation.split("->").next()?.split(',').map(str::trim);
    let mut sizes = BTreeMap::new();
    for (term, value) in terms.zip(values) {
        let dims = known(&scope.definition(value.name()?.text)?.ty)?;
        sizes.extend(term.chars().zip(dims));
    }
    sizes.values().try_fold(2_u64, |product, &size| product.checked_mul(size))
}

/// The truth value that a setting is.
pub(crate) fn flag(value: &Value<'_>, scope: &Scope<'_, '_>) -> Option<bool> {
    let value = match value {
        Value::Name(word) => scope.statement(word.text)?.operand("val")?,
        other => other,
    };
    match value.bare() {
        Value::Bool(word) => Some(word.text == "true"),
        _ => None,
    }
}

/// Dimensions that are all known.
pub(crate) fn known(ty: &Type<'_>) -> Option<Vec<u64>> {
    let (_, dims) = ty.tensor()?;
    dims.iter().map(|dim| dim.known()).collect()
}
