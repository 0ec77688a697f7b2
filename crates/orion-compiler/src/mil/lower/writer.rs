//! The text under construction: names, constants, types and statements in canonical form.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};

use half::f16;

use super::{Constant, Content, Lowered, Part, Port, Storage};
use crate::ir::program::{Definition, Node, Parameter, Program, ValueId};
use crate::op;
use crate::target::{Route, Target};
use crate::{DType, Diagnostic, Op, Tensor, TensorType};

/// Elements up to which a constant stands in the text.
const SHORT: usize = 32;
/// Bytes that rows of a surface are multiples of.
const ROW: usize = 64;

pub(super) struct Writer<'p> {
    pub(super) program: &'p Program,
    pub(super) target: Target,
    pub(super) storage: Storage,
    /// Statements so far.
    pub(super) body: String,
    taken: BTreeSet<String>,
    /// What the text calls a value.
    names: BTreeMap<ValueId, String>,
    /// Constants by type and literal.
    literals: BTreeMap<String, String>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    pub(super) constants: Vec<Constant>,
    /// Results that are cast at the end: the name inside, and the port.
    casts: Vec<(String, usize)>,
    /// Results that are equal to another value.
    copies: Vec<(ValueId, usize)>,
}

impl<'p> Writer<'p> {
    pub(super) fn new(program: &'p Program, target: Target, storage: Storage) -> Self {
        Self {
            program,
            target,
            storage,
            body: String::new(),
            taken: BTreeSet::new(),
            names: BTreeMap::new(),
            literals: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            constants: Vec::new(),
            casts: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Names the signature.
    pub(super) fn begin(&mut self) -> Result<(), Diagnostic> {
        let program = self.program;
        self.inputs = self.ports(program.inputs());
        self.outputs = self.ports(program.outputs());
        for index in 0..self.inputs.len() {
            let port = self.inputs[index].clone();
            let value = value_of(program.inputs(), &port.parameter)?;
            let name = if port.ty.dtype == DType::F32 {
                self.cast(&port.name.clone(), &port.name, program.type_of(value), "fp16")
            } else {
                port.name
            };
            self.names.insert(value, name);
        }
        for index in 0..self.outputs.len() {
            let port = self.outputs[index].clone();
            let value = value_of(program.outputs(), &port.parameter)?;
            let is_made = program.producer(value).is_some() && !self.names.contains_key(&value);
            let inner = if port.ty.dtype == DType::F32 {
                let inner = self.free(&format!("{}_fp16", port.name));
                self.casts.push((inner.clone(), index));
                inner
            } else {
                port.name.clone()
            };
            if is_made {
                self.names.insert(value, inner);
                continue;
            }
            // A parameter, or another result too.
            self.casts.retain(|(_, at)| *at != index);
            self.outputs[index].ty = program.type_of(value).clone();
            self.copies.push((value, index));
        }
        Ok(())
    }

    /// Ports in the order of their names.
    fn ports(&mut self, parameters: &[Parameter]) -> Vec<Port> {
        let mut ports: Vec<Port> = (parameters.iter())
            .map(|parameter| Port {
                name: self.free(&identifier(&parameter.name)),
                parameter: parameter.name.clone(),
                ty: self.surface(self.program.type_of(parameter.value)),
            })
            .collect();
        ports.sort_by(|a, b| a.name.cmp(&b.name));
        ports
    }

    /// The type of a surface for values of this type.
    fn surface(&self, ty: &TensorType) -> TensorType {
        let width = ty.dim(-1);
        let helps = !(2 * width).is_multiple_of(ROW) && (4 * width).is_multiple_of(ROW);
        if self.target.route == Route::InMemory && helps {
            ty.with_dtype(DType::F32)
        } else {
            ty.clone()
        }
    }

    fn cast(&mut self, from: &str, stem: &str, ty: &TensorType, to: &str) -> String {
        let dtype = self.string("dtype", to);
        let name = self.free(&format!("{stem}_{to}"));
        let arguments = [("dtype", dtype), ("x", from.to_owned())];
        let ty = ty.with_dtype(if to == "fp16" { DType::F16 } else { DType::F32 });
        self.line(&[(&ty, &name)], "cast", &arguments);
        name
    }

    /// A name that nothing has, as near to `stem` as there is one.
    pub(super) fn free(&mut self, stem: &str) -> String {
        let mut name = stem.to_owned();
        let mut count = 1;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{stem}_{count}");
        }
        name
    }

    /// What the text calls a value; constants and weights are written when they are first asked for.
    pub(super) fn name(&mut self, value: ValueId) -> Result<String, Diagnostic> {
        if let Some(known) = self.names.get(&value) {
            return Ok(known.clone());
        }
        let ty = self.program.type_of(value).clone();
        let name = match self.program.definition(value) {
            Definition::Weight(index) => {
                let weight = self.program.weights()[index].name.clone();
                self.file(&weight, &ty.shape, Content::Weight(weight.clone()))
            }
            Definition::Node(id, _) => match &self.program.node(id).op {
                Op::Constant(constant) => self.constant(constant, &ty)?,
                other => {
                    let message = format!("`{}` is used before it is computed", other.name());
                    return Err(Diagnostic::new("MIL043", message));
                }
            },
            Definition::Input(_) | Definition::State(_) => {
                let message = "a state has no form on the engine; make it an input and an output";
                return Err(Diagnostic::new("MIL040", message));
            }
        };
        self.names.insert(value, name.clone());
        Ok(name)
    }

    fn constant(&mut self, constant: &op::Constant, ty: &TensorType) -> Result<String, Diagnostic> {
        if ty.dtype != DType::F16 {
            let message = format!("a constant is {ty}; the engine computes in f16");
            return Err(Diagnostic::new("MIL041", message));
        }
        if ty.rank() == 0 {
            return Ok(self.number(constant.values.first().copied().unwrap_or(0.0)));
        }
        let repeated = constant.values.len() == 1;
        let values: Vec<f64> = if repeated {
            vec![constant.values[0]; ty.elements()]
        } else {
            constant.values.clone()
        };
        if values.len() <= SHORT {
            let list: Vec<String> = values.iter().map(|&value| hexadecimal(value)).collect();
            return Ok(self.literal("constant", &Shown(ty).to_string(), &bracketed(&list)));
        }
        Ok(self.file("constant", &ty.shape, Content::Literal(Tensor::real(ty.clone(), values))))
    }

    /// A constant in a file of its own, read with this shape.
    pub(super) fn file(&mut self, stem: &str, shape: &[usize], content: Content) -> String {
        let name = self.free(&identifier(stem));
        let ty = TensorType::new(DType::F16, shape);
        let path = format!("@model_path/weights/{name}.bin");
        let _ = writeln!(
            self.body,
            "            {} {name} = const()[name = string(\"{name}\"), val = {}(BLOBFILE(path = \
             string(\"{path}\"), offset = uint64(64)))];",
            Shown(&ty),
            Shown(&ty)
        );
        self.constants.push(Constant { path, ty, content, part: Part::Numbers });
        name
    }

    /// A constant of the text; equal ones are one.
    fn literal(&mut self, stem: &str, ty: &str, value: &str) -> String {
        let key = format!("{stem}:{ty}({value})");
        if let Some(known) = self.literals.get(&key) {
            return known.clone();
        }
        let name = self.free(stem);
        let _ = writeln!(
            self.body,
            "            {ty} {name} = const()[name = string(\"{name}\"), val = {ty}({value})];"
        );
        self.literals.insert(key, name.clone());
        name
    }

    /// An `fp16` number.
    pub(super) fn number(&mut self, value: f64) -> String {
        self.literal("number", "fp16", &hexadecimal(value))
    }

    pub(super) fn int(&mut self, stem: &str, value: i64) -> String {
        self.literal(&named_after(stem, &[value]), "int32", &value.to_string())
    }

    pub(super) fn ints(&mut self, stem: &str, values: &[i64]) -> String {
        let list: Vec<String> = values.iter().map(ToString::to_string).collect();
        let ty = format!("tensor<int32, [{}]>", values.len());
        self.literal(&named_after(stem, values), &ty, &bracketed(&list))
    }

    pub(super) fn dims(&mut self, stem: &str, values: &[usize]) -> String {
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        self.ints(stem, &values)
    }

    pub(super) fn flag(&mut self, value: bool) -> String {
        let value = if value { "true" } else { "false" };
        self.literal(&format!("is_{value}"), "bool", value)
    }

    pub(super) fn string(&mut self, stem: &str, value: &str) -> String {
        self.literal(&format!("{stem}_{value}"), "string", &format!("\"{value}\""))
    }

    /// A statement for a node's results: what a lowering ends with.
    #[expect(clippy::unnecessary_wraps, reason = "lowerings end with it and give a result")]
    pub(super) fn node(
        &mut self,
        node: &Node,
        op: &str,
        arguments: &[(&str, String)],
    ) -> Result<(), Diagnostic> {
        let mut results = Vec::with_capacity(node.outputs.len());
        for &value in &node.outputs {
            let name = match self.names.get(&value) {
                Some(reserved) => reserved.clone(),
                None => {
                    let name = self.free(&stem_of(node));
                    self.names.insert(value, name.clone());
                    name
                }
            };
            results.push((self.program.type_of(value).clone(), name));
        }
        let results: Vec<(&TensorType, &str)> =
            results.iter().map(|(ty, name)| (ty, name.as_str())).collect();
        self.line(&results, op, arguments);
        Ok(())
    }

    /// A statement between those of nodes; gives its name.
    pub(super) fn inner(
        &mut self,
        node: &Node,
        ty: &TensorType,
        op: &str,
        arguments: &[(&str, String)],
    ) -> String {
        let name = self.free(&stem_of(node));
        self.line(&[(ty, &name)], op, arguments);
        name
    }

    fn line(&mut self, results: &[(&TensorType, &str)], op: &str, arguments: &[(&str, String)]) {
        let out = &mut self.body;
        out.push_str("            ");
        for (index, (ty, name)) in results.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(out, "{comma}{} {name}", Shown(ty));
        }
        let _ = write!(out, " = {op}(");
        for (index, (name, value)) in arguments.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(out, "{comma}{name} = {value}");
        }
        let name = results.first().map_or("", |(_, name)| name);
        let _ = writeln!(out, ")[name = string(\"{name}\")];");
    }

    /// What a value is read as: the same memory under another name.
    pub(super) fn alias(&mut self, value: ValueId, of: ValueId) -> Result<(), Diagnostic> {
        let name = self.name(of)?;
        self.names.insert(value, name);
        Ok(())
    }

    /// Whether a value has to be made under a name of its own.
    pub(super) fn is_reserved(&self, value: ValueId) -> bool {
        self.names.contains_key(&value)
    }

    pub(super) fn finish(mut self) -> Result<Lowered, Diagnostic> {
        for (inner, index) in std::mem::take(&mut self.casts) {
            let dtype = self.string("dtype", "fp32");
            let port = self.outputs[index].clone();
            let arguments = [("dtype", dtype), ("x", inner)];
            self.line(&[(&port.ty, &port.name)], "cast", &arguments);
        }
        for (value, index) in std::mem::take(&mut self.copies) {
            let (from, one) = (self.name(value)?, self.number(1.0));
            let port = self.outputs[index].clone();
            self.line(&[(&port.ty, &port.name)], "mul", &[("x", from), ("y", one)]);
        }
        let mut text = String::with_capacity(self.body.len() + 1024);
        text.push_str(
            "program(1.3)\n[buildInfo = dict<string, string>({{\"coremlc-component-MIL\", \
             \"3510.2.1\"}, {\"coremlc-version\", \"3505.4.1\"}, \
             {\"coremltools-component-milinternal\", \"\"}, {\"coremltools-version\", \"9.0\"}})]\n{\n    \
             func main<ios18>(",
        );
        for (index, port) in self.inputs.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}{} {}", Shown(&port.ty), port.name);
        }
        text.push_str(") {\n");
        text.push_str(&self.body);
        text.push_str("        } -> (");
        for (index, port) in self.outputs.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}{}", port.name);
        }
        text.push_str(");\n}\n");
        let Self { inputs, outputs, constants, .. } = self;
        Ok(Lowered { text, inputs, outputs, constants })
    }
}

