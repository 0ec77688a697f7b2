//! Making a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use orion_compiler::mil::raise;
use orion_compiler::mil::scope::Scope;
use orion_compiler::mil::syntax::{Function, Statement, Type, Value};
use orion_compiler::{DType, Diagnostic, TensorType};

use super::operands::result_type;
use super::{Finish, Intake, Place, Plan, Run, Step, ValueId};
use crate::neural_engine::simulator::constants::Constants;
use crate::neural_engine::simulator::profile::{Profile, Quirk};
use crate::neural_engine::simulator::settings::Numerics;
use crate::neural_engine::simulator::step;
use crate::placement::{Life, place};

/// What a plan is made for.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Target {
    pub(in super::super) profile: Profile,
    pub(in super::super) numerics: Numerics,
}

/// What is known of a value while steps are planned.
pub(super) struct PlannedValue<'p, 't> {
    pub(super) ty: TensorType,
    storage: Storage<'p, 't>,
}

enum Storage<'p, 't> {
    /// Memory of its own.
    Own,
    /// A part of another value's.
    Part { of: ValueId, from: usize },
    /// Numbers that are known.
    Constant(Arc<Vec<f32>>),
    /// Numbers in a file, which are read only when somebody wants them.
    File(&'p Value<'t>),
}

/// A slice that begins inside a row: where a chip that misreads it looks instead.
#[derive(Clone, Debug)]
pub(in super::super) struct RowSlice {
    pub(in super::super) of: ValueId,
    pub(in super::super) starts: Vec<usize>,
    pub(in super::super) sizes: Vec<usize>,
}

/// A function while it is planned.
pub(in super::super) struct Planning<'p, 't> {
    pub(in super::super) target: Target,
    pub(in super::super) function: &'p Function<'t>,
    pub(in super::super) scope: Scope<'p, 't>,
    pub(in super::super) constants: Constants<'p>,
    /// Which function of the program it is.
    pub(in super::super) index: usize,
    pub(super) values: Vec<PlannedValue<'p, 't>>,
    pub(super) names: BTreeMap<&'t str, ValueId>,
    steps: Vec<Step>,
    /// Statements that an earlier one was planned with.
    covered: BTreeSet<usize>,
    /// Slices that begin inside a row.
    pub(in super::super) row_slices: BTreeMap<ValueId, RowSlice>,
    /// Whether running it spoils the process.
    pub(in super::super) poisons: bool,
}

impl<'p, 't> Planning<'p, 't> {
    /// Plans a function. The text should have passed `mil::check`.
    pub(in super::super) fn plan(
        target: Target,
        function: &'p Function<'t>,
        index: usize,
        constants: Constants<'p>,
    ) -> Result<(Plan, Constants<'p>), Diagnostic> {
        let mut planning = Self {
            target,
            function,
            scope: Scope::new(function),
            constants,
            index,
            values: Vec::new(),
            names: BTreeMap::new(),
            steps: Vec::new(),
            covered: BTreeSet::new(),
            row_slices: BTreeMap::new(),
            poisons: false,
        };
        let mut inputs = Vec::new();
        for parameter in &function.parameters {
            let at = |diagnostic: Diagnostic| diagnostic.at(Some(parameter.name.span()));
            let ty = raise::value_type(&parameter.ty).map_err(at)?;
            let intake = planning.intake(&parameter.ty);
            let value = planning.add(ty);
            planning.names.insert(parameter.name.text, value);
            inputs.push((value, intake));
        }
        for (at, statement) in function.statements.iter().enumerate() {
            if !statement.is_const() && !planning.covered.contains(&at) {
                planning.statement(at, statement)?;
            }
        }
        let mut outputs = Vec::new();
        for result in &function.results {
            let value = planning.result(result.text).ok_or_else(|| {
                Diagnostic::new("MIL011", format!("`{}` is not defined", result.text))
                    .at(Some(result.span()))
            })?;
            outputs.push(value);
        }
        planning.finish(inputs, outputs)
    }

    fn intake(&self, ty: &Type<'_>) -> Intake {
        let element = ty.tensor().map_or("", |(element, _)| element.text);
        let is_real = matches!(element, "fp16" | "fp32");
        if !is_real && self.target.profile.has(Quirk::BlanksWholeNumbers) {
            Intake::Blank
        } else if is_real && self.target.numerics == Numerics::Ane {
            Intake::Engine(self.target.profile.elementwise)
        } else {
            Intake::Keep
        }
    }

