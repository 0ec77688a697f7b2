//! What names of a function stand for.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::syntax::{Function, Parameter, Statement, Value, Word};

/// What defines a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The parameter at this index.
    Parameter(usize),
    /// The result at the second index of the statement at the first.
    Result(usize, usize),
}

/// The names of a function. Where one is defined twice, the first counts.
#[derive(Clone, Debug)]
pub struct Scope<'f, 't> {
    function: &'f Function<'t>,
    /// Definitions of names that were defined before.
    again: Vec<Word<'t>>,
    origins: HashMap<&'t str, Origin>,
}

impl<'f, 't> Scope<'f, 't> {
    /// Looks at a function.
    pub fn new(function: &'f Function<'t>) -> Self {
        let mut origins =
            HashMap::with_capacity(function.statements.len() + function.parameters.len());
        let mut again = Vec::new();
        for (name, origin) in definitions(function) {
            match origins.entry(name.text) {
                Entry::Vacant(free) => {
                    free.insert(origin);
                }
                Entry::Occupied(_) => again.push(name),
            }
        }
        Self { function, again, origins }
    }

    /// Definitions of names that were defined before, in the order of the text.
    pub fn defined_again(&self) -> &[Word<'t>] {
        &self.again
    }

    /// What defines a name.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.origins.get(name).copied()
    }

    /// Names that are known.
    pub fn names(&self) -> impl Iterator<Item = &'t str> {
        definitions(self.function).map(|(name, _)| name.text)
    }

    /// The statement that defines a name, if one does.
    pub fn statement(&self, name: &str) -> Option<&'f Statement<'t>> {
        match self.origin(name)? {
            Origin::Result(index, _) => self.function.statements.get(index),
            Origin::Parameter(_) => None,
        }
    }

    /// The definition of a name: its type as declared.
    pub fn definition(&self, name: &str) -> Option<&'f Parameter<'t>> {
        match self.origin(name)? {
            Origin::Parameter(index) => self.function.parameters.get(index),
            Origin::Result(index, result) => {
                self.function.statements.get(index)?.results.get(result)
            }
        }
    }

    /// The constant that a value is: written in place, or by name of a `const`.
    pub fn constant(&self, value: &'f Value<'t>) -> Option<&'f Value<'t>> {
        match value {
            Value::Name(name) => {
                self.statement(name.text).filter(|s| s.is_const()).and_then(|s| s.operand("val"))
            }
            Value::Tuple(_) => None,
            _ => Some(value),
        }
    }
}

/// Everything that a function defines, in the order of the text.
pub(super) fn definitions<'f, 't>(
    function: &'f Function<'t>,
) -> impl Iterator<Item = (Word<'t>, Origin)> + use<'f, 't> {
    let parameters = function.parameters.iter().enumerate();
    let parameters =
        parameters.map(|(index, parameter)| (parameter.name, Origin::Parameter(index)));
    let statements = function.statements.iter().enumerate();
    let results = statements.flat_map(|(index, statement)| {
        let results = statement.results.iter().enumerate();
        results.map(move |(result, parameter)| (parameter.name, Origin::Result(index, result)))
    });
    parameters.chain(results)
}
