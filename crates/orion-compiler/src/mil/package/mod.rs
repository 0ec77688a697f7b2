//! MIL as an `.mlpackage`, which Core ML and coremltools read: the program in protocol buffers (`MIL.proto` and
//! `Model.proto` of coremltools), a manifest, and the files of constants as they are.

mod value;
mod wire;

use std::collections::BTreeSet;

use value::{string, value, value_type};
use wire::Message;

use super::catalogue;
use super::syntax::{Document, Function, Parameter, Statement, Type, TypeArgument, Value, unquote};

/// Why a text cannot be put into a package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PackageError(pub String);

/// Where files of constants lie in a package; `@model_path` stands for the folder above.
pub const FOLDER: &str = "Data/com.apple.CoreML";

/// A package but for the files of constants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Paths in the package, and contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// Files of constants that go into [`FOLDER`], relative to `@model_path`.
    pub constants: BTreeSet<String>,
}

/// The package of a text.
///
/// # Errors
/// When the text uses what a package has no place for.
pub fn package(document: &Document<'_>) -> Result<Package, PackageError> {
    let constants = constant_files(document)?;
    let item = |number: u32, description: &str, name: &str| {
        format!(
            "        \"{IDENTIFIER}{number}\": {{\n            \"author\": \"com.apple.CoreML\",\n            \
             \"description\": \"CoreML Model {description}\",\n            \"name\": \"{name}\",\n            \
             \"path\": \"com.apple.CoreML/{name}\"\n        }}"
        )
    };
    let mut items = vec![item(1, "Specification", "model.mlmodel")];
    if !constants.is_empty() {
        items.push(item(2, "Weights", "weights"));
    }
    let manifest = format!(
        "{{\n    \"fileFormatVersion\": \"1.0.0\",\n    \"itemInfoEntries\": {{\n{}\n    }},\n    \
         \"rootModelIdentifier\": \"{IDENTIFIER}1\"\n}}\n",
        items.join(",\n")
    );
    let model = model(document)?.into_bytes();
    let files = vec![
        (format!("{FOLDER}/model.mlmodel"), model),
        ("Manifest.json".to_owned(), manifest.into_bytes()),
    ];
    Ok(Package { files, constants })
}

/// Identifiers tell the items of one package apart; those of all packages are the same.
const IDENTIFIER: &str = "4F52494F-4E00-4000-8000-00000000000";

/// Files that the text names. A package has one folder for them.
fn constant_files(document: &Document<'_>) -> Result<BTreeSet<String>, PackageError> {
    let mut files = BTreeSet::new();
    let statements = document.functions.iter().flat_map(|function| &function.statements);
    for argument in statements.flat_map(|s| s.arguments.iter().chain(&s.attributes)) {
        let Value::Call(_, arguments) = argument.value.bare() else { continue };
        let path = arguments.iter().find(|argument| argument.name.text == "path");
        let Some(Value::String(word)) = path.map(|path| path.value.bare()) else { continue };
        let text = unquote(word.text);
        let inside = text.strip_prefix("@model_path/").filter(|path| {
            let mut parts = path.split('/');
            parts.next() == Some("weights") && parts.all(|part| !matches!(part, "" | "." | ".."))
        });
        let refuse = || {
            PackageError(format!(
                "`{text}` is not in `@model_path/weights`, where a package has its constants"
            ))
        };
        files.insert(inside.ok_or_else(refuse)?.to_owned());
    }
    Ok(files)
}

/// The version of the specification, and its name for the operation set.
fn version(opset: Option<&str>) -> Result<(u64, &'static str), PackageError> {
    Ok(match opset {
        Some("ios15") => (6, "CoreML5"),
        Some("ios16") => (7, "CoreML6"),
        Some("ios17") => (8, "CoreML7"),
        Some("ios18") | None => (9, "CoreML8"),
        Some(other) => {
            return Err(PackageError(format!(
                "no package is known for the operation set `{other}`"
            )));
        }
    })
}

/// `Model`.
fn model(document: &Document<'_>) -> Result<Message, PackageError> {
    let first = document
        .functions
        .first()
        .ok_or_else(|| PackageError("there is no function".to_owned()))?;
    let mut newest = 0;
    let mut program = Message::default().number(1, 1);
    for item in &document.functions {
        let (number, _) = version(item.opset.map(|opset| opset.text))?;
        newest = newest.max(number);
        program = program.entry(2, item.name.text, &function(item)?);
    }
    let description = if let [only] = document.functions.as_slice() {
        let [inputs, outputs, states] = features(only)?;
        Message::default().messages(1, inputs).messages(10, outputs).messages(13, states)
    } else {
        let mut description = Message::default();
        for item in &document.functions {
            let [inputs, outputs, states] = features(item)?;
            let function = Message::default().text(1, item.name.text);
            let function = function.messages(2, inputs).messages(3, outputs).messages(6, states);
            description = description.message(20, &function);
        }
        description.text(21, first.name.text)
    };
    Ok(Message::default().number(1, newest).message(2, &description).message(502, &program))
}

