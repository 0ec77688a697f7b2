//! What a statement's arguments are, for those who plan it.

use orion_compiler::mil::raise;
use orion_compiler::mil::syntax::{Statement, Value, Word, unquote};
use orion_compiler::{DType, Diagnostic, Tensor, TensorType};

use super::{Planning, ValueId};

/// A mistake in a statement, at its operation.
pub(in super::super) fn refuse(
    statement: &Statement<'_>,
    code: &'static str,
    message: impl Into<String>,
) -> Diagnostic {
    Diagnostic::new(code, message).at(Some(statement.op.span()))
}

/// The declared type of a result, which has to have this shape.
pub(in super::super) fn result_type(
    statement: &Statement<'_>,
    result: usize,
    shape: &[usize],
) -> Result<TensorType, Diagnostic> {
    let op = statement.op.text;
    let Some(parameter) = statement.results.get(result) else {
        let message = format!("`{op}` gives more results than are named");
        return Err(refuse(statement, "MIL032", message));
    };
    let at = |diagnostic: Diagnostic| diagnostic.at(Some(parameter.name.span()));
    let ty = raise::value_type(&parameter.ty).map_err(at)?;
    if ty.shape != shape {
        let message = format!(
            "`{}` is declared {}, and `{op}` gives {shape:?}",
            parameter.name.text, parameter.ty
        );
        return Err(at(Diagnostic::new("MIL032", message)));
    }
    Ok(ty)
}

fn argument<'p, 't>(statement: &'p Statement<'t>, name: &str) -> Result<&'p Value<'t>, Diagnostic> {
    statement.operand(name).ok_or_else(|| {
        refuse(statement, "MIL015", format!("`{}` lacks `{name}`", statement.op.text))
    })
}

impl<'p, 't> Planning<'p, 't> {
    /// An operand as a value: what a statement has computed, or a constant.
    pub(in super::super) fn operand(
        &mut self,
        statement: &'p Statement<'t>,
        name: &str,
    ) -> Result<ValueId, Diagnostic> {
        let value = argument(statement, name)?;
        self.value(statement, value)
    }

    /// An operand that may be missing.
    pub(in super::super) fn optional(
        &mut self,
        statement: &'p Statement<'t>,
        name: &str,
    ) -> Result<Option<ValueId>, Diagnostic> {
        match statement.operand(name) {
            None => Ok(None),
            Some(value) => self.value(statement, value).map(Some),
        }
    }

    /// The values of a tuple.
    pub(in super::super) fn operands(
        &mut self,
        statement: &'p Statement<'t>,
        name: &str,
    ) -> Result<Vec<ValueId>, Diagnostic> {
        match argument(statement, name)? {
            Value::Tuple(items) => items.iter().map(|item| self.value(statement, item)).collect(),
            one => Ok(vec![self.value(statement, one)?]),
        }
    }

    fn value(
        &mut self,
        statement: &'p Statement<'t>,
        value: &'p Value<'t>,
    ) -> Result<ValueId, Diagnostic> {
        if let Some(known) = value.name().and_then(|name| self.names.get(name.text)) {
            return Ok(*known);
        }
        if let Some(name) = value.name() {
            return self.constant_named(statement, name);
        }
        let Some(constant) = self.scope.constant(value) else {
            return Err(refuse(statement, "MIL030", "an argument is no value here"));
        };
        self.constant_value(statement, constant)
    }

    /// The value of a constant with a name, which is then known by it.
    pub(in super::super) fn constant_named(
        &mut self,
        statement: &'p Statement<'t>,
        name: Word<'t>,
    ) -> Result<ValueId, Diagnostic> {
        let constant = self.scope.statement(name.text).filter(|maker| maker.is_const());
        let Some(constant) = constant.and_then(|maker| maker.operand("val")) else {
            return Err(refuse(statement, "MIL030", format!("`{}` is no value here", name.text)));
        };
        let id = self.constant_value(statement, constant)?;
        self.names.insert(name.text, id);
        Ok(id)
    }

    fn constant_value(
        &mut self,
        statement: &'p Statement<'t>,
        constant: &'p Value<'t>,
    ) -> Result<ValueId, Diagnostic> {
        let at = |diagnostic: Diagnostic| diagnostic.at(Some(statement.op.span()));
        let ty = match constant {
            Value::Typed(typed) => orion_compiler::mil::raise::value_type(&typed.ty).map_err(at)?,
            _ => self.tensor(statement, constant)?.ty().clone(),
        };
        let is_real = matches!(ty.dtype, DType::F16 | DType::F32);
        if is_real && orion_compiler::mil::raise::constant_place(constant).is_some() {
            return Ok(self.add_file(ty, constant));
        }
        let numbers = self.constants.dense(constant, &ty).map_err(at)?;
        Ok(self.add_constant(ty, numbers))
    }