fn value_of(parameters: &[Parameter], name: &str) -> Result<ValueId, Diagnostic> {
    let found = parameters.iter().find(|parameter| parameter.name == name);
    found
        .map(|parameter| parameter.value)
        .ok_or_else(|| Diagnostic::new("MIL043", format!("there is no `{name}`")))
}

/// A type in MIL.
pub(super) struct Shown<'t>(pub(super) &'t TensorType);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let element = match self.0.dtype {
            DType::F16 => "fp16",
            DType::I32 => "int32",
            DType::Bool => "bool",
            _ => "fp32",
        };
        if self.0.shape.is_empty() {
            return f.write_str(element);
        }
        write!(f, "tensor<{element}, [")?;
        for (index, dim) in self.0.shape.iter().enumerate() {
            write!(f, "{}{dim}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str("]>")
    }
}

/// A name that MIL allows: letters, digits and `_`.
pub(super) fn identifier(name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let mut result: String = name.chars().map(plain).collect();
    if !result.starts_with(|first: char| first.is_ascii_alphabetic()) {
        result.insert_str(0, "v_");
    }
    result
}

/// A node's result is called as the part of the model that it belongs to.
fn stem_of(node: &Node) -> String {
    let scope = node.scope.split('/').next().unwrap_or_default();
    let is_word = |part: &&str| !part.is_empty() && !part.starts_with(|c: char| c.is_ascii_digit());
    let mut parts: Vec<&str> = scope.split('.').filter(is_word).collect();
    parts.drain(..parts.len().saturating_sub(2));
    parts.push(node.op.name());
    identifier(&parts.join("_"))
}

fn named_after(stem: &str, values: &[i64]) -> String {
    let mut name = stem.to_owned();
    for value in values {
        let _ = match value {
            0.. => write!(name, "_{value}"),
            _ => write!(name, "_m{}", value.unsigned_abs()),
        };
    }
    name
}

fn bracketed(list: &[String]) -> String {
    format!("[{}]", list.join(", "))
}

/// An `f16` number in C's hexadecimal form, which is exact: `0x1.8p-3`.
pub(super) fn hexadecimal(value: f64) -> String {
    let value = f16::from_f64(value).to_f64();
    if !value.is_finite() {
        let sign = if value < 0.0 { "-" } else { "" };
        return if value.is_nan() { "nan".to_owned() } else { format!("{sign}inf") };
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value == 0.0 {
        return format!("{sign}0x0p+0");
    }
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i64 - 1023;
    let fraction = format!("{:013x}", bits & ((1 << 52) - 1));
    let digits = fraction.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}0x1{point}{digits}p{exponent:+}")
}
