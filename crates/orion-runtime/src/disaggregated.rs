//! Prompts are read on one device and answers are written on another: disaggregated prefill. Both have the weights; the
//! key-value caches of what one has read are handed to the other before it goes on.

use std::sync::{Arc, PoisonError, RwLock};

use orion_compiler::engine::LAST;
use orion_compiler::{Op, Program, TensorType, Verified};

use crate::backend::{
    Backend, CompileError, Executable, ProgramId, RunError, Session, Support, TensorView,
    TensorViewMut, Widths,
};
use crate::weights::WeightSet;

/// Two devices as one.
pub struct Disaggregated {
    prefill: Box<dyn Backend>,
    decode: Box<dyn Backend>,
}

impl std::fmt::Debug for Disaggregated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Disaggregated({}, {})", self.prefill.name(), self.decode.name())
    }
}

impl Disaggregated {
    /// Programs of several tokens run on `prefill`, those of one on `decode`.
    pub fn new(prefill: Box<dyn Backend>, decode: Box<dyn Backend>) -> Self {
        Self { prefill, decode }
    }
}

impl Backend for Disaggregated {
    fn name(&self) -> &'static str {
        self.prefill.name()
    }

    fn supports(&self, op: &Op, inputs: &[TensorType]) -> Support {
        self.decode.supports(op, inputs)
    }

    fn widths(&self) -> Widths {
        match self.prefill.widths() {
            Widths::Any => Widths::Any,
            Widths::Buckets(mut buckets) => {
                buckets.retain(|&tokens| tokens > 1);
                buckets.insert(0, 1);
                Widths::Buckets(buckets)
            }
        }
    }

    fn load(&self, weights: Arc<WeightSet>) -> Result<Arc<dyn Executable>, CompileError> {
        Ok(Arc::new(Executables {
            phases: [self.prefill.load(Arc::clone(&weights))?, self.decode.load(weights)?],
            programs: Arc::default(),
        }))
    }
}

/// Which of both devices.
#[derive(Clone, Copy)]
enum Phase {
    Prefill,
    Decode,
}

/// A program, and what is looked up in its arguments.
struct Placed {
    phase: Phase,
    program: ProgramId,
    tokens: usize,
    position: Option<usize>,
    last: Option<usize>,
    states: Vec<String>,
}

struct Executables {
    phases: [Arc<dyn Executable>; 2],
    programs: Arc<RwLock<Vec<Arc<Placed>>>>,
}

impl Executable for Executables {
    fn add(&self, program: &Verified<Program>) -> Result<ProgramId, CompileError> {
        let index = |name: &str| program.inputs().iter().position(|input| input.name == name);
        let tokens = index("tokens")
            .and_then(|index| program.inputs().get(index))
            .map_or(1, |input| program.type_of(input.value).elements());
        let phase = if tokens > 1 { Phase::Prefill } else { Phase::Decode };
        let placed = Placed {
            phase,
            program: self.phases[phase as usize].add(program)?,
            tokens,
            position: index("position"),
            last: index(LAST),
            states: program.states().iter().map(|state| state.name.clone()).collect(),
        };
        let mut programs = self.programs.write().unwrap_or_else(PoisonError::into_inner);
        programs.push(Arc::new(placed));
        Ok(ProgramId(programs.len() - 1))
    }

    fn session(&self) -> Box<dyn Session> {
        let sessions = [self.phases[0].session(), self.phases[1].session()];
        let programs = Arc::clone(&self.programs);
        Box::new(Sessions { devices: sessions, programs, known: [0; 2], numbers: Vec::new() })
    }
}

struct Sessions {
    devices: [Box<dyn Session>; 2],
    programs: Arc<RwLock<Vec<Arc<Placed>>>>,
    /// Tokens of the text that each device has in its caches.
    known: [usize; 2],
    numbers: Vec<f32>,
}

impl Session for Sessions {
    fn run(
        &mut self,
        program: ProgramId,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<(), RunError> {
        let known =
            self.programs.read().unwrap_or_else(PoisonError::into_inner).get(program.0).cloned();
        let placed = known.ok_or(RunError::UnknownProgram)?;
        let number = |index: Option<usize>| match index.and_then(|index| inputs.get(index)) {
            Some(TensorView::I32(data)) => {
                data.first().and_then(|&number| usize::try_from(number).ok())
            }
            _ => None,
        };
        let position = number(placed.position).unwrap_or(0);
        let meant = number(placed.last).map_or(placed.tokens, |last| last + 1);
        let (own, other) = match placed.phase {
            Phase::Prefill => (0, 1),
            Phase::Decode => (1, 0),
        };
        let missing = self.known[own].min(position)..position.min(self.known[other]);
        if !missing.is_empty() {
            for state in &placed.states {
                self.devices[other].read_state(state, missing.clone(), &mut self.numbers)?;
                self.devices[own].write_state(state, missing.start, &self.numbers)?;
            }
        }
        self.devices[own].run(placed.program, inputs, outputs)?;
        self.known[own] = position + meant;
        self.known[other] = self.known[other].min(position);
        Ok(())
    }
}
