//! Plans: the list of steps that runs a function, made once from its statements. Values live in one arena, planned ahead; a
//! step reads some and writes others. A statement is planned by the function that [`step`](super::step) lists for its
//! operation; what nobody plans is run by the interpreter, one statement at a time.

mod operands;
mod planning;
mod run;

use std::sync::Arc;

use orion_kernels::half_rounding::Ties;

pub(super) use operands::{axis_of, refuse, result_type};
pub(super) use planning::{Planning, RowSlice, Target};
pub(super) use run::{Buffers, Workspace};

/// A value of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ValueId(usize);

/// What a step does: it reads the first slices and writes the others.
pub(super) type Run = Box<dyn Fn(&mut Workspace<'_>, &[&[f32]], &mut [&mut [f32]]) + Send + Sync>;

/// What becomes of results before others read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// Nothing.
    Keep,
    /// They are rounded to f16.
    Half,
    /// They are rounded to f16 as the engine does, which has no NaN.
    Engine(Ties),
}

/// One kernel call of a plan, or a few.
pub(super) struct Step {
    reads: Vec<ValueId>,
    writes: Vec<ValueId>,
    finish: Finish,
    run: Run,
}

/// Where a value's numbers are.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In the arena.
    Arena { start: usize, length: usize },
    /// They are a part of this constant of the plan.
    Constant { constant: usize, from: usize, length: usize },
}

/// A function ready to run.
pub(super) struct Plan {
    steps: Vec<Step>,
    places: Vec<Place>,
    constants: Vec<Arc<Vec<f32>>>,
    /// Numbers that the arena has room for.
    arena: usize,
    /// In the order of the text, what each input becomes on its way in.
    inputs: Vec<(ValueId, Intake)>,
    /// In the order of the text.
    outputs: Vec<ValueId>,
    /// Whether running it spoils the process.
    poisons: bool,
}

/// What becomes of an input on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    /// Nothing.
    Keep,
    /// NaN becomes infinity, and f32 is rounded to f16.
    Engine(Ties),
    /// It reads as zeros.
    Blank,
}

impl Plan {
    /// Whether running it spoils the process.
    pub(super) fn poisons(&self) -> bool {
        self.poisons
    }
}
