//! The verifier: what makes a program valid. Only it can make a [`Verified`] program, and only those are run.
//!
//! | code | rule |
//! |---|---|
//! | IR010 | every operand is defined before its use |
//! | IR011 | a node's operands and results have the types that its operation infers |
//! | IR012 | a state's next value has the state's type |
//! | IR013 | names are unique among inputs, weights, states and outputs |
//! | IR014 | a type's size fits the address space, and rows of block types are whole blocks |

use std::collections::BTreeSet;
use std::ops::Deref;

use super::program::{Definition, Node, NodeId, Parameter, Program, ValueId};
use crate::diagnostic::{Diagnostic, Diagnostics};

/// Something that passed its verifier. The field is private: there is no other way to make one.
#[derive(Clone, Debug)]
pub struct Verified<T>(T);

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Verified<T> {
    /// Gives the content up for changes; it has to be verified again.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// Checks every rule and reports every breach, each located in the program's printed text.
pub fn verify(program: Program) -> Result<Verified<Program>, Diagnostics> {
    let findings = check(&program, &|_| true);
    conclude(program, findings)
}

/// [`verify`] for a program that was verified before the nodes `changed` came in or got other operands, and others were
/// taken out: types are inferred anew for those alone.
pub(crate) fn verify_changed(
    program: Program,
    changed: &[NodeId],
) -> Result<Verified<Program>, Diagnostics> {
    let mut is_changed = vec![false; program.nodes.len()];
    changed.iter().for_each(|id| is_changed[id.index()] = true);
    // What is skipped follows from what was checked before; tests do not take that on trust.
    let findings = check(&program, &|id| cfg!(debug_assertions) || is_changed[id.index()]);
    conclude(program, findings)
}

fn conclude(
    program: Program,
    findings: Vec<(Place, Diagnostic)>,
) -> Result<Verified<Program>, Diagnostics> {
    if findings.is_empty() {
        return Ok(Verified(program));
    }
    let text = program.to_string();
    let lines: Vec<(usize, &str)> = text
        .split_inclusive('\n')
        .scan(0, |start, line| {
            let at = *start;
            *start += line.len();
            Some((at, line))
        })
        .collect();
    let outputs = program.inputs.len() + program.weights.len() + program.states.len();
    let list = findings
        .into_iter()
        .map(|(place, diagnostic)| {
            let line = match place {
                Place::Signature(index) if index < outputs => 1 + index,
                Place::Signature(index) => 1 + index + program.order.len(),
                Place::Node(position) => 1 + outputs + position,
            };
            let span = lines.get(line).map(|&(start, text)| {
                let indent = text.len() - text.trim_start().len();
                (start + indent, start + text.trim_end().len())
            });
            diagnostic.at(span)
        })
        .collect();
    Err(Diagnostics { list, text })
}

/// [`verify`] for a program that was parsed from `text`: places are those of the text.
pub fn verify_parsed(program: Program, text: &str) -> Result<Verified<Program>, Diagnostics> {
    let findings = check(&program, &|_| true);
    if findings.is_empty() {
        return Ok(Verified(program));
    }
    let list = findings
        .into_iter()
        .map(|(place, diagnostic)| match place {
            Place::Node(position) => {
                let span = program.order.get(position).and_then(|&id| program.node(id).span);
                diagnostic.at(span)
            }
            Place::Signature(index) => diagnostic.at(program.spans.get(index).copied()),
        })
        .collect();
    Err(Diagnostics { list, text: text.to_owned() })
}

const ADDRESSABLE: &str = "its rows must be whole blocks and its size addressable";

enum Place {
    /// An index into inputs, weights, states and outputs one after the other.
    Signature(usize),
    /// A position in the execution order.
    Node(usize),
}

/// Breaches of all rules; types of nodes are inferred where `infers` says so.
fn check(program: &Program, infers: &dyn Fn(NodeId) -> bool) -> Vec<(Place, Diagnostic)> {
    let mut findings = Vec::new();
    let parameters = program.inputs.iter().chain(&program.weights);
    let named = parameters
        .map(|p| (p.name.as_str(), p.value))
        .chain(program.states.iter().map(|s| (s.name.as_str(), s.value)));
    for (index, (name, value)) in named.enumerate() {
        let ty = program.type_of(value);
        if !ty.is_addressable() {
            let message = format!("`{name}` cannot be {ty}: {ADDRESSABLE}");
            findings.push((Place::Signature(index), Diagnostic::new("IR014", message)));
        }
    }
    check_names(program, &mut findings);
    check_nodes(program, infers, &mut findings);
    for (index, state) in program.states.iter().enumerate() {
        let (own, next) = (program.type_of(state.value), program.type_of(state.next));
        if own != next {
            let message = format!("state `{}` is {own} but its next value is {next}", state.name);
            let place = Place::Signature(program.inputs.len() + program.weights.len() + index);
            findings.push((place, Diagnostic::new("IR012", message)));
        }
    }
    findings
}

fn check_names(program: &Program, findings: &mut Vec<(Place, Diagnostic)>) {
    fn names(list: &[Parameter]) -> Vec<&str> {
        list.iter().map(|parameter| parameter.name.as_str()).collect()
    }
    let kinds = [
        ("input", names(&program.inputs)),
        ("weight", names(&program.weights)),
        ("state", program.states.iter().map(|state| state.name.as_str()).collect()),
        ("output", names(&program.outputs)),
    ];
    let mut index = 0;
    for (kind, names) in kinds {
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                let message = format!("two {kind}s are called `{name}`");
                let finding = Diagnostic::new("IR013", message).help("give each its own name");
                findings.push((Place::Signature(index), finding));
            }
            index += 1;
        }
    }
}

