//! MIL as a graph: its meaning, so that any text can be interpreted, simulated and costed. Constants in files become
//! weights, literals become constants of the graph, and every declared type is checked against what the operation gives.
//!
//! | code | rule |
//! |---|---|
//! | MIL030 | the operation, or this use of it, has a meaning in the graph |
//! | MIL031 | dimensions are numbers |
//! | MIL032 | a result has the type that its operation gives |
//! | MIL033 | operands fit the operation |
//! | MIL034 | constants are where the text says, and of its types |

mod call;
mod constant;
mod constexpr;
mod elementwise;
mod matrix;
mod norm;
mod reduce;
mod shape;
mod state;

use std::collections::BTreeMap;

use super::scope::Scope;
use super::syntax::{self, Function, Statement, Type, Word};
use crate::{Builder, DType, Diagnostic, Program, Tensor, TensorType, Value};
use call::{Call, axis_of};

/// Where files of constants are looked for.
pub trait Files {
    /// The bytes of the file that the text calls so; `None` if there is none.
    fn bytes(&self, path: &str) -> Option<&[u8]>;
}

impl<B: AsRef<[u8]>> Files for BTreeMap<String, B> {
    fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.get(path).map(AsRef::as_ref)
    }
}

/// A function as a graph.
#[derive(Clone, Debug)]
pub struct Raised {
    /// The graph. Inputs and outputs have the names of the text.
    pub program: Program,
    /// Where the graph's weights come from, in its order.
    pub weights: Vec<Source>,
}

/// Where a weight comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A constant of the weight's own type in a file.
    File {
        /// As the text says.
        path: String,
        /// Of its descriptor.
        offset: u64,
    },
    /// Computed from constants, as dequantised weights are.
    Values(Tensor),
}

impl Source {
    /// The numbers, of this type.
    ///
    /// # Errors
    /// When the file does not hold them.
    pub fn read(&self, ty: &TensorType, files: &dyn Files) -> Result<Tensor, Diagnostic> {
        match self {
            Self::Values(tensor) => Ok(tensor.clone()),
            Self::File { path, offset } => constant::read_file(path, *offset, ty, files),
        }
    }
}

/// The numbers of a constant: a literal, or what a file holds.
///
/// # Errors
/// When it is neither, or the file does not hold it.
pub fn constant_tensor(value: &syntax::Value<'_>, files: &dyn Files) -> Result<Tensor, Diagnostic> {
    constant::tensor(value, files).map_err(|refusal| Diagnostic::new(refusal.code, refusal.message))
}

/// The graph's type for a type of the text: whole numbers of every width are `i32`.
///
/// # Errors
/// When there is none, a dimension is unknown or zero, or the tensor is larger than any memory.
pub fn value_type(ty: &Type<'_>) -> Result<TensorType, Diagnostic> {
    tensor_type(ty, ty.head())
}

/// Path of the file and offset of the descriptor, if a value is a constant in a file.
pub fn constant_place(value: &syntax::Value<'_>) -> Option<(String, u64)> {
    constant::place(value)
}

/// How an operation becomes nodes: its results, or why it cannot.
type Raise = fn(&Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal>;

/// Why a statement does not become nodes.
#[derive(Debug)]
struct Refusal {
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn unsupported(message: impl Into<String>) -> Self {
        Self::new("MIL030", message)
    }
}

/// Elements of a tensor beyond which a text is a mistake or an attack.
const MOST_ELEMENTS: usize = 1 << 40;
/// Nodes that one statement may become, and copies that it may make.
const MOST_NODES: usize = 4096;

/// Every operation with a meaning.
const OPS: &[&[(&str, Raise)]] = &[
    constexpr::OPS,
    elementwise::OPS,
    matrix::OPS,
    norm::OPS,
    reduce::OPS,
    shape::OPS,
    state::OPS,
];

/// Names of the operations that can be raised.
pub fn known_operations() -> impl Iterator<Item = &'static str> {
    OPS.iter().copied().flatten().map(|(name, _)| *name).chain(["const"])
}

/// The graph of a function. The text should have passed [`check`](super::check()).
///
/// # Errors
/// The first statement that has no meaning, see the codes above.
pub fn raise(function: &Function<'_>, files: &dyn Files) -> Result<Raised, Diagnostic> {
    let mut raising = Raising {
        scope: Scope::new(function),
        builder: Builder::new(function.name.text),
        files,
        values: BTreeMap::new(),
        weights: Vec::new(),
    };
    for parameter in &function.parameters {
        let (ty, name) = (&parameter.ty, parameter.name);
        let value = match state::of_state(ty) {
            Some(inner) => raising.builder.state(name.text, tensor_type(inner, name)?),
            None => {
                let ty = match shape::buffer_type(ty) {
                    Some(ty) => ty,
                    None => tensor_type(ty, name)?,
                };
                raising.builder.input(name.text, ty)
            }
        };
        raising.values.insert(name.text, value);
    }
    for statement in &function.statements {
        raising.statement(statement)?;
    }
    for &result in &function.results {
        let value = raising.value(result.text).ok_or_else(|| {
            Diagnostic::new("MIL011", format!("`{}` is not defined", result.text))
                .at(Some(result.span()))
        })?;
        raising.builder.output(result.text, value);
    }
    let Raising { builder, weights, .. } = raising;
    let failed = |error: crate::BuildError| {
        Diagnostic::new("MIL033", error.to_string()).at(Some(function.name.span()))
    };
    Ok(Raised { program: builder.finish().map_err(failed)?, weights })
}

