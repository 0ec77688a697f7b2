//! The CPU backend: a program becomes a list of kernel calls over planned buffers and packed weights, run by a pool of
//! threads that spins between calls.
//!
//! * [`plan`] turns a graph into steps: which kernel takes which nodes, which buffer each value lives in.
//! * [`step`] has one file for each kind of step; its list says which operations have a kernel.
//! * [`store`] packs weights once, in the layout the kernels stream, and shares them among programs.
//! * [`frame`] is what a step sees while it runs: buffers, states, the pool.
//!
//! Operations without a kernel are run by the interpreter, one node at a time: right for every program, and fast where
//! it matters.

mod frame;
mod plan;
mod step;
mod store;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use orion_compiler::{Op, Program, TensorType, Verified};
use orion_kernels::isa::Isa;
use orion_kernels::memory::FloatBuffer;
use orion_kernels::numbers::Numbers;
use orion_kernels::pool::Pool;

use self::frame::{Frame, Scratch, StateBuffer};
use self::plan::Plan;
use self::store::WeightStore;
use crate::backend::{
    Backend, CompileError, Executable, ProgramId, RunError, Session, Support, TensorView,
    TensorViewMut, TrainingForm, Widths, check_inputs, check_outputs,
};
use crate::weights::WeightSet;

/// The CPU as a device.
pub struct Cpu {
    pool: Arc<Pool>,
    precision: MatmulPrecision,
}

/// How products of f32 matrices are computed, where neither is a packed weight: those of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MatmulPrecision {
    /// In f32.
    #[default]
    F32,
    /// Both matrices are rounded to bf16 and their product is summed in f32: twice as fast where the CPU multiplies
    /// bf16, as PyTorch's `set_float32_matmul_precision("medium")`. Those of attention too, unless keys are a state.
    Bf16,
    /// Both matrices are rounded to f16, block by block scaled into its range: more precise than bf16, and nearly twice as
    /// fast as f32 where the CPU computes in f16. Attention stays in f32.
    F16,
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cpu({} threads, {})", self.pool.threads(), self.pool.isa().name())
    }
}

impl Cpu {
    /// The CPU with this many threads (0: as many as the machine has cores) and the best instructions it has.
    pub fn new(threads: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with_isa(if threads == 0 { cores } else { threads }, Isa::detect())
    }

    /// The CPU with these instructions only.
    pub fn with_isa(threads: usize, isa: Isa) -> Self {
        Self { pool: Arc::new(Pool::new(threads, isa)), precision: MatmulPrecision::F32 }
    }

    /// The same with products computed so.
    pub fn with_matmul_precision(self, precision: MatmulPrecision) -> Self {
        Self { precision, ..self }
    }

    /// What kernels run on.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Threads that kernels run on.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }
}

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn supports(&self, op: &Op, inputs: &[TensorType]) -> Support {
        match (step::has_kernel(op, inputs), op.is_composite()) {
            (true, _) => Support::Native,
            (false, true) => Support::Expand,
            (false, false) => Support::Interpreted,
        }
    }

    fn widths(&self) -> Widths {
        Widths::Any
    }

    fn training_form(&self) -> TrainingForm {
        TrainingForm { keeps_gradients: true, ..TrainingForm::default() }
    }

    fn load(&self, weights: Arc<WeightSet>) -> Result<Arc<dyn Executable>, CompileError> {
        let store = Mutex::new(WeightStore::new(weights, Arc::clone(&self.pool)));
        let programs = Arc::new(RwLock::new(Vec::new()));
        let (pool, precision) = (Arc::clone(&self.pool), self.precision);
        Ok(Arc::new(CpuExecutable { pool, precision, store, programs }))
    }
}

type Plans = Arc<RwLock<Vec<Arc<Plan>>>>;

struct CpuExecutable {
    pool: Arc<Pool>,
    precision: MatmulPrecision,
    store: Mutex<WeightStore>,
    programs: Plans,
}

impl CpuExecutable {
    /// Adds a program whose caller has memory for the first `lent` outputs, or all.
    fn plan(&self, program: &Verified<Program>, lent: usize) -> Result<ProgramId, CompileError> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut programs = self.programs.write().unwrap_or_else(PoisonError::into_inner);
        for state in program.states() {
            let found = program.type_of(state.value);
            let earlier = programs.iter().find_map(|plan| plan.state_type(&state.name));
            if let Some(expected) = earlier.filter(|expected| *expected != found) {
                let (name, expected, found) = (state.name.clone(), expected.clone(), found.clone());
                return Err(CompileError::StateType { name, expected, found });
            }
        }
        programs.push(Arc::new(Plan::new(program, &mut store, self.precision, lent)?));
        Ok(ProgramId(programs.len() - 1))
    }
}

impl Executable for CpuExecutable {
    fn add(&self, program: &Verified<Program>) -> Result<ProgramId, CompileError> {
        self.plan(program, usize::MAX)
    }

