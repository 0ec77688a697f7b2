//! The reference interpreter: runs a program by the meaning of its operations and nothing else. Slow and obvious; it
//! is the truth that every backend is tested against.

use crate::ir::program::{Definition, Program};
use crate::ir::verify::Verified;
use crate::{Tensor, TensorType};

/// How results of operations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Rounded to each value's element type.
    Declared,
    /// As `f64`, whatever the type says: for finite differences and error bounds.
    Exact,
}

/// What a run was given does not fit the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterpretError {
    /// Another number of tensors than the program has parameters.
    #[error("{kind}: the program has {expected}, {found} were given")]
    Count {
        /// `inputs`, `weights` or `states`.
        kind: &'static str,
        /// How many the program has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// A tensor of another type than the parameter's.
    #[error("{kind} `{name}` is {expected}, a {found} was given")]
    Type {
        /// `inputs`, `weights` or `states`.
        kind: &'static str,
        /// The parameter.
        name: String,
        /// Its type.
        expected: TensorType,
        /// The type given.
        found: TensorType,
    },
}

/// Tensors for one run, in the order of the program's signature.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// One for each input.
    pub inputs: Vec<Tensor>,
    /// One for each weight.
    pub weights: Vec<Tensor>,
    /// One for each state.
    pub states: Vec<Tensor>,
}

/// What a run gives back, in the order of the program's signature.
#[derive(Clone, Debug)]
pub struct Results {
    /// One for each output.
    pub outputs: Vec<Tensor>,
    /// One for each state: what it holds next.
    pub states: Vec<Tensor>,
}

/// Runs a program once.
pub fn interpret(
    program: &Verified<Program>,
    arguments: &Arguments,
    precision: Precision,
) -> Result<Results, InterpretError> {
    let inputs = program.inputs().iter().map(|p| (p.name.as_str(), p.value));
    let weights = program.weights().iter().map(|p| (p.name.as_str(), p.value));
    let states = program.states().iter().map(|s| (s.name.as_str(), s.value));
    check(program, "inputs", inputs.collect(), &arguments.inputs)?;
    check(program, "weights", weights.collect(), &arguments.weights)?;
    check(program, "states", states.collect(), &arguments.states)?;

    let mut computed: Vec<Option<Tensor>> = vec![None; program.value_count()];
    for (_, node) in program.nodes() {
        let operands: Vec<&Tensor> =
            node.inputs.iter().map(|&value| lookup(program, arguments, &computed, value)).collect();
        let types: Vec<TensorType> =
            node.outputs.iter().map(|&value| program.type_of(value).clone()).collect();
        let results = node.op.eval(&operands, &types, precision);
        for (&value, result) in node.outputs.iter().zip(results) {
            computed[value.index()] = Some(match precision {
                Precision::Declared => result.rounded(),
                Precision::Exact => result,
            });
        }
    }
    let get = |value| lookup(program, arguments, &computed, value).clone();
    Ok(Results {
        outputs: program.outputs().iter().map(|output| get(output.value)).collect(),
        states: program.states().iter().map(|state| get(state.next)).collect(),
    })
}

fn lookup<'a>(
    program: &Program,
    arguments: &'a Arguments,
    computed: &'a [Option<Tensor>],
    value: crate::ValueId,
) -> &'a Tensor {
    match program.definition(value) {
        Definition::Input(index) => &arguments.inputs[index],
        Definition::Weight(index) => &arguments.weights[index],
        Definition::State(index) => &arguments.states[index],
        Definition::Node(..) => match &computed[value.index()] {
            Some(tensor) => tensor,
            None => unreachable!("a verified program defines values before their use"),
        },
    }
}

fn check(
    program: &Program,
    kind: &'static str,
    parameters: Vec<(&str, crate::ValueId)>,
    tensors: &[Tensor],
) -> Result<(), InterpretError> {
    if parameters.len() != tensors.len() {
        let (expected, found) = (parameters.len(), tensors.len());
        return Err(InterpretError::Count { kind, expected, found });
    }
    for ((name, value), tensor) in parameters.into_iter().zip(tensors) {
        let expected = program.type_of(value);
        if expected != tensor.ty() {
            let (name, expected, found) = (name.to_owned(), expected.clone(), tensor.ty().clone());
            return Err(InterpretError::Type { kind, name, expected, found });
        }
    }
    Ok(())
}
