//! Running a plan on surfaces.

use orion_kernels::arena::{Arena, Lent};
use orion_kernels::half_rounding::{round_to_f16, round_to_f16_without_nan};
use orion_kernels::matmul;
use orion_kernels::matmul::fixed;
use orion_kernels::memory::PageBuffer;
use orion_kernels::pool::Pool;
use orion_kernels::surface::{read_rows, write_rows};

use super::{Finish, Intake, Place, Plan, Step, ValueId};
use crate::neural_engine::surface::element_of;
use crate::neural_engine::{Port, Surface};

/// Numbers that are worth sharing among threads when they are only converted.
const MANY: usize = 1 << 18;

/// Working memory of kernels, kept from step to step.
#[derive(Default)]
pub(in super::super) struct Buffers {
    /// For products that all threads share.
    pub(in super::super) matmul: matmul::Scratch,
    /// For products that each thread does alone.
    pub(in super::super) threads: Vec<ThreadBuffers>,
    /// For sums in fixed point.
    pub(in super::super) fixed: Vec<fixed::Scratch>,
    /// For whatever a step needs on the way.
    pub(in super::super) numbers: [Vec<f32>; 2],
}

/// Working memory of one thread.
#[derive(Default)]
pub(in super::super) struct ThreadBuffers {
    pub(in super::super) matmul: matmul::Scratch,
    pub(in super::super) fixed: fixed::Scratch,
    pub(in super::super) numbers: Vec<f32>,
    pub(in super::super) sums: Vec<f32>,
}

/// What a step works with.
pub(in super::super) struct Workspace<'a> {
    pub(in super::super) pool: &'a Pool,
    pub(in super::super) buffers: &'a mut Buffers,
}

impl Plan {
    /// Runs it once. Ports are in the order of the text, each with its surface.
    pub(in super::super) fn run(
        &self,
        pool: &Pool,
        memory: &mut Option<PageBuffer>,
        buffers: &mut Buffers,
        inputs: &[(&Port, &Surface)],
        outputs: &[(&Port, &Surface)],
    ) -> std::io::Result<()> {
        let bytes = self.arena.saturating_mul(size_of::<f32>());
        if memory.as_ref().is_none_or(|memory| memory.len() < bytes) {
            // Old numbers mean nothing. They go first, so that both are never there at once.
            *memory = None;
            *memory = Some(PageBuffer::zeroed(bytes)?);
        }
        let memory = memory.as_mut().map_or(&mut [][..], PageBuffer::as_mut_slice);
        buffers.threads.resize_with(pool.threads(), ThreadBuffers::default);
        buffers.fixed.resize_with(pool.threads(), fixed::Scratch::default);
        let mut arena = Arena::new(memory);
        for (&(value, intake), &(port, surface)) in self.inputs.iter().zip(inputs) {
            self.take_in(pool, &mut arena, value, intake, port, surface);
        }
        let mut workspace = Workspace { pool, buffers };
        for step in &self.steps {
            self.step(step, &mut workspace, &mut arena);
        }
        for (&value, &(port, surface)) in self.outputs.iter().zip(outputs) {
            let numbers = self.read(&arena, value);
            let Some(element) = element_of(port.element) else { continue };
            surface.memory().write(&mut |bytes| {
                write_rows(element, bytes, port.row_stride, port.width, numbers);
            });
        }
        Ok(())
    }

    fn take_in(
        &self,
        pool: &Pool,
        arena: &mut Arena<'_>,
        value: ValueId,
        intake: Intake,
        port: &Port,
        surface: &Surface,
    ) {
        let Some(mut numbers) = self.lend(arena, value) else { return };
        let element = element_of(port.element).filter(|_| intake != Intake::Blank);
        match element {
            None => numbers.fill(0.0),
            Some(element) => surface.memory().read(&mut |bytes| {
                let parts = if numbers.len() < MANY { 1 } else { pool.threads() };
                let rows = (numbers.len() / port.width.max(1)).div_ceil(parts).max(1);
                pool.for_each_part_mut(&mut numbers, rows * port.width.max(1), |index, numbers| {
                    let from = index * rows * port.row_stride;
                    read_rows(element, &bytes[from..], port.row_stride, port.width, numbers);
                });
            }),
        }
        if let Intake::Engine(ties) = intake {
            for number in numbers.iter_mut().filter(|number| number.is_nan()) {
                *number = f32::INFINITY;
            }
            round_to_f16_without_nan(pool, &mut numbers, ties);
        }
        arena.give_back(numbers);
    }

    fn step<'m>(&self, step: &Step, workspace: &mut Workspace<'_>, arena: &mut Arena<'m>) {
        let mut lent: Vec<Lent<'m>> =
            step.writes.iter().filter_map(|&value| self.lend(arena, value)).collect();
        {
            let reads: Vec<&[f32]> =
                step.reads.iter().map(|&value| self.read(arena, value)).collect();
            let mut writes: Vec<&mut [f32]> = lent.iter_mut().map(|lent| &mut **lent).collect();
            (step.run)(workspace, &reads, &mut writes);
        }
        for mut lent in lent {
            match step.finish {
                Finish::Keep => {}
                Finish::Half => {
                    round_to_f16(
                        workspace.pool,
                        &mut lent,
                        orion_kernels::half_rounding::Ties::Even,
                    );
                }
                Finish::Engine(ties) => round_to_f16_without_nan(workspace.pool, &mut lent, ties),
            }
            arena.give_back(lent);
        }
    }

    fn read<'a>(&'a self, arena: &'a Arena<'_>, value: ValueId) -> &'a [f32] {
        match self.places[value.0] {
            Place::Arena { start, length } => arena.read(start..start + length),
            Place::Constant { constant, from, length } => {
                &self.constants[constant][from..from + length]
            }
        }
    }

    /// Memory of a value that is written; constants are not.
    fn lend<'m>(&self, arena: &mut Arena<'m>, value: ValueId) -> Option<Lent<'m>> {
        match self.places[value.0] {
            Place::Arena { start, length } => Some(arena.lend(start..start + length)),
            Place::Constant { .. } => None,
        }
    }
}
