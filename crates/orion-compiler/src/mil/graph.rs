//! A function as a picture: DOT, the language of Graphviz. Constants do not appear, but the sizes of weights do.

use super::scope::{Origin, Scope};
use super::syntax::{Document, Function, Statement, Value};

/// A box of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it shows, a line each.
    pub lines: Vec<String>,
    /// Whether it is a parameter or result of the function.
    pub is_interface: bool,
    /// The boxes whose values it reads, by index.
    pub reads: Vec<usize>,
}

/// The boxes of a function, each behind those that it reads.
pub fn boxes(function: &Function<'_>) -> Vec<Node> {
    let scope = Scope::new(function);
    let mut boxes = Vec::new();
    for parameter in &function.parameters {
        let lines = vec![parameter.name.text.to_owned(), parameter.ty.to_string()];
        boxes.push(Node { lines, is_interface: true, reads: Vec::new() });
    }
    let mut of_statement = vec![None; function.statements.len()];
    let find = |name: &str, of_statement: &[Option<usize>]| match scope.origin(name) {
        Some(Origin::Parameter(index)) => Some(index),
        Some(Origin::Result(at, _)) => of_statement.get(at).copied().flatten(),
        None => None,
    };
    for (at, statement) in function.statements.iter().enumerate() {
        if statement.is_const() {
            continue;
        }
        let values = statement.arguments.iter().map(|argument| &argument.value);
        let names = values.flat_map(Value::names);
        let mut reads: Vec<usize> =
            names.filter_map(|name| find(name.text, &of_statement)).collect();
        reads.dedup();
        of_statement[at] = Some(boxes.len());
        boxes.push(Node { lines: lines(statement, &scope), is_interface: false, reads });
    }
    for result in &function.results {
        let reads = find(result.text, &of_statement).into_iter().collect();
        boxes.push(Node { lines: vec![result.text.to_owned()], is_interface: true, reads });
    }
    boxes
}

fn lines<'f, 't>(statement: &'f Statement<'t>, scope: &Scope<'f, 't>) -> Vec<String> {
    let mut lines = vec![statement.op.text.to_owned()];
    for argument in &statement.arguments {
        let Some(constant) = scope.constant(&argument.value) else { continue };
        if let Value::Typed(typed) = constant
            && matches!(typed.value, Value::Call(..))
        {
            lines.push(format!("{}: {}", argument.name.text, typed.ty));
        }
    }
    lines.extend(
        statement.results.iter().map(|result| format!("{} {}", result.name.text, result.ty)),
    );
    lines
}

/// All functions in DOT.
pub fn dot(document: &Document<'_>) -> String {
    let mut out = String::from("digraph mil {\n    node [shape=box, fontname=\"monospace\"];\n");
    for (number, function) in document.functions.iter().enumerate() {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        out += &format!(
            "    subgraph cluster_{number} {{\n        label=\"{}\";\n",
            quoted(function.name.text)
        );
        let boxes = boxes(function);
        for (index, item) in boxes.iter().enumerate() {
            let label = item.lines.iter().map(|line| quoted(line)).collect::<Vec<_>>().join("\\n");
            let style = if item.is_interface { ", style=rounded" } else { "" };
            out += &format!("        f{number}_{index} [label=\"{label}\"{style}];\n");
        }
        for (index, item) in boxes.iter().enumerate() {
            for read in &item.reads {
                out += &format!("        f{number}_{read} -> f{number}_{index};\n");
            }
        }
        out += "    }\n";
    }
    out + "}\n"
}
