//! A statement that becomes nodes: what its arguments are.

use std::collections::BTreeMap;

use super::constant;
use super::{Files, Refusal};
use crate::mil::scope::Scope;
use crate::mil::syntax::{self, Statement};
use crate::{Builder, DType, Tensor, TensorType, Value};

pub(super) struct Call<'c, 'f, 't> {
    pub(super) builder: &'c Builder,
    pub(super) scope: &'c Scope<'f, 't>,
    pub(super) statement: &'f Statement<'t>,
    pub(super) values: &'c BTreeMap<&'t str, Value>,
    pub(super) files: &'c dyn Files,
}

impl<'f, 't> Call<'_, 'f, 't> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.statement.operand(name).is_some()
    }

    fn operand(&self, name: &str) -> Result<&'f syntax::Value<'t>, Refusal> {
        self.statement.operand(name).ok_or_else(|| {
            Refusal::new("MIL015", format!("`{}` lacks `{name}`", self.statement.op.text))
        })
    }

    /// An operand as a value of the graph.
    pub(super) fn value(&self, name: &str) -> Result<Value, Refusal> {
        self.value_of(self.operand(name)?)
    }

    fn value_of(&self, operand: &'f syntax::Value<'t>) -> Result<Value, Refusal> {
        if let Some(value) = operand.name().and_then(|name| self.values.get(name.text)) {
            return Ok(*value);
        }
        Ok(constant::node(self.builder, &self.constant_of(operand)?))
    }

    /// An operand, as a tensor of the type of another: constants are often written without one.
    pub(super) fn value_like(&self, name: &str, other: Value) -> Result<Value, Refusal> {
        let (value, dtype) = (self.value(name)?, self.builder.type_of(other).dtype);
        Ok(if self.builder.type_of(value).dtype == dtype {
            value
        } else {
            self.builder.cast(value, dtype)
        })
    }

    /// The operands of a tuple.
    pub(super) fn values(&self, name: &str) -> Result<Vec<Value>, Refusal> {
        match self.operand(name)? {
            syntax::Value::Tuple(items) => items.iter().map(|item| self.value_of(item)).collect(),
            one => Ok(vec![self.value_of(one)?]),
        }
    }

    /// A constant operand.
    pub(super) fn constant(&self, name: &str) -> Result<Tensor, Refusal> {
        self.constant_of(self.operand(name)?)
    }

    fn constant_of(&self, operand: &'f syntax::Value<'t>) -> Result<Tensor, Refusal> {
        let constant = self.scope.constant(operand).ok_or_else(|| {
            let name = operand.name().map_or("an argument", |name| name.text);
            Refusal::unsupported(format!("`{name}` has to be a constant here"))
        })?;
        constant::tensor(constant, self.files)
    }

    /// Whole numbers of a constant operand.
    pub(super) fn ints(&self, name: &str) -> Result<Vec<i64>, Refusal> {
        let constant = self.constant(name)?;
        Ok(match constant.ty().dtype {
            DType::I32 => constant.ints().iter().map(|&x| i64::from(x)).collect(),
            DType::Bool => constant.bools().iter().map(|&x| i64::from(x)).collect(),
            _ => constant.reals().iter().map(|&x| x as i64).collect(),
        })
    }

    pub(super) fn ints_or(&self, name: &str, default: &[i64]) -> Result<Vec<i64>, Refusal> {
        if self.has(name) { self.ints(name) } else { Ok(default.to_vec()) }
    }

    pub(super) fn int(&self, name: &str) -> Result<i64, Refusal> {
        match self.ints(name)?.as_slice() {
            &[number] => Ok(number),
            _ => Err(Refusal::new("MIL033", format!("`{name}` is one number"))),
        }
    }

    pub(super) fn int_or(&self, name: &str, default: i64) -> Result<i64, Refusal> {
        if self.has(name) { self.int(name) } else { Ok(default) }
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        Ok(self.int_or(name, i64::from(default))? != 0)
    }

    /// The number of a constant operand.
    pub(super) fn real_or(&self, name: &str, default: f64) -> Result<f64, Refusal> {
        if !self.has(name) {
            return Ok(default);
        }
        let constant = self.constant(name)?;
        match constant.ty().dtype {
            DType::I32 => Ok(constant.ints().first().map_or(default, |&x| f64::from(x))),
            DType::Bool => Err(Refusal::new("MIL033", format!("`{name}` is a number"))),
            _ => Ok(constant.reals().first().copied().unwrap_or(default)),
        }
    }

    pub(super) fn string_or(&self, name: &str, default: &str) -> Result<String, Refusal> {
        let Some(operand) = self.statement.operand(name) else { return Ok(default.to_owned()) };
        match self.scope.constant(operand).map(syntax::Value::bare) {
            Some(syntax::Value::String(word)) => Ok(syntax::unquote(word.text)),
            _ => Err(Refusal::new("MIL033", format!("`{name}` is a string"))),
        }
    }

    /// The type of a value of the graph.
    pub(super) fn ty(&self, value: Value) -> TensorType {
        self.builder.type_of(value)
    }
}

/// An axis counted from the first of `rank`.
pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let from_start = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(from_start)
        .ok()
        .filter(|&axis| axis < rank)
        .ok_or_else(|| Refusal::new("MIL033", format!("axis {axis} of {rank} dimensions")))
}
