//! What a rule's check can ask about a function.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::Edit;
use crate::mil::blob::BlobType;
use crate::mil::number;
use crate::mil::scope::{Origin, Scope};
use crate::mil::stat::{bytes_of, known};
use crate::mil::syntax::{Function, Parameter, Statement, Type, Value, Word, unquote};
use crate::target::{Family, Route, Target};

/// A function, and what it is compiled for.
pub struct Context<'f, 't> {
    /// The function.
    pub function: &'f Function<'t>,
    /// The chip and the route.
    pub target: Target,
    scope: Scope<'f, 't>,
    readers: OnceCell<BTreeMap<&'t str, Vec<&'f Statement<'t>>>>,
}

impl<'f, 't> Context<'f, 't> {
    pub(super) fn new(function: &'f Function<'t>, target: Target) -> Self {
        Self { function, target, scope: Scope::new(function), readers: OnceCell::new() }
    }

    /// Whether the program goes to the private framework's in-memory model.
    pub fn in_memory(&self) -> bool {
        self.target.route == Route::InMemory
    }

    /// The generation of the engine.
    pub fn family(&self) -> Family {
        self.target.chip.family()
    }

    /// Statements that are no constants.
    pub fn operations(&self) -> impl Iterator<Item = &'f Statement<'t>> + use<'f, 't> {
        self.function.statements.iter().filter(|statement| !statement.is_const())
    }

    /// Statements of these operations.
    pub fn of<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'f Statement<'t>> + 'a {
        self.operations().filter(|statement| names.contains(&statement.op.text))
    }

    /// The statement that makes a value; none for a parameter.
    pub fn maker(&self, value: &Value<'t>) -> Option<&'f Statement<'t>> {
        self.scope.statement(value.name()?.text)
    }

    /// Whether a value is a parameter of the function.
    pub fn is_input(&self, value: &Value<'t>) -> bool {
        let origin = value.name().and_then(|name| self.scope.origin(name.text));
        matches!(origin, Some(Origin::Parameter(_)))
    }

    /// Whether a value is known when the program is compiled.
    pub fn is_constant(&self, value: &'f Value<'t>) -> bool {
        self.scope.constant(value).is_some()
            || self.maker(value).is_some_and(|maker| maker.op.text.starts_with("constexpr_"))
    }

    /// A parameter or result as declared.
    pub fn definition(&self, name: &str) -> Option<&'f Parameter<'t>> {
        self.scope.definition(name)
    }

    /// The type of a value.
    pub fn ty(&self, value: &'f Value<'t>) -> Option<&'f Type<'t>> {
        match value {
            Value::Name(name) => Some(&self.scope.definition(name.text)?.ty),
            Value::Typed(typed) => Some(&typed.ty),
            _ => None,
        }
    }

    /// Dimensions of an operand, if they are known.
    pub fn dims(&self, statement: &'f Statement<'t>, operand: &str) -> Option<Vec<u64>> {
        known(self.ty(statement.operand(operand)?)?)
    }

    /// Dimensions of a statement's first result.
    pub fn result_dims(&self, statement: &Statement<'t>) -> Option<Vec<u64>> {
        known(&statement.results.first()?.ty)
    }

    /// Bytes of an operand.
    pub fn bytes(&self, value: &'f Value<'t>) -> Option<u64> {
        bytes_of(self.ty(value)?)
    }

    /// The numbers of a constant operand; truth values are 0 and 1.
    pub fn numbers(&self, statement: &'f Statement<'t>, operand: &str) -> Option<Vec<f64>> {
        let constant = self.scope.constant(statement.operand(operand)?)?;
        let mut numbers = Vec::new();
        collect(constant.bare(), &mut numbers)?;
        Some(numbers)
    }

    /// The only number of a constant operand.
    pub fn number(&self, statement: &'f Statement<'t>, operand: &str) -> Option<f64> {
        match self.numbers(statement, operand)?.as_slice() {
            &[number] => Some(number),
            _ => None,
        }
    }

    /// The characters of a constant operand.
    pub fn string(&self, statement: &'f Statement<'t>, operand: &str) -> Option<String> {
        match self.scope.constant(statement.operand(operand)?)?.bare() {
            Value::String(word) => Some(unquote(word.text)),
            _ => None,
        }
    }

    /// The axis that a constant operand names, counted from the first of `rank`.
    pub fn axis(&self, statement: &'f Statement<'t>, operand: &str, rank: usize) -> Option<usize> {
        let axis = self.number(statement, operand)? as i64;
        usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok()
    }

    /// Statements that read a value.
    pub fn readers(&self, name: &str) -> &[&'f Statement<'t>] {
        let all = self.readers.get_or_init(|| {
            let mut readers: BTreeMap<&str, Vec<&Statement<'_>>> = BTreeMap::new();
            for statement in self.operations() {
                for name in statement.arguments.iter().flat_map(|argument| argument.value.names()) {
                    readers.entry(name.text).or_default().push(statement);
                }
            }
            readers
        });
        all.get(name).map_or(&[], Vec::as_slice)
    }

    /// Parameters and results of the function, each with its type and whether it is an input.
    pub fn interface(&self) -> impl Iterator<Item = (Word<'t>, &'f Type<'t>, bool)> {
        let inputs = self.function.parameters.iter().map(|p| (p.name, &p.ty, true));
        let results = self.function.results.iter();
        let results =
            results.filter_map(|name| Some((*name, &self.definition(name.text)?.ty, false)));
        inputs.chain(results)
    }
}

fn collect(value: &Value<'_>, numbers: &mut Vec<f64>) -> Option<()> {
    match value {
        Value::Number(word) => numbers.push(number::parse(word.text)?),
        Value::Bool(word) => numbers.push(f64::from(u8::from(word.text == "true"))),
        Value::List(items) | Value::Tuple(items) => {
            for item in items {
                collect(item, numbers)?;
            }
        }
        _ => return None,
    }
    Some(())
}

/// The change that gives a statement one more argument, behind those that it has.
pub(super) fn add_argument(statement: &Statement<'_>, name: &str, value: &str) -> Option<Edit> {
    let last = statement.arguments.last()?;
    let at = last.name.start as usize;
    Some(Edit { span: (at, at), text: format!("{name} = {value}, ") })
}

/// Whether a slice begins behind the first element of the last dimension.
pub(super) fn begins_inside_width<'f, 't>(
    context: &Context<'f, 't>,
    slice: &'f Statement<'t>,
) -> bool {
    let masked =
        context.numbers(slice, "begin_mask").and_then(|mask| mask.last().copied()) == Some(1.0);
    let begin = context.numbers(slice, "begin").and_then(|begin| begin.last().copied());
    begin.is_some_and(|begin| begin != 0.0) && !masked
}

/// Bytes of a row of a surface, along the last dimension; `None` for a single number.
pub(super) fn row_bytes(ty: &Type<'_>) -> Option<u64> {
    let element = BlobType::of_name(ty.tensor()?.0.text)?;
    let dims = known(ty)?;
    let width = *dims.last().filter(|_| dims.iter().any(|&dim| dim > 1))?;
    Some(width.saturating_mul(element.bits() as u64).div_ceil(8))
}