    fn statement(&mut self, at: usize, statement: &'p Statement<'t>) -> Result<(), Diagnostic> {
        if self.reads_constants_only(statement) {
            return step::interpret::fold(self, statement);
        }
        let is_planned = match step::planner(statement.op.text) {
            Some(planner) => planner(self, at, statement)?,
            None => false,
        };
        if is_planned { Ok(()) } else { step::interpret::plan(self, statement) }
    }

    fn reads_constants_only(&self, statement: &'p Statement<'t>) -> bool {
        let mut all = statement.arguments.iter().chain(&statement.attributes);
        let names_only = |value: &'p Value<'t>| match value {
            Value::Tuple(items) => items.iter().all(|item| self.is_constant_value(item)),
            value => self.is_constant_value(value),
        };
        all.all(|argument| names_only(&argument.value))
    }

    /// A result of the function, which may be an input or a constant.
    fn result(&mut self, name: &str) -> Option<ValueId> {
        if let Some(value) = self.names.get(name) {
            return Some(*value);
        }
        let statement = self.scope.statement(name)?;
        let constant = statement.operand("val")?;
        let ty = raise::value_type(&statement.results.first()?.ty).ok()?;
        let numbers = self.constants.dense(constant, &ty).ok()?;
        Some(self.add_constant(ty, numbers))
    }

    fn push_value(&mut self, ty: TensorType, storage: Storage<'p, 't>) -> ValueId {
        self.values.push(PlannedValue { ty, storage });
        ValueId(self.values.len() - 1)
    }

    /// A value with memory of its own.
    pub(in super::super) fn add(&mut self, ty: TensorType) -> ValueId {
        self.push_value(ty, Storage::Own)
    }

    /// A value that is known already. In the engine's arithmetic it has no more than f16 holds.
    pub(in super::super) fn add_constant(
        &mut self,
        ty: TensorType,
        numbers: Arc<Vec<f32>>,
    ) -> ValueId {
        let numbers = self.as_kept(&ty, numbers);
        self.push_value(ty, Storage::Constant(numbers))
    }

    /// A value whose numbers are in a file.
    pub(super) fn add_file(&mut self, ty: TensorType, constant: &'p Value<'t>) -> ValueId {
        self.push_value(ty, Storage::File(constant))
    }

    /// Numbers of a constant as the arithmetic keeps them.
    fn as_kept(&self, ty: &TensorType, numbers: Arc<Vec<f32>>) -> Arc<Vec<f32>> {
        if ty.dtype == DType::F32 && self.target.numerics == Numerics::Ane {
            let half = |&x: &f32| half::f16::from_f32(x).to_f32();
            return Arc::new(numbers.iter().map(half).collect());
        }
        numbers
    }

    /// A value that is a part of another one, from this element on.
    pub(in super::super) fn add_part(
        &mut self,
        ty: TensorType,
        of: ValueId,
        from: usize,
    ) -> ValueId {
        self.push_value(ty, Storage::Part { of, from })
    }

    /// Whether a value's numbers are known when the program is planned.
    pub(in super::super) fn is_known(&self, value: ValueId) -> bool {
        matches!(self.values[value.0].storage, Storage::Constant(_) | Storage::File(_))
    }

    /// The numbers of a value, if they are known when the program is planned.
    pub(in super::super) fn known(
        &mut self,
        value: ValueId,
    ) -> Result<Option<Arc<Vec<f32>>>, Diagnostic> {
        let constant = match &self.values[value.0].storage {
            Storage::Constant(numbers) => return Ok(Some(Arc::clone(numbers))),
            Storage::File(constant) => *constant,
            Storage::Own | Storage::Part { .. } => return Ok(None),
        };
        let ty = self.values[value.0].ty.clone();
        let numbers = self.constants.dense(constant, &ty)?;
        let numbers = self.as_kept(&ty, numbers);
        self.values[value.0].storage = Storage::Constant(Arc::clone(&numbers));
        Ok(Some(numbers))
    }

    /// The value of a name that a statement has defined, or an input.
    pub(in super::super) fn named(&self, name: &str) -> Option<ValueId> {
        self.names.get(name).copied()
    }

    /// Gives a result of a statement its value.
    pub(in super::super) fn name(
        &mut self,
        statement: &'p Statement<'t>,
        result: usize,
        value: ValueId,
    ) {
        if let Some(parameter) = statement.results.get(result) {
            self.names.insert(parameter.name.text, value);
        }
    }

