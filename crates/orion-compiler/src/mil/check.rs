//! What makes a MIL text valid before any engine looks at it.
//!
//! | code | rule |
//! |---|---|
//! | MIL010 | a name is defined once |
//! | MIL011 | a name is defined somewhere |
//! | MIL012 | and before it is used |
//! | MIL013 | functions have names of their own |
//! | MIL014 | operations are MIL's |
//! | MIL015 | an operation gets every argument that it needs |
//! | MIL016 | and none that it does not know, nor one twice |
//! | MIL017 | what has to be a constant is one |
//! | MIL018 | a constant has the elements and kind of its type |
//! | MIL019 | types are MIL's, and small enough to exist |

use hashbrown::HashMap;

use super::catalogue::{self, Operation};
use super::scope::{Origin, Scope};
use super::syntax::{
    Argument, Dim, Document, Function, Parameter, Statement, Type, TypeArgument, Value, Word,
};
use crate::Diagnostic;
use crate::diagnostic::nearest;

/// Element types of MIL text.
const ELEMENTS: [&str; 22] = [
    "bool",
    "string",
    "fp16",
    "fp32",
    "fp64",
    "bf16",
    "fp8e4m3fn",
    "fp8e5m2",
    "int4",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint1",
    "uint2",
    "uint3",
    "uint4",
    "uint6",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
];
/// Types that are made of others.
const COMPOSED: [&str; 6] = ["tensor", "list", "tuple", "dict", "state", "tensor_buffer"];

/// All breaches, in the order of the text.
pub fn check(document: &Document<'_>) -> Vec<Diagnostic> {
    let mut check = Check { findings: Vec::new() };
    let mut names: HashMap<&str, Word<'_>> = HashMap::new();
    for function in &document.functions {
        if let Some(_earlier) = names.insert(function.name.text, function.name) {
            check.find(
                "MIL013",
                format!("there are two functions `{}`", function.name.text),
                function.name,
            );
        }
        check.function(function);
    }
    check.findings
}

struct Check {
    findings: Vec<Diagnostic>,
}

