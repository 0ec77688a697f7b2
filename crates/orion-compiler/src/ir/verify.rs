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

use super::program::{Definition, Parameter, Program, ValueId};
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
    let findings = check(&program);
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
    let findings = check(&program);
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

fn check(program: &Program) -> Vec<(Place, Diagnostic)> {
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
    check_nodes(program, &mut findings);
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
    let parameters = |list: &[Parameter]| list.iter().map(|p| p.name.clone()).collect();
    let kinds: [(&str, Vec<String>); 4] = [
        ("input", parameters(&program.inputs)),
        ("weight", parameters(&program.weights)),
        ("state", program.states.iter().map(|state| state.name.clone()).collect()),
        ("output", parameters(&program.outputs)),
    ];
    let mut index = 0;
    for (kind, names) in kinds {
        let mut seen = BTreeSet::new();
        for name in names {
            if seen.contains(&name) {
                let message = format!("two {kind}s are called `{name}`");
                let finding = Diagnostic::new("IR013", message).help("give each its own name");
                findings.push((Place::Signature(index), finding));
            }
            seen.insert(name);
            index += 1;
        }
    }
}

fn check_nodes(program: &Program, findings: &mut Vec<(Place, Diagnostic)>) {
    let mut defined = vec![false; program.values.len()];
    for (index, entry) in program.values.iter().enumerate() {
        defined[index] = !matches!(entry.definition, Definition::Node(..));
    }
    for (position, (_, node)) in program.nodes().enumerate() {
        let undefined = node.inputs.iter().filter(|value| !is_defined(&defined, **value)).count();
        if undefined > 0 {
            let message = format!(
                "{}: {undefined} of its operands are not defined before it",
                node.op.name()
            );
            findings.push((Place::Node(position), Diagnostic::new("IR010", message)));
        } else {
            match node.op.infer(&program.input_types(node)) {
                Err(error) => {
                    let message = format!("{}: {error}", node.op.name());
                    findings.push((Place::Node(position), Diagnostic::new("IR011", message)));
                }
                Ok(types) => {
                    let found: Vec<_> =
                        node.outputs.iter().map(|&v| program.type_of(v).clone()).collect();
                    if types != found {
                        let list = |types: &[crate::TensorType]| {
                            types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                        };
                        let message = format!(
                            "{} gives {}, not {}",
                            node.op.name(),
                            list(&types),
                            list(&found)
                        );
                        findings.push((Place::Node(position), Diagnostic::new("IR011", message)));
                    } else if let Some(ty) = types.iter().find(|ty| !ty.is_addressable()) {
                        let message = format!("{} cannot give {ty}: {ADDRESSABLE}", node.op.name());
                        findings.push((Place::Node(position), Diagnostic::new("IR014", message)));
                    }
                }
            }
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

fn is_defined(defined: &[bool], value: ValueId) -> bool {
    defined.get(value.index()).copied().unwrap_or(false)
}