    /// The value of a result that a step writes; its declared type has to have this shape.
    pub(in super::super) fn define(
        &mut self,
        statement: &'p Statement<'t>,
        result: usize,
        shape: &[usize],
    ) -> Result<ValueId, Diagnostic> {
        let ty = result_type(statement, result, shape)?;
        let value = self.add(ty);
        self.name(statement, result, value);
        Ok(value)
    }

    /// What becomes of results of this type that elementwise arithmetic has made.
    pub(in super::super) fn finish_of(&self, ty: &TensorType) -> Finish {
        let is_real = matches!(ty.dtype, DType::F16 | DType::F32);
        match self.target.numerics {
            Numerics::Exact if ty.dtype == DType::F16 => Finish::Half,
            Numerics::Ane if is_real => Finish::Engine(self.target.profile.elementwise),
            _ => Finish::Keep,
        }
    }

    /// The same for sums.
    pub(in super::super) fn finish_of_sum(&self, ty: &TensorType) -> Finish {
        match self.finish_of(ty) {
            Finish::Engine(_) => Finish::Engine(self.target.profile.sums),
            other => other,
        }
    }

    /// Adds a step.
    pub(in super::super) fn push(
        &mut self,
        reads: Vec<ValueId>,
        writes: Vec<ValueId>,
        finish: Finish,
        run: Run,
    ) {
        self.steps.push(Step { reads, writes, finish, run });
    }

    /// Statements behind this one that are not planned yet.
    pub(in super::super) fn later(
        &self,
        at: usize,
    ) -> impl Iterator<Item = (usize, &'p Statement<'t>)> + use<'p, 't, '_> {
        let all = self.function.statements.iter().enumerate().skip(at + 1);
        all.filter(|(index, statement)| !statement.is_const() && !self.covered.contains(index))
    }

    /// Says that a later statement needs no planning any more.
    pub(in super::super) fn cover(&mut self, at: usize) {
        self.covered.insert(at);
    }

    /// The value whose memory another one is a part of, and from where on.
    fn root(&self, mut value: ValueId) -> (ValueId, usize) {
        let mut start = 0;
        while let Storage::Part { of, from } = self.values[value.0].storage {
            value = of;
            start += from;
        }
        (value, start)
    }

    fn finish(
        mut self,
        inputs: Vec<(ValueId, Intake)>,
        outputs: Vec<ValueId>,
    ) -> Result<(Plan, Constants<'p>), Diagnostic> {
        let mut lives: BTreeMap<ValueId, Life> = BTreeMap::new();
        let end = self.steps.len() + 1;
        let mut live = |value: ValueId, at: usize| {
            let (root, _) = self.root(value);
            let room = self.values[root.0].ty.elements();
            let life = lives.entry(root).or_insert(Life { from: at, to: at, room });
            (life.from, life.to) = (life.from.min(at), life.to.max(at));
        };
        inputs.iter().for_each(|(value, _)| live(*value, 0));
        for (at, step) in self.steps.iter().enumerate() {
            step.reads.iter().chain(&step.writes).for_each(|value| live(*value, at + 1));
        }
        outputs.iter().for_each(|value| live(*value, end));
        // Constants have no place in the arena; what steps read of them is looked up now.
        let used: Vec<ValueId> = lives.keys().copied().collect();
        let mut constants: BTreeMap<ValueId, usize> = BTreeMap::new();
        let mut numbers = Vec::new();
        for value in used {
            if let Some(known) = self.known(value)? {
                constants.insert(value, numbers.len());
                numbers.push(known);
                lives.remove(&value);
            }
        }
        let (starts, arena) = place(&lives);
        let starts: BTreeMap<ValueId, usize> = starts.into_iter().collect();
        let places = (0..self.values.len()).map(|index| {
            let (root, from) = self.root(ValueId(index));
            let length = self.values[index].ty.elements();
            match (constants.get(&root), starts.get(&root)) {
                (Some(&constant), _) => Place::Constant { constant, from, length },
                (None, Some(start)) => Place::Arena { start: start + from, length },
                // What no step reads or writes has no memory.
                (None, None) => Place::Arena { start: 0, length: 0 },
            }
        });
        let places = places.collect();
        let Self { steps, poisons, constants: table, .. } = self;
        let plan = Plan { steps, places, constants: numbers, arena, inputs, outputs, poisons };
        Ok((plan, table))
    }
}