impl Check {
    fn find(&mut self, code: &'static str, message: String, at: Word<'_>) -> &mut Diagnostic {
        self.findings.push(Diagnostic::new(code, message).at(Some(at.span())));
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn function(&mut self, function: &Function<'_>) {
        let scope = Scope::new(function);
        for &name in scope.defined_again() {
            let message = format!("`{}` is defined twice", name.text);
            self.find("MIL010", message, name).help = Some("give it another name".to_owned());
        }
        function.parameters.iter().for_each(|parameter| self.ty(&parameter.ty));
        for (index, statement) in function.statements.iter().enumerate() {
            statement.results.iter().for_each(|result| self.ty(&result.ty));
            for argument in statement.arguments.iter().chain(&statement.attributes) {
                self.uses(&argument.value, index, &scope);
                self.value(&argument.value);
            }
            self.statement(statement, &scope);
        }
        for &name in &function.results {
            self.usage(name, function.statements.len(), &scope);
        }
    }

    /// Names in `value` are defined before the statement at `index`.
    fn uses(&mut self, value: &Value<'_>, index: usize, scope: &Scope<'_, '_>) {
        match value {
            Value::Name(name) => self.usage(*name, index, scope),
            Value::Typed(typed) => self.uses(&typed.value, index, scope),
            Value::List(items) | Value::Tuple(items) => {
                items.iter().for_each(|item| self.uses(item, index, scope));
            }
            Value::Call(_, arguments) => {
                arguments.iter().for_each(|argument| self.uses(&argument.value, index, scope));
            }
            Value::Dict(_) | Value::Number(_) | Value::String(_) | Value::Bool(_) => {}
        }
    }

    fn usage(&mut self, name: Word<'_>, index: usize, scope: &Scope<'_, '_>) {
        match scope.origin(name.text) {
            Some(Origin::Parameter(_)) => {}
            Some(Origin::Result(at, _)) if at < index => {}
            Some(Origin::Result(at, _)) => {
                let message = if at == index {
                    format!("`{}` is made of itself", name.text)
                } else {
                    format!("`{}` is used before it is defined", name.text)
                };
                self.find("MIL012", message, name);
            }
            None => {
                let help =
                    nearest(name.text, scope.names()).map(|near| format!("did you mean `{near}`?"));
                self.find("MIL011", format!("`{}` is not defined", name.text), name).help = help;
            }
        }
    }

    fn statement(&mut self, statement: &Statement<'_>, scope: &Scope<'_, '_>) {
        if statement.is_const() {
            self.constant(statement);
            return;
        }
        let Some(operation) = catalogue::operation(statement.op.text) else {
            let help =
                catalogue::nearest(statement.op.text).map(|near| format!("did you mean `{near}`?"));
            let message = format!("MIL has no operation `{}`", statement.op.text);
            self.find("MIL014", message, statement.op).help = help;
            return;
        };
        self.arguments(statement, operation, scope);
        for parameter in operation.parameters.iter().filter(|p| p.is_required) {
            if statement.operand(parameter.name).is_none() && !parameter.name.starts_with('_') {
                let message = format!("`{}` lacks `{}`", operation.name, parameter.name);
                self.find("MIL015", message, statement.op);
            }
        }
    }

    fn arguments(
        &mut self,
        statement: &Statement<'_>,
        operation: &Operation,
        scope: &Scope<'_, '_>,
    ) {
        for (index, argument) in statement.arguments.iter().enumerate() {
            let name = argument.name;
            let Some(parameter) = operation.parameter(name.text) else {
                let known = operation.parameters.iter().map(|parameter| parameter.name);
                let help = nearest(name.text, known.clone()).map_or_else(
                    || format!("it takes {}", known.collect::<Vec<_>>().join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                let message = format!("`{}` takes no `{}`", operation.name, name.text);
                self.find("MIL016", message, name).help = Some(help);
                continue;
            };
            if statement.arguments[..index].iter().any(|earlier| earlier.name.text == name.text) {
                self.find("MIL016", format!("`{}` is given twice", name.text), name);
            }
            if parameter.is_constant
                && let Some(word) = argument.value.name()
                && let Some(definition) = scope.origin(word.text)
            {
                let made_by = match definition {
                    Origin::Result(..) => scope.statement(word.text).map(|s| s.op.text),
                    Origin::Parameter(_) => Some("a parameter"),
                };
                let is_constant = made_by.is_some_and(|op| {
                    op == "const"
                        || op.starts_with("constexpr_")
                        || COMPUTED.contains(&(operation.name, name.text))
                });
                if !is_constant {
                    let message =
                        format!("`{}` of `{}` has to be a constant", name.text, operation.name);
                    self.find("MIL017", message, word);
                }
            }
        }
    }

    fn constant(&mut self, statement: &Statement<'_>) {
        let Some(value) = statement.operand("val") else {
            self.find("MIL015", "`const` lacks `val`".to_owned(), statement.op);
            return;
        };
        if let ([Parameter { ty: declared, .. }], Value::Typed(typed)) =
            (statement.results.as_slice(), value)
            && let (Some(declared), Some(found)) = (declared.tensor(), typed.ty.tensor())
            && (declared.0.text != found.0.text || declared.1 != found.1)
        {
            let message =
                format!("the constant is `{}`, and is declared as another type", typed.ty);
            self.find("MIL018", message, typed.ty.head());
        }
    }

    /// Literals in a value fit the types that they are written with.
    fn value(&mut self, value: &Value<'_>) {
        match value {
            Value::Typed(typed) => {
                self.ty(&typed.ty);
                self.literal(&typed.ty, &typed.value);
            }
            Value::List(items) | Value::Tuple(items) => {
                items.iter().for_each(|item| self.value(item))
            }
            Value::Dict(items) => items.iter().for_each(|(_, item)| self.value(item)),
            Value::Call(name, arguments) => self.file(*name, arguments),
            _ => {}
        }
    }

    fn file(&mut self, name: Word<'_>, arguments: &[Argument<'_>]) {
        let find = |wanted: &str| arguments.iter().find(|argument| argument.name.text == wanted);
        if name.text != "BLOBFILE" {
            let message =
                format!("`{}` is no constructor; constants in files are `BLOBFILE(…)`", name.text);
            self.find("MIL018", message, name);
            return;
        }
        for wanted in ["path", "offset"] {
            if find(wanted).is_none() {
                self.find("MIL015", format!("`BLOBFILE` lacks `{wanted}`"), name);
            }
        }
        arguments.iter().for_each(|argument| self.value(&argument.value));
    }

    fn literal(&mut self, ty: &Type<'_>, literal: &Value<'_>) {
        if let Value::Call(name, arguments) = literal {
            self.file(*name, arguments);
            return;
        }
        let Some((element, dims)) = ty.tensor() else { return };
        let mut wrong = None;
        let count = count(literal, &mut |item| {
            let fits = match item {
                Value::String(_) => element.text == "string",
                Value::Bool(_) => element.text == "bool",
                Value::Number(word) => {
                    element.text != "string"
                        && (element.text != "bool" || matches!(word.text, "0" | "1"))
                        && (element.text.contains("fp")
                            || element.text == "bf16"
                            || is_whole(word.text))
                }
                _ => true,
            };
            if !fits && wrong.is_none() {
                wrong = Some(item.to_string());
            }
        });
        if let Some(wrong) = wrong {
            self.find("MIL018", format!("`{wrong}` is no `{}`", element.text), element);
        }
        let expected = elements(dims).unwrap_or(None);
        if expected.is_some_and(|expected| expected != count) {
            let expected = expected.unwrap_or_default();
            self.find(
                "MIL018",
                format!("`{ty}` has {expected} elements, here are {count}"),
                element,
            );
        }
    }

    fn ty(&mut self, ty: &Type<'_>) {
        let head = ty.head();
        let is_known = match ty {
            Type::Simple(word) => is_element(word.text),
            Type::Tensor { element, .. } => is_element(element.text),
            Type::Composed { .. } => COMPOSED.contains(&head.text),
        };
        if !is_known {
            let wrong = if let Type::Tensor { element, .. } = ty { *element } else { head };
            let help = if is_element(wrong.text) || COMPOSED.contains(&wrong.text) {
                Some("a tensor is `tensor<fp16, [1, 64]>`, a number `fp16`".to_owned())
            } else {
                let names = ELEMENTS.iter().chain(&COMPOSED).copied();
                nearest(wrong.text, names).map(|near| format!("did you mean `{near}`?"))
            };
            self.find("MIL019", format!("`{}` is no type here", wrong.text), wrong).help = help;
            return;
        }
        match ty {
            Type::Tensor { dims, .. } if elements(dims).is_err() => {
                self.find("MIL019", format!("`{ty}` is larger than any memory"), head);
            }
            Type::Composed { arguments, .. } => {
                for argument in arguments {
                    if let TypeArgument::Type(inner) = argument {
                        self.ty(inner);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether it is one of [`ELEMENTS`].
fn is_element(name: &str) -> bool {
    match name.len() {
        4 => matches!(name, "fp16" | "bool" | "fp32" | "int8" | "bf16" | "int4" | "fp64"),
        5 | 6 => matches!(name, "int32" | "string" | "uint8") || ELEMENTS.contains(&name),
        _ => ELEMENTS.contains(&name),
    }
}

/// Arguments that coremltools wants constant, and that compiled programs compute.
const COMPUTED: [(&str, &str); 2] = [("linear", "weight"), ("linear", "bias")];

/// Elements of a tensor; `None` where a dimension is unknown.
///
/// # Errors
/// When there are more than memory can hold.
pub(super) fn elements(dims: &[Dim]) -> Result<Option<u64>, ()> {
    let mut product = Some(1_u64);
    for dim in dims {
        let Some(size) = dim.known() else {
            product = None;
            continue;
        };
        let large =
            product.unwrap_or(1).checked_mul(size).filter(|&product| product < 1 << 56).ok_or(())?;
        product = product.map(|_| large);
    }
    Ok(product)
}

fn count(value: &Value<'_>, see: &mut dyn FnMut(&Value<'_>)) -> u64 {
    match value {
        Value::List(items) | Value::Tuple(items) => items.iter().map(|item| count(item, see)).sum(),
        _ => {
            see(value);
            1
        }
    }
}

fn is_whole(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    let hexadecimal = digits
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hexadecimal || digits.bytes().all(|byte| byte.is_ascii_digit())
}
