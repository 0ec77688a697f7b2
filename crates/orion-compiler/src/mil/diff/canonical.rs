//! A function without what does not count: statements in the order in which results need them, every value with a number
//! that two functions share when it is computed in the same way.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use crate::mil::catalogue;
use crate::mil::number;
use crate::mil::scope::{Origin, Scope};
use crate::mil::syntax::{Dim, Function, Statement, Type, TypeArgument, Value, unquote};

/// Gives equal things equal numbers.
#[derive(Default)]
pub(super) struct Interner {
    ids: HashMap<String, u32>,
}

impl Interner {
    fn id(&mut self, key: String) -> u32 {
        let next = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        *self.ids.entry(key).or_insert(next)
    }
}

/// What an argument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// A constant in canonical writing.
    Constant(String),
    /// A parameter, by the number that both functions give it.
    Parameter(usize),
    /// The result at the second index of the node at the first.
    Node(usize, usize),
    /// Several of them.
    Tuple(Vec<Self>),
    /// A name that nothing defines.
    Unknown(String),
}

/// A statement that is no constant.
pub(super) struct Node<'f, 't> {
    pub(super) statement: &'f Statement<'t>,
    pub(super) operands: BTreeMap<&'t str, Operand>,
    pub(super) types: Vec<String>,
    /// The same for what is computed in the same way.
    pub(super) id: u32,
    /// The same for the same operation with the same constants and types, whatever else it reads.
    pub(super) local: u32,
    /// No result needs it.
    pub(super) is_dead: bool,
}

pub(super) struct Canonical<'f, 't> {
    function: &'f Function<'t>,
    scope: Scope<'f, 't>,
    parameters: Vec<usize>,
    pub(super) nodes: Vec<Node<'f, 't>>,
    /// The node that a statement is.
    node_of: HashMap<usize, usize>,
}

impl<'f, 't> Canonical<'f, 't> {
    /// `parameters` are the numbers that both functions give them, `results` the order in which both look at those.
    pub(super) fn new(
        function: &'f Function<'t>,
        parameters: &[usize],
        results: &[usize],
        interner: &mut Interner,
    ) -> Self {
        let mut canonical = Self {
            function,
            scope: Scope::new(function),
            parameters: parameters.to_vec(),
            nodes: Vec::new(),
            node_of: HashMap::new(),
        };
        let rest = (0..function.results.len()).filter(|index| !results.contains(index));
        for index in results.iter().copied().chain(rest) {
            if let Some(Origin::Result(at, _)) =
                canonical.scope.origin(function.results[index].text)
            {
                canonical.visit(at, false, interner);
            }
        }
        for at in 0..function.statements.len() {
            // Without results it is there for what it does.
            let is_dead = !function.statements[at].results.is_empty();
            if !function.statements[at].is_const() {
                canonical.visit(at, is_dead, interner);
            }
        }
        canonical
    }

    /// Adds a statement behind everything that it needs. Goes by a list of its own: chains can be long.
    fn visit(&mut self, at: usize, is_dead: bool, interner: &mut Interner) {
        let mut open = vec![(at, false)];
        let mut entered = BTreeSet::new();
        while let Some((at, is_ready)) = open.pop() {
            if self.node_of.contains_key(&at) || self.function.statements[at].is_const() {
                continue;
            }
            if is_ready {
                self.add(at, is_dead, interner);
                continue;
            }
            // A cycle has been told by the check; here it only must not go on for ever.
            if !entered.insert(at) {
                continue;
            }
            open.push((at, true));
            let mut needed: Vec<_> = operands(&self.function.statements[at]).collect();
            needed.sort_by_key(|(name, _)| *name);
            for (_, value) in needed.into_iter().rev() {
                let names: Vec<_> = value.names().collect();
                for name in names.into_iter().rev() {
                    if let Some(Origin::Result(needed, _)) = self.scope.origin(name.text) {
                        open.push((needed, false));
                    }
                }
            }
        }
    }

    fn add(&mut self, at: usize, is_dead: bool, interner: &mut Interner) {
        let statement = &self.function.statements[at];
        let operands: BTreeMap<&str, Operand> =
            operands(statement).map(|(name, value)| (name, self.operand(value))).collect();
        let types: Vec<String> =
            statement.results.iter().map(|result| type_text(&result.ty)).collect();
        let head = format!("{} {:?}", statement.op.text, types);
        let (mut whole, mut local) = (head.clone(), head);
        for (name, operand) in &operands {
            whole += &format!("|{name}={}", self.key(operand));
            if let Operand::Constant(text) = operand {
                local += &format!("|{name}={text}");
            }
        }
        let (id, local) = (interner.id(whole), interner.id(local));
        self.node_of.insert(at, self.nodes.len());
        self.nodes.push(Node { statement, operands, types, id, local, is_dead });
    }

    fn operand(&self, value: &'f Value<'t>) -> Operand {
        if let Some(constant) = self.scope.constant(value) {
            return Operand::Constant(value_text(constant));
        }
        match value {
            Value::Name(name) => match self.scope.origin(name.text) {
                Some(Origin::Parameter(index)) => Operand::Parameter(self.parameters[index]),
                Some(Origin::Result(at, result)) => match self.node_of.get(&at) {
                    Some(&node) => Operand::Node(node, result),
                    None => Operand::Unknown(name.text.to_owned()),
                },
                None => Operand::Unknown(name.text.to_owned()),
            },
            Value::Tuple(items) => {
                Operand::Tuple(items.iter().map(|item| self.operand(item)).collect())
            }
            other => Operand::Constant(value_text(other)),
        }
    }