    fn add_training(
        &self,
        program: &Verified<Program>,
        _: &[&str],
    ) -> Result<ProgramId, CompileError> {
        self.plan(program, 1)
    }

    fn working_bytes(&self, program: ProgramId) -> Option<u64> {
        let programs = self.programs.read().unwrap_or_else(PoisonError::into_inner);
        programs.get(program.0).map(|plan| plan.working_bytes())
    }

    fn session(&self) -> Box<dyn Session> {
        Box::new(CpuSession {
            pool: Arc::clone(&self.pool),
            programs: Arc::clone(&self.programs),
            states: BTreeMap::new(),
            memory: FloatBuffer::default(),
            last: None,
            scratch: Scratch::default(),
        })
    }
}

struct CpuSession {
    pool: Arc<Pool>,
    programs: Plans,
    states: BTreeMap<String, StateBuffer>,
    /// Reused from run to run, grown to the largest program's need.
    memory: FloatBuffer,
    /// What has run last, and left in the memory what it keeps.
    last: Option<Arc<Plan>>,
    scratch: Scratch,
}

impl Session for CpuSession {
    fn run(
        &mut self,
        program: ProgramId,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<(), RunError> {
        let known =
            self.programs.read().unwrap_or_else(PoisonError::into_inner).get(program.0).cloned();
        let plan = known.ok_or(RunError::UnknownProgram)?;
        check_inputs(plan.program(), inputs)?;
        check_outputs(plan.program(), plan.lent_outputs(), outputs)?;
        // The plan numbers states in the order of its signature; the session keeps them by name.
        let states: Vec<StateBuffer> = plan
            .program()
            .states()
            .iter()
            .map(|state| {
                let ty = plan.program().type_of(state.value);
                self.states.remove(&state.name).unwrap_or_else(|| StateBuffer::zeros(ty))
            })
            .collect();
        plan.reserve(&mut self.memory);
        let mut frame = Frame::new(
            &self.pool,
            inputs,
            plan.constants(),
            &mut self.memory,
            states,
            &mut self.scratch,
        );
        frame.lend(outputs);
        plan.run(&mut frame);
        plan.copy_outputs(&mut frame);
        let integers = plan.integer_outputs(&frame);
        let states = frame.into_states();
        for (index, values) in integers {
            if let TensorViewMut::I32(data) = &mut outputs[index] {
                data.copy_from_slice(&values);
            }
        }
        for (state, buffer) in plan.program().states().iter().zip(states) {
            self.states.insert(state.name.clone(), buffer);
        }
        self.last = Some(plan);
        Ok(())
    }

    fn gradient(&self, index: usize) -> Option<Numbers<'_>> {
        self.last.as_ref()?.kept(index + 1, &self.memory)
    }

    fn read_state(
        &mut self,
        name: &str,
        rows: Range<usize>,
        into: &mut Vec<f32>,
    ) -> Result<(), RunError> {
        let no_state = || RunError::NoState { name: name.to_owned() };
        let row = self.row_of_state(name).ok_or_else(no_state)?;
        let state = self.states.get(name).ok_or_else(no_state)?;
        let numbers = rows.start * row..rows.end * row;
        into.clear();
        match state {
            StateBuffer::F32(data) => {
                into.extend_from_slice(data.get(numbers).ok_or_else(no_state)?);
            }
            StateBuffer::F16(data) => {
                let numbers = data.get(numbers).ok_or_else(no_state)?;
                into.extend(numbers.iter().map(|x| x.to_f32()));
            }
        }
        Ok(())
    }

    fn write_state(&mut self, name: &str, first: usize, rows: &[f32]) -> Result<(), RunError> {
        let no_state = || RunError::NoState { name: name.to_owned() };
        let row = self.row_of_state(name).ok_or_else(no_state)?;
        let programs = self.programs.read().unwrap_or_else(PoisonError::into_inner);
        let known = programs.iter().find_map(|plan| plan.state_type(name));
        let ty = known.ok_or_else(no_state)?;
        let state = self.states.entry(name.to_owned()).or_insert_with(|| StateBuffer::zeros(ty));
        let numbers = first * row..first * row + rows.len();
        match state {
            StateBuffer::F32(data) => {
                data.get_mut(numbers).ok_or_else(no_state)?.copy_from_slice(rows);
            }
            StateBuffer::F16(data) => {
                let data = data.get_mut(numbers).ok_or_else(no_state)?;
                data.iter_mut().zip(rows).for_each(|(to, &x)| *to = half::f16::from_f32(x));
            }
        }
        Ok(())
    }
}

impl CpuSession {
    /// Numbers in a row of a state `[1, rows, …]`.
    fn row_of_state(&self, name: &str) -> Option<usize> {
        let programs = self.programs.read().unwrap_or_else(PoisonError::into_inner);
        let ty = programs.iter().find_map(|plan| plan.state_type(name))?;
        match ty.shape.as_slice() {
            [1, _, rest @ ..] => Some(rest.iter().product()),
            _ => None,
        }
    }
}