/// `FeatureDescription` of inputs, results and states.
fn features(function: &Function<'_>) -> Result<[Vec<Message>; 3], PackageError> {
    let [mut inputs, mut outputs, mut states] = [const { Vec::new() }; 3];
    let described = |name: &str, ty: Message| Message::default().text(1, name).message(3, &ty);
    for parameter in &function.parameters {
        let name = parameter.name.text;
        match &parameter.ty {
            Type::Composed { head, arguments } if head.text == "state" => {
                let Some(TypeArgument::Type(inner)) = arguments.first() else { continue };
                let state = Message::default().message(1, &array(inner)?);
                states.push(described(name, Message::default().message(8, &state)));
            }
            ty => inputs.push(described(name, Message::default().message(5, &array(ty)?))),
        }
    }
    for result in &function.results {
        let statements = function.statements.iter().flat_map(|statement| &statement.results);
        let mut all = function.parameters.iter().chain(statements);
        let defined = all.find(|defined| defined.name.text == result.text);
        let defined =
            defined.ok_or_else(|| PackageError(format!("`{}` is not defined", result.text)))?;
        outputs.push(described(result.text, Message::default().message(5, &array(&defined.ty)?)));
    }
    Ok([inputs, outputs, states])
}

/// `ArrayFeatureType`.
fn array(ty: &Type<'_>) -> Result<Message, PackageError> {
    let refuse = || {
        PackageError(format!("`{ty}` is no input or result of Core ML: fp16, fp32 and int32 are"))
    };
    let (element, dims) = ty.tensor().ok_or_else(refuse)?;
    let kind = match element.text {
        "fp16" => 65_552,
        "fp32" => 65_568,
        "int32" => 131_104,
        "int8" => 131_080,
        _ => return Err(refuse()),
    };
    let mut sizes = Vec::new();
    for dim in dims {
        let Some(size) = dim.known() else { return Err(refuse()) };
        sizes.push(size.cast_signed());
    }
    let shape =
        if sizes.is_empty() { Message::default() } else { Message::default().packed(1, sizes) };
    Ok(shape.number(2, kind))
}

/// `Function`.
fn function(function: &Function<'_>) -> Result<Message, PackageError> {
    let (_, opset) = version(function.opset.map(|opset| opset.text))?;
    let mut block = Message::default();
    for result in &function.results {
        block = block.text(2, result.text);
    }
    for statement in &function.statements {
        block = block.message(3, &operation(statement)?);
    }
    let inputs = function.parameters.iter().map(named).collect::<Result<Vec<_>, _>>()?;
    Ok(Message::default().messages(1, inputs).text(2, opset).entry(3, opset, &block))
}

/// `NamedValueType`.
fn named(parameter: &Parameter<'_>) -> Result<Message, PackageError> {
    Ok(Message::default().text(1, parameter.name.text).message(2, &value_type(&parameter.ty)?))
}

/// `Operation`. What is noted about an operation by tools stays behind, but for its name.
fn operation(statement: &Statement<'_>) -> Result<Message, PackageError> {
    let mut message = Message::default().text(1, statement.op.text);
    let is_const = statement.is_const();
    for argument in statement.arguments.iter().filter(|_| !is_const) {
        message = message.entry(2, argument.name.text, &bindings(&argument.value)?);
    }
    for result in &statement.results {
        message = message.message(3, &named(result)?);
    }
    let operation = catalogue::operation(statement.op.text);
    let mut has_name = false;
    for attribute in
        statement.attributes.iter().chain(statement.arguments.iter().filter(|_| is_const))
    {
        let name = attribute.name.text;
        has_name |= name == "name";
        let is_operand = operation.is_some_and(|operation| operation.parameter(name).is_some());
        if name == "name" || is_operand {
            message = message.entry(5, name, &value(&attribute.value)?);
        }
    }
    if let (false, Some(result)) = (has_name, statement.results.first()) {
        message = message.entry(5, "name", &string(result.name.text));
    }
    Ok(message)
}

/// `Argument`: names and constants.
fn bindings(value_of: &Value<'_>) -> Result<Message, PackageError> {
    let bind = |item: &Value<'_>| match item {
        Value::Name(word) => Ok(Message::default().text(1, word.text)),
        other => Ok(Message::default().message(2, &value(other)?)),
    };
    let items = match value_of {
        Value::Tuple(items) => items.iter().map(bind).collect::<Result<Vec<_>, PackageError>>()?,
        one => vec![bind(one)?],
    };
    Ok(Message::default().messages(1, items))
}