    fn key(&self, operand: &Operand) -> String {
        match operand {
            Operand::Constant(text) => format!("c{text}"),
            Operand::Parameter(number) => format!("p{number}"),
            Operand::Node(node, result) => format!("n{}.{result}", self.nodes[*node].id),
            Operand::Tuple(items) => {
                format!(
                    "({})",
                    items.iter().map(|item| self.key(item)).collect::<Vec<_>>().join(",")
                )
            }
            Operand::Unknown(name) => format!("?{name}"),
        }
    }

    /// Numbers of all nodes; the same for functions that compute the same.
    pub(super) fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.nodes.iter().map(|node| node.id).collect();
        ids.sort_unstable();
        ids
    }

    /// What a name stands for, for comparison with another function's.
    pub(super) fn value(&self, name: &str) -> String {
        match self.scope.origin(name) {
            Some(Origin::Parameter(index)) => format!("p{}", self.parameters[index]),
            Some(Origin::Result(at, result)) => match self.node_of.get(&at) {
                Some(&node) => format!("n{}.{result}", self.nodes[node].id),
                None => {
                    let value = self.function.statements[at].operand("val");
                    format!("c{}", value.map_or_else(String::new, value_text))
                }
            },
            None => format!("?{name}"),
        }
    }

    /// An operand for people.
    pub(super) fn shown(&self, operand: &Operand) -> String {
        match operand {
            Operand::Constant(text) => shortened(text),
            Operand::Parameter(number) => {
                let index = self.parameters.iter().position(|known| known == number);
                let parameter = index.and_then(|index| self.function.parameters.get(index));
                format!("`{}`", parameter.map_or("?", |parameter| parameter.name.text))
            }
            Operand::Node(node, result) => {
                let statement = self.nodes[*node].statement;
                format!(
                    "`{}`",
                    statement.results.get(*result).map_or("?", |result| result.name.text)
                )
            }
            Operand::Tuple(items) => {
                format!(
                    "({})",
                    items.iter().map(|item| self.shown(item)).collect::<Vec<_>>().join(", ")
                )
            }
            Operand::Unknown(name) => format!("`{name}`"),
        }
    }
}

/// What a statement reads: its arguments, and those attributes that are operands of old operation sets.
fn operands<'f, 't>(
    statement: &'f Statement<'t>,
) -> impl Iterator<Item = (&'t str, &'f Value<'t>)> {
    let operation = catalogue::operation(statement.op.text);
    let is_operand =
        move |name: &str| operation.is_some_and(|operation| operation.parameter(name).is_some());
    let attributes =
        statement.attributes.iter().filter(move |attribute| is_operand(attribute.name.text));
    statement
        .arguments
        .iter()
        .chain(attributes)
        .map(|argument| (argument.name.text, &argument.value))
}

/// A type in one spelling: `tensor<string, []>` is `string`.
pub(super) fn type_text(ty: &Type<'_>) -> String {
    let dims = |dims: &[Dim]| {
        let dim = |dim: &Dim| dim.known().map_or_else(|| "?".to_owned(), |size| size.to_string());
        format!("[{}]", dims.iter().map(dim).collect::<Vec<_>>().join(","))
    };
    let argument = |argument: &TypeArgument<'_>| match argument {
        TypeArgument::Type(ty) => type_text(ty),
        TypeArgument::Dims(list) => dims(list),
        TypeArgument::Length(dim) => dims(&[*dim]),
        TypeArgument::Named(name, list) => format!("{}={}", name.text, dims(list)),
    };
    match ty {
        Type::Simple(word) => word.text.to_owned(),
        Type::Tensor { element, dims: list, .. } if list.is_empty() => element.text.to_owned(),
        Type::Tensor { element, dims: list, .. } => {
            format!("tensor<{},{}>", element.text, dims(list))
        }
        Type::Composed { head, arguments } => {
            let arguments: Vec<String> = arguments.iter().map(argument).collect();
            format!("{}<{}>", head.text, arguments.join(","))
        }
    }
}

/// A constant in one spelling: types as above, numbers by their value.
fn value_text(value: &Value<'_>) -> String {
    let list = |items: &[Value<'_>]| items.iter().map(value_text).collect::<Vec<_>>().join(",");
    match value {
        Value::Name(word) | Value::Bool(word) => word.text.to_owned(),
        Value::Number(word) => match number::parse(word.text) {
            // Whole numbers beyond 2⁵³ would lose digits.
            Some(number) if number.abs() < 9e15 || word.text.contains(['.', 'e', 'p']) => {
                number.to_string()
            }
            _ => word.text.to_owned(),
        },
        Value::String(word) => format!("{:?}", unquote(word.text)),
        Value::Typed(typed) => format!("{}({})", type_text(&typed.ty), value_text(&typed.value)),
        Value::Call(name, arguments) => {
            let arguments: BTreeMap<&str, String> =
                arguments.iter().map(|a| (a.name.text, value_text(a.value.bare()))).collect();
            format!("{}{arguments:?}", name.text)
        }
        Value::List(items) => format!("[{}]", list(items)),
        Value::Tuple(items) => format!("({})", list(items)),
        Value::Dict(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|(key, value)| format!("{{{},{}}}", value_text(key), value_text(value)))
                .collect();
            format!("{{{}}}", items.join(","))
        }
    }
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