    /// Whether an operand is known when the program is compiled.
    pub(in super::super) fn is_constant(&self, statement: &'p Statement<'t>, name: &str) -> bool {
        statement.operand(name).is_some_and(|value| self.is_constant_value(value))
    }

    pub(super) fn is_constant_value(&self, value: &'p Value<'t>) -> bool {
        let computed = value.name().and_then(|name| self.names.get(name.text));
        match computed {
            Some(&id) => self.is_known(id),
            None => self.scope.constant(value).is_some(),
        }
    }

    /// A constant operand's numbers, which are not in a file that is missing.
    pub(in super::super) fn tensor(
        &self,
        statement: &'p Statement<'t>,
        value: &'p Value<'t>,
    ) -> Result<Tensor, Diagnostic> {
        let constant = self.scope.constant(value).ok_or_else(|| {
            let name = value.name().map_or("an argument", |name| name.text);
            refuse(statement, "MIL030", format!("`{name}` has to be a constant here"))
        })?;
        orion_compiler::mil::raise::constant_tensor(constant, self.constants.files())
            .map_err(|diagnostic| diagnostic.at(Some(statement.op.span())))
    }

    /// Whole numbers of a constant operand.
    pub(in super::super) fn ints(
        &self,
        statement: &'p Statement<'t>,
        name: &str,
    ) -> Result<Vec<i64>, Diagnostic> {
        let constant = self.tensor(statement, argument(statement, name)?)?;
        Ok(match constant.ty().dtype {
            DType::I32 => constant.ints().iter().map(|&x| i64::from(x)).collect(),
            DType::Bool => constant.bools().iter().map(|&x| i64::from(x)).collect(),
            _ => constant.reals().iter().map(|&x| x as i64).collect(),
        })
    }

    pub(in super::super) fn ints_or(
        &self,
        statement: &'p Statement<'t>,
        name: &str,
        default: &[i64],
    ) -> Result<Vec<i64>, Diagnostic> {
        if statement.operand(name).is_some() {
            self.ints(statement, name)
        } else {
            Ok(default.to_vec())
        }
    }

    pub(in super::super) fn int_or(
        &self,
        statement: &'p Statement<'t>,
        name: &str,
        default: i64,
    ) -> Result<i64, Diagnostic> {
        match self.ints_or(statement, name, &[default])?.as_slice() {
            &[number] => Ok(number),
            _ => Err(refuse(statement, "MIL033", format!("`{name}` is one number"))),
        }
    }

    pub(in super::super) fn flag(
        &self,
        statement: &'p Statement<'t>,
        name: &str,
        default: bool,
    ) -> Result<bool, Diagnostic> {
        Ok(self.int_or(statement, name, i64::from(default))? != 0)
    }

    /// The number of a constant operand.
    pub(in super::super) fn real_or(
        &self,
        statement: &'p Statement<'t>,
        name: &str,
        default: f64,
    ) -> Result<f64, Diagnostic> {
        let Some(value) = statement.operand(name) else { return Ok(default) };
        let constant = self.tensor(statement, value)?;
        let number = match constant.ty().dtype {
            DType::I32 => constant.ints().first().map(|&x| f64::from(x)),
            DType::Bool => None,
            _ => constant.reals().first().copied(),
        };
        number.ok_or_else(|| refuse(statement, "MIL033", format!("`{name}` is a number")))
    }

    pub(in super::super) fn string_or(
        &self,
        statement: &'p Statement<'t>,
        name: &str,
        default: &str,
    ) -> Result<String, Diagnostic> {
        let Some(value) = statement.operand(name) else { return Ok(default.to_owned()) };
        match self.scope.constant(value).map(Value::bare) {
            Some(Value::String(word)) => Ok(unquote(word.text)),
            _ => Err(refuse(statement, "MIL033", format!("`{name}` is a string"))),
        }
    }

    /// An axis counted from the first of `rank`.
    pub(in super::super) fn axis(
        &self,
        statement: &'p Statement<'t>,
        name: &str,
        default: i64,
        rank: usize,
    ) -> Result<usize, Diagnostic> {
        let axis = self.int_or(statement, name, default)?;
        axis_of(statement, axis, rank)
    }

    /// The type of a value.
    pub(in super::super) fn ty(&self, value: ValueId) -> &TensorType {
        &self.values[value.0].ty
    }

    /// The shape of a value.
    pub(in super::super) fn shape(&self, value: ValueId) -> Vec<usize> {
        self.ty(value).shape.clone()
    }
}

/// An axis counted from the first of `rank`.
pub(in super::super) fn axis_of(
    statement: &Statement<'_>,
    axis: i64,
    rank: usize,
) -> Result<usize, Diagnostic> {
    let from_start = if axis < 0 { axis + rank as i64 } else { axis };
    let axis_in_range = usize::try_from(from_start).ok().filter(|&axis| axis < rank);
    axis_in_range
        .ok_or_else(|| refuse(statement, "MIL033", format!("axis {axis} of {rank} dimensions")))
}