fn check_nodes(
    program: &Program,
    infers: &dyn Fn(NodeId) -> bool,
    findings: &mut Vec<(Place, Diagnostic)>,
) {
    let mut defined = vec![false; program.values.len()];
    for (index, entry) in program.values.iter().enumerate() {
        defined[index] = !matches!(entry.definition, Definition::Node(..));
    }
    for (position, (id, node)) in program.nodes().enumerate() {
        let undefined = node.inputs.iter().filter(|value| !is_defined(&defined, **value)).count();
        if undefined > 0 {
            let message = format!(
                "{}: {undefined} of its operands are not defined before it",
                node.op.name()
            );
            findings.push((Place::Node(position), Diagnostic::new("IR010", message)));
        } else if infers(id)
            && let Some(finding) = check_types(program, node)
        {
            findings.push((Place::Node(position), finding));
        }
        for &output in &node.outputs {
            defined[output.index()] = true;
        }
    }
    let nexts = program.states.iter().map(|state| (state.name.as_str(), state.next));
    let results = program.outputs.iter().map(|output| (output.name.as_str(), output.value));
    let parameters = program.inputs.len() + program.weights.len();
    for (index, (name, value)) in nexts.chain(results).enumerate() {
        if !is_defined(&defined, value) {
            let message = format!("the value of `{name}` is never defined");
            let place = Place::Signature(parameters + index);
            findings.push((place, Diagnostic::new("IR010", message)));
        }
    }
}

/// What is wrong with the types of a node whose operands are defined.
fn check_types(program: &Program, node: &Node) -> Option<Diagnostic> {
    let name = node.op.name();
    let types = match node.op.infer(&program.input_types(node)) {
        Ok(types) => types,
        Err(error) => return Some(Diagnostic::new("IR011", format!("{name}: {error}"))),
    };
    let found = node.outputs.iter().map(|&value| program.type_of(value));
    if !types.iter().eq(found.clone()) {
        let list = |types: Vec<String>| types.join(", ");
        let inferred = list(types.iter().map(ToString::to_string).collect());
        let found = list(found.map(ToString::to_string).collect());
        return Some(Diagnostic::new("IR011", format!("{name} gives {inferred}, not {found}")));
    }
    let wrong = types.iter().find(|ty| !ty.is_addressable())?;
    Some(Diagnostic::new("IR014", format!("{name} cannot give {wrong}: {ADDRESSABLE}")))
}

fn is_defined(defined: &[bool], value: ValueId) -> bool {
    defined.get(value.index()).copied().unwrap_or(false)
}
