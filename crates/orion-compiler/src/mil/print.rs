//! The canonical form of MIL text: that of Core ML's own compiler, so that its files stay as they are. A line is a
//! statement; comments keep their place before the statement that follows them.

use std::fmt;

use super::syntax::{
    Argument, Dim, Document, Function, Parameter, Statement, Type, TypeArgument, Value,
};

/// The canonical text.
pub fn print(document: &Document<'_>) -> String {
    let mut out = String::new();
    print_into(document, &mut out);
    out
}

/// Appends the canonical text.
pub fn print_into(document: &Document<'_>, out: &mut String) {
    comments(&document.comments, "", out);
    join(&["program(", document.version.text, ")\n"], out);
    if !document.attributes.is_empty() {
        attributes(&document.attributes, out);
        out.push('\n');
    }
    out.push_str("{\n");
    for function in &document.functions {
        print_function(function, out);
    }
    comments(&document.last_comments, "    ", out);
    out.push_str("}\n");
}

impl fmt::Display for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

impl fmt::Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        print_type(self, &mut out);
        f.write_str(&out)
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        print_value(self, &mut out);
        f.write_str(&out)
    }
}

fn print_function(function: &Function<'_>, out: &mut String) {
    comments(&function.comments, "    ", out);
    join(&["    func ", function.name.text], out);
    if let Some(opset) = function.opset {
        join(&["<", opset.text, ">"], out);
    }
    out.push('(');
    separated(&function.parameters, out, print_parameter);
    out.push_str(") ");
    if !function.attributes.is_empty() {
        attributes(&function.attributes, out);
        out.push(' ');
    }
    out.push_str("{\n");
    for statement in &function.statements {
        comments(&statement.comments, "            ", out);
        out.push_str("            ");
        print_statement(statement, out);
    }
    comments(&function.last_comments, "            ", out);
    out.push_str("        } -> (");
    separated(&function.results, out, |result, out| out.push_str(result.text));
    out.push_str(");\n");
}

fn print_statement(statement: &Statement<'_>, out: &mut String) {
    separated(&statement.results, out, print_parameter);
    if !statement.results.is_empty() {
        out.push_str(" = ");
    }
    out.push_str(statement.op.text);
    if let Some(opset) = statement.opset {
        join(&["<", opset.text, ">"], out);
    }
    out.push('(');
    separated(&statement.arguments, out, print_argument);
    out.push(')');
    if !statement.attributes.is_empty() {
        attributes(&statement.attributes, out);
    }
    out.push_str(";\n");
}

fn attributes(list: &[Argument<'_>], out: &mut String) {
    out.push('[');
    separated(list, out, print_argument);
    out.push(']');
}

fn print_argument(argument: &Argument<'_>, out: &mut String) {
    join(&[argument.name.text, " = "], out);
    print_value(&argument.value, out);
}

fn print_parameter(parameter: &Parameter<'_>, out: &mut String) {
    print_type(&parameter.ty, out);
    join(&[" ", parameter.name.text], out);
}

fn print_type(ty: &Type<'_>, out: &mut String) {
    out.push_str(ty.head().text);
    let arguments = match ty {
        Type::Simple(_) => return,
        Type::Tensor { element, dims, .. } => {
            join(&["<", element.text, ", "], out);
            print_dims(dims, out);
            out.push('>');
            return;
        }
        Type::Composed { arguments, .. } => arguments,
    };
    out.push('<');
    separated(arguments, out, |argument, out| match argument {
        TypeArgument::Type(ty) => print_type(ty, out),
        TypeArgument::Dims(dims) => print_dims(dims, out),
        TypeArgument::Length(dim) => print_dim(*dim, out),
        TypeArgument::Named(name, dims) => {
            join(&[name.text, "="], out);
            print_dims(dims, out);
        }
    });
    out.push('>');
}

fn print_dims(dims: &[Dim], out: &mut String) {
    out.push('[');
    separated(dims, out, |dim, out| print_dim(*dim, out));
    out.push(']');
}

fn print_dim(dim: Dim, out: &mut String) {
    match dim.known() {
        None => out.push('?'),
        Some(elements) => {
            let mut digits = [0_u8; 20];
            let (mut rest, mut at) = (elements, digits.len());
            loop {
                at -= 1;
                digits[at] = b'0' + (rest % 10) as u8;
                rest /= 10;
                if rest == 0 {
                    break;
                }
            }
            digits[at..].iter().for_each(|&digit| out.push(char::from(digit)));
        }
    }
}

fn print_value(value: &Value<'_>, out: &mut String) {
    match value {
        Value::Name(word) | Value::Number(word) | Value::String(word) | Value::Bool(word) => {
            out.push_str(word.text);
        }
        Value::Typed(typed) => {
            print_type(&typed.ty, out);
            out.push('(');
            print_value(&typed.value, out);
            out.push(')');
        }
        Value::Call(name, arguments) => {
            join(&[name.text, "("], out);
            separated(arguments, out, print_argument);
            out.push(')');
        }
        Value::List(items) => {
            out.push('[');
            separated(items, out, print_value);
            out.push(']');
        }
        Value::Tuple(items) => {
            out.push('(');
            separated(items, out, print_value);
            out.push(')');
        }
        Value::Dict(items) => {
            out.push('{');
            separated(items, out, |(key, value), out| {
                out.push('{');
                print_value(key, out);
                out.push_str(", ");
                print_value(value, out);
                out.push('}');
            });
            out.push('}');
        }
    }
}

fn separated<T>(items: &[T], out: &mut String, mut print: impl FnMut(&T, &mut String)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        print(item, out);
    }
}

fn comments(list: &[&str], indent: &str, out: &mut String) {
    list.iter().for_each(|comment| join(&[indent, comment, "\n"], out));
}

fn join(parts: &[&str], out: &mut String) {
    parts.iter().for_each(|part| out.push_str(part));
}
