//! What compiling a text gives: a plan and ports for each procedure, and the constants that they read.

use orion_compiler::mil::blob::BlobType;
use orion_compiler::mil::raise;
use orion_compiler::mil::scope::Scope;
use orion_compiler::mil::syntax::{Document, Function, Word};
use orion_compiler::{Diagnostic, TensorType};

use super::constants::{ConstantTable, Constants};
use super::plan::{Plan, Planning, Target};
use super::settings::Layout;
use crate::neural_engine::{Attributes, Port, Procedure};

/// Rows begin at multiples of it.
const ROW_ALIGNMENT: usize = 64;

/// A compiled program.
pub(super) struct Image {
    pub(super) procedures: Vec<Compiled>,
    pub(super) constants: ConstantTable,
}

/// A procedure of it.
pub(super) struct Compiled {
    pub(super) procedure: Procedure,
    pub(super) plan: Plan,
    /// For each input and result of the text, where its port stands among the procedure's.
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
    /// What a cost model says of it.
    pub(super) modelled_seconds: Option<f64>,
}

impl Image {
    /// Plans all functions. `cost` gives the modelled seconds of one.
    pub(super) fn new(
        document: &Document<'_>,
        target: Target,
        layout: Layout,
        constants: Constants<'_>,
        cost: &dyn Fn(&Function<'_>) -> Option<f64>,
    ) -> Result<Self, Diagnostic> {
        // They are borrowed for no longer than the document.
        let mut constants = constants;
        let mut procedures = Vec::new();
        let (mut next_input, mut next_output) = (0, 0);
        for (index, function) in document.functions.iter().enumerate() {
            let scope = Scope::new(function);
            let parameters = function.parameters.iter().map(|parameter| parameter.name);
            let (input_ports, inputs) =
                ports(&scope, &parameters.collect::<Vec<_>>(), layout, &mut next_input)?;
            let (output_ports, outputs) =
                ports(&scope, &function.results, layout, &mut next_output)?;
            let planned = Planning::plan(target, function, index, constants)?;
            constants = planned.1;
            procedures.push(Compiled {
                procedure: Procedure {
                    name: function.name.text.to_owned(),
                    inputs: input_ports,
                    outputs: output_ports,
                },
                plan: planned.0,
                inputs,
                outputs,
                modelled_seconds: cost(function),
            });
        }
        Ok(Self { procedures, constants: constants.into_table() })
    }

    pub(super) fn attributes(&self) -> Attributes {
        let procedures = self.procedures.iter().map(|compiled| compiled.procedure.clone());
        Attributes { procedures: procedures.collect() }
    }
}

/// Ports in the order of names, and for every name where its port stands.
fn ports(
    scope: &Scope<'_, '_>,
    names: &[Word<'_>],
    layout: Layout,
    next: &mut usize,
) -> Result<(Vec<Port>, Vec<usize>), Diagnostic> {
    let mut sorted: Vec<&str> = names.iter().map(|name| name.text).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut ports = Vec::with_capacity(sorted.len());
    for name in &sorted {
        let definition = scope.definition(name);
        let word = names.iter().find(|word| word.text == *name).copied();
        let at = |diagnostic: Diagnostic| diagnostic.at(word.map(|word| word.span()));
        let definition = definition
            .ok_or_else(|| at(Diagnostic::new("MIL011", format!("`{name}` is not defined"))))?;
        let ty = raise::value_type(&definition.ty).map_err(at)?;
        let element = definition.ty.tensor().and_then(|(word, _)| BlobType::of_name(word.text));
        let element = element.ok_or_else(|| {
            at(Diagnostic::new(
                "ANE075",
                format!("`{name}` is {}, which no surface holds", definition.ty),
            ))
        })?;
        let port = port(name, *next, &ty, element, layout).ok_or_else(|| {
            at(Diagnostic::new("MIL031", format!("`{name}` is larger than any memory")))
        })?;
        ports.push(port);
        *next += 1;
    }
    let places =
        names.iter().map(|name| sorted.binary_search(&name.text).unwrap_or_default()).collect();
    Ok((ports, places))
}

/// How a tensor lies in a surface: its last dimensions are width, height and channels.
fn port(
    name: &str,
    symbol: usize,
    ty: &TensorType,
    element: BlobType,
    layout: Layout,
) -> Option<Port> {
    let size =
        |from_end: usize| ty.shape.len().checked_sub(from_end).map_or(1, |axis| ty.shape[axis]);
    let (width, height, channels) = (size(1), size(2), size(3));
    let batch = ty.shape.iter().rev().skip(3).product::<usize>();
    let row = element.bytes_of(width)?;
    let aligned = row.checked_next_multiple_of(ROW_ALIGNMENT)?;
    let bytes = batch.checked_mul(channels)?.checked_mul(height)?.checked_mul(aligned)?;
    let row_stride = match layout {
        Layout::Rows64 => aligned,
        Layout::OrionPacked => row,
    };
    let plane_stride = height.checked_mul(row_stride)?;
    let name = name.to_owned();
    Some(Port {
        name,
        symbol,
        batch,
        channels,
        height,
        width,
        row_stride,
        plane_stride,
        bytes,
        element,
    })
}