struct Raising<'f, 't, 'a> {
    scope: Scope<'f, 't>,
    builder: Builder,
    files: &'a dyn Files,
    values: BTreeMap<&'t str, Value>,
    weights: Vec<Source>,
}

impl<'f, 't> Raising<'f, 't, '_> {
    fn statement(&mut self, statement: &'f Statement<'t>) -> Result<(), Diagnostic> {
        let at = |refusal: Refusal| {
            Diagnostic::new(refusal.code, refusal.message).at(Some(statement.op.span()))
        };
        if statement.is_const() {
            return self.constant(statement).map_err(at);
        }
        let known = OPS.iter().copied().flatten().find(|(name, _)| *name == statement.op.text);
        let Some((name, raise)) = known else {
            let message = format!("`{}` has no meaning in the graph", statement.op.text);
            return Err(at(Refusal::unsupported(message))
                .help("see docs/guide for what can be interpreted"));
        };
        let results = self.builder.scoped(
            statement.results.first().map_or("", |result| result.name.text),
            || {
                raise(&Call {
                    builder: &self.builder,
                    scope: &self.scope,
                    statement,
                    values: &self.values,
                    files: self.files,
                })
            },
        );
        let results = results.map_err(at)?;
        if self.builder.failed() {
            let builder = std::mem::replace(&mut self.builder, Builder::new(""));
            let message =
                builder.finish().err().map_or_else(String::new, |error| error.error.to_string());
            return Err(at(Refusal::new("MIL033", format!("`{name}`: {message}"))));
        }
        if results.len() != statement.results.len() {
            let message = format!(
                "`{name}` gives {} results, not {}",
                results.len(),
                statement.results.len()
            );
            return Err(at(Refusal::new("MIL032", message)));
        }
        for (result, mut value) in statement.results.iter().zip(results) {
            let found = self.builder.type_of(value);
            let declared = match shape::buffer_type(&result.ty) {
                Some(ty) => ty,
                None => tensor_type(&result.ty, result.name)?,
            };
            // MIL computes indices in types of its own choice; the graph has one for whole numbers.
            if found.dtype != declared.dtype
                && found.dtype == DType::I32
                && declared.dtype.is_dense_float()
            {
                value = self.builder.cast(value, declared.dtype);
            } else if found != declared {
                let message = format!(
                    "`{}` is declared {}, and `{name}` gives {found}",
                    result.name.text, result.ty
                );
                return Err(Diagnostic::new("MIL032", message).at(Some(result.name.span())));
            }
            self.values.insert(result.name.text, value);
        }
        Ok(())
    }

    /// Makes a constant a weight if it lies in a file; literals are made where they are read.
    fn constant(&mut self, statement: &'f Statement<'t>) -> Result<(), Refusal> {
        let (Some(value), [result]) = (statement.operand("val"), statement.results.as_slice())
        else {
            return Err(Refusal::new("MIL033", "a constant has `val` and one result"));
        };
        let Some((path, offset)) = constant::place(value) else { return Ok(()) };
        let ty = tensor_type(&result.ty, result.name)
            .map_err(|d| Refusal { code: d.code, message: d.message })?;
        if ty.dtype == DType::I32 || is_narrow(&result.ty) {
            // Indices and quantised numbers: read where they are used.
            return Ok(());
        }
        let value = self.builder.weight(result.name.text, ty);
        self.weights.push(Source::File { path, offset });
        self.values.insert(result.name.text, value);
        Ok(())
    }

    /// A value by name: a result, or a constant made now.
    fn value(&self, name: &str) -> Option<Value> {
        self.values.get(name).copied().or_else(|| {
            let statement = self.scope.statement(name)?;
            let tensor = constant::tensor(statement.operand("val")?, self.files).ok()?;
            Some(constant::node(&self.builder, &tensor))
        })
    }
}

/// Whether elements are whole numbers that the graph has no type for.
fn is_narrow(ty: &Type<'_>) -> bool {
    ty.tensor().is_some_and(|(element, _)| {
        element.text.starts_with("int") || element.text.starts_with("uint")
    })
}

/// The graph's type for a type of the text.
fn tensor_type(ty: &Type<'_>, at: Word<'_>) -> Result<TensorType, Diagnostic> {
    let refuse = |code, message| Diagnostic::new(code, message).at(Some(at.span()));
    let Some((element, dims)) = ty.tensor() else {
        return Err(refuse("MIL030", format!("`{ty}` has no meaning in the graph")));
    };
    let dtype = match element.text {
        "fp16" => DType::F16,
        "fp32" => DType::F32,
        "bf16" => DType::BF16,
        "bool" => DType::Bool,
        name if name.starts_with("int") || name.starts_with("uint") => DType::I32,
        name => {
            return Err(refuse(
                "MIL030",
                format!("elements of type `{name}` have no meaning in the graph"),
            ));
        }
    };
    let mut shape = Vec::with_capacity(dims.len());
    for dim in dims {
        match dim.known() {
            Some(size) => shape.push(usize::try_from(size).unwrap_or(usize::MAX)),
            None => {
                return Err(refuse("MIL031", format!("`{ty}` has a dimension without a number")));
            }
        }
    }
    let ty_of_graph = TensorType::new(dtype, shape);
    match ty_of_graph.elements() {
        0 => Err(refuse("MIL031", format!("`{ty}` has no elements"))),
        1..=MOST_ELEMENTS => Ok(ty_of_graph),
        _ => Err(refuse("MIL031", format!("`{ty}` is larger than any memory"))),
    }
}
