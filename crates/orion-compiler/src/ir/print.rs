//! The text form of a program, canonical and lossless: parsing it gives the same program.
//!
//! ```text
//! program norm {
//!   input %0 "x": f32[2,8]
//!   weight %1 "scale": f32[8]
//!   state %2 "sum": f32[8] -> %4
//!   %3: f32[2,8] = rms_norm(%0, %1) {eps = 1e-5} @ model.norm
//!   %4: f32[8] = reduce_sum(%3) {axes = [0], keep = false}
//!   output %3 "y"
//! }
//! ```

use std::collections::BTreeSet;
use std::fmt;

use super::lex::is_plain_word;
use super::program::{Program, ValueId};

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = names(self);
        let name =
            |value: ValueId| -> &str { names.get(value.index()).map_or("?", String::as_str) };
        let title = if is_plain_word(&self.name) { self.name.clone() } else { quoted(&self.name) };
        writeln!(f, "program {title} {{")?;
        for (keyword, parameters) in [("input", &self.inputs), ("weight", &self.weights)] {
            for parameter in parameters {
                let ty = self.type_of(parameter.value);
                writeln!(
                    f,
                    "  {keyword} %{} {}: {ty}",
                    name(parameter.value),
                    quoted(&parameter.name)
                )?;
            }
        }
        for state in &self.states {
            let (value, next) = (name(state.value), name(state.next));
            let ty = self.type_of(state.value);
            writeln!(f, "  state %{value} {}: {ty} -> %{next}", quoted(&state.name))?;
        }
        for (_, node) in self.nodes() {
            f.write_str("  ")?;
            for (index, &output) in node.outputs.iter().enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                write!(f, "{comma}%{}: {}", name(output), self.type_of(output))?;
            }
            write!(f, " = {}(", node.op.name())?;
            for (index, &input) in node.inputs.iter().enumerate() {
                write!(f, "{}%{}", if index == 0 { "" } else { ", " }, name(input))?;
            }
            f.write_str(")")?;
            let attributes = node.op.attributes();
            for (index, (field, attribute)) in attributes.iter().enumerate() {
                write!(f, "{}{field} = {attribute}", if index == 0 { " {" } else { ", " })?;
            }
            if !attributes.is_empty() {
                f.write_str("}")?;
            }
            if !node.scope.is_empty() {
                write!(f, " @ {}", node.scope)?;
            }
            writeln!(f)?;
        }
        for output in &self.outputs {
            writeln!(f, "  output %{} {}", name(output.value), quoted(&output.name))?;
        }
        writeln!(f, "}}")
    }
}

/// A name in quotes with `"`, `\` and control characters escaped.
fn quoted(name: &str) -> String {
    let mut text = String::from("\"");
    for c in name.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            c if c.is_control() => text.extend(c.escape_unicode()),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// What each value is called: the name that the text gave where it is unique, else a number in order of definition.
fn names(program: &Program) -> Vec<String> {
    let parameters = program.inputs.iter().chain(&program.weights).map(|p| p.value);
    let states = program.states.iter().map(|state| state.value);
    let results = program.nodes().flat_map(|(_, node)| node.outputs.iter().copied());
    let defined: Vec<ValueId> = parameters.chain(states).chain(results).collect();

    let mut names = vec![String::from("?"); program.values.len()];
    let mut taken = BTreeSet::new();
    for &value in &defined {
        if let Some(name) = &program.values[value.index()].name
            && taken.insert(name.to_string())
        {
            names[value.index()] = name.to_string();
        }
    }
    let mut next = 0_usize;
    for &value in &defined {
        if names[value.index()] == "?" {
            while taken.contains(&next.to_string()) {
                next += 1;
            }
            names[value.index()] = next.to_string();
            next += 1;
        }
    }
    names
}
