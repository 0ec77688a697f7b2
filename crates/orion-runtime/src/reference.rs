//! The reference backend: the compiler's interpreter behind the backend contract. Slow; the truth that tests compare
//! other backends with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use half::bf16;
use orion_compiler::interpret::{Arguments, interpret};
use orion_compiler::{DType, Op, Precision, Program, Tensor, TensorType, Verified};

use crate::backend::{
    Backend, CompileError, Executable, ProgramId, RunError, Session, Support, TensorView,
    TensorViewMut, Widths, check_arguments,
};
use crate::weights::WeightSet;

/// The interpreter as a device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Backend for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn supports(&self, _: &Op, _: &[TensorType]) -> Support {
        Support::Interpreted
    }

    fn widths(&self) -> Widths {
        Widths::Any
    }

    fn load(&self, weights: Arc<WeightSet>) -> Result<Arc<dyn Executable>, CompileError> {
        Ok(Arc::new(Interpreted { weights, programs: Arc::default() }))
    }
}

type Programs = Arc<Mutex<Vec<Arc<(Verified<Program>, Vec<Tensor>)>>>>;

struct Interpreted {
    weights: Arc<WeightSet>,
    programs: Programs,
}

impl Executable for Interpreted {
    fn add(&self, program: &Verified<Program>) -> Result<ProgramId, CompileError> {
        let load = |parameter: &orion_compiler::ir::program::Parameter| {
            let ty = program.type_of(parameter.value);
            let values = self.weights.read(&parameter.name, ty)?;
            Ok(Tensor::real(ty.clone(), values.into_iter().map(f64::from).collect()))
        };
        let weights =
            program.weights().iter().map(load).collect::<Result<Vec<_>, CompileError>>()?;
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs.push(Arc::new((program.clone(), weights)));
        Ok(ProgramId(programs.len() - 1))
    }

    fn session(&self) -> Box<dyn Session> {
        Box::new(Interpretation { programs: Arc::clone(&self.programs), states: BTreeMap::new() })
    }
}

/// A tensor's numbers, which are of that type already, as bf16.
pub(crate) fn narrow(tensor: &Tensor, out: &mut [bf16]) {
    out.iter_mut().zip(tensor.reals()).for_each(|(to, &from)| *to = bf16::from_f64(from));
}

struct Interpretation {
    programs: Programs,
    states: BTreeMap<String, Tensor>,
}

impl Session for Interpretation {
    fn run(
        &mut self,
        program: ProgramId,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<(), RunError> {
        let known =
            self.programs.lock().unwrap_or_else(PoisonError::into_inner).get(program.0).cloned();
        let entry = known.ok_or(RunError::UnknownProgram)?;
        let (program, weights) = &*entry;
        check_arguments(program, inputs, outputs)?;
        let tensors = inputs.iter().zip(program.inputs()).map(|(view, parameter)| {
            let ty = program.type_of(parameter.value).clone();
            match view {
                TensorView::F32(data) => {
                    Tensor::real(ty, data.iter().map(|&x| f64::from(x)).collect()).rounded()
                }
                TensorView::I32(data) => Tensor::i32(ty.shape, data.to_vec()),
            }
        });
        let states = program.states().iter().map(|state| {
            let zeros = || Tensor::zeros(program.type_of(state.value));
            self.states.get(&state.name).cloned().unwrap_or_else(zeros)
        });
        let arguments = Arguments {
            inputs: tensors.collect(),
            weights: weights.clone(),
            states: states.collect(),
        };
        let results = interpret(program, &arguments, Precision::Declared)?;
        for (state, tensor) in program.states().iter().zip(results.states) {
            self.states.insert(state.name.clone(), tensor);
        }
        for (view, tensor) in outputs.iter_mut().zip(&results.outputs) {
            match view {
                TensorViewMut::F32(data) if tensor.ty().dtype != DType::Bool => {
                    data.copy_from_slice(&tensor.to_f32());
                }
                TensorViewMut::F32(data) => {
                    data.iter_mut()
                        .zip(tensor.bools())
                        .for_each(|(to, &from)| *to = f32::from(u8::from(from)));
                }
                TensorViewMut::I32(data) => data.copy_from_slice(tensor.ints()),
                TensorViewMut::Bf16(data) => narrow(tensor, data),
            }
        }
        Ok(())
    }
}
