//! What a step sees while a plan runs. Every value has a [`Place`]; a step takes the memory that it writes out of the
//! frame, reads others through it, and puts them back, so that no two views overlap and nothing is copied.

use std::ops::{Deref, DerefMut};

use half::f16;
use orion_compiler::{DType, Tensor, TensorType};
use orion_kernels::arena::{Arena, Lent};
use orion_kernels::attention;
use orion_kernels::convert::{packed_bf16, packed_bf16_mut};
use orion_kernels::gradient;
use orion_kernels::matmul;
use orion_kernels::numbers::{Numbers, NumbersMut};
use orion_kernels::pool::Pool;
use orion_kernels::rope::Angles;

use crate::backend::{TensorView, TensorViewMut};

/// Where a value lives. Dense real values, indices and truth values of the interior are all kept in `f32` buffers:
/// `i32` bit for bit, `bool` as 0 and 1, `f16` and `bf16` as the numbers they stand for; but some lie in bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The input at this index of the signature.
    Input(usize),
    /// The numbers of the arena from here on.
    Arena(usize),
    /// The same, of bf16: two to each number.
    Packed(usize),
    /// The state at this index of the signature.
    State(usize),
    /// The plan's constant at this index.
    Constant(usize),
    /// The output at this index of the signature, in the caller's memory.
    Output(usize),
}

/// Memory of a value that is being written.
pub(super) enum Buffer<'a> {
    /// The session's.
    Own(Lent<'a>),
    /// The session's, for so many numbers of bf16.
    Packed(Lent<'a>, usize),
    /// The caller's.
    Lent(&'a mut [f32]),
}

impl Deref for Buffer<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Own(buffer) => buffer,
            Self::Packed(..) => &[],
            Self::Lent(slice) => slice,
        }
    }
}

impl Buffer<'_> {
    /// What is to be written, in the type that it is kept in.
    pub(super) fn numbers(&mut self) -> NumbersMut<'_> {
        match self {
            Self::Own(buffer) => NumbersMut::F32(buffer),
            Self::Packed(buffer, count) => NumbersMut::Bf16(&mut packed_bf16_mut(buffer)[..*count]),
            Self::Lent(slice) => NumbersMut::F32(slice),
        }
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Own(buffer) => buffer,
            Self::Packed(..) => &mut [],
            Self::Lent(slice) => slice,
        }
    }
}

/// A state's storage: `f16` caches are kept as such.
#[derive(Clone, Debug)]
pub(super) enum StateBuffer {
    F32(Vec<f32>),
    F16(Vec<f16>),
}

impl StateBuffer {
    /// Zeros for a state of this type; memory is taken page by page as it is written.
    pub(super) fn zeros(ty: &TensorType) -> Self {
        match ty.dtype {
            DType::F16 => Self::F16(vec![f16::ZERO; ty.elements()]),
            _ => Self::F32(vec![0.0; ty.elements()]),
        }
    }
}

/// Working memory of kernels, kept from step to step.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) matmul: matmul::Scratch,
    pub(super) attention: attention::Scratch,
    pub(super) attention_gradient: gradient::AttentionScratch,
    pub(super) angles: Angles,
}

/// The memory of one run.
pub(super) struct Frame<'a> {
    pub(super) pool: &'a Pool,
    pub(super) scratch: &'a mut Scratch,
    inputs: &'a [TensorView<'a>],
    constants: &'a [Vec<f32>],
    arena: Arena<'a>,
    states: Vec<StateBuffer>,
    /// The caller's outputs of real numbers; others are copied at the end.
    outputs: Vec<TensorViewMut<'a>>,
}

impl<'a> Frame<'a> {
    pub(super) fn new(
        pool: &'a Pool,
        inputs: &'a [TensorView<'a>],
        constants: &'a [Vec<f32>],
        memory: &'a mut [f32],
        states: Vec<StateBuffer>,
        scratch: &'a mut Scratch,
    ) -> Self {
        let (arena, outputs) = (Arena::new(memory), Vec::new());
        Self { pool, scratch, inputs, constants, arena, states, outputs }
    }

    /// Lends the caller's memory for outputs; integers are copied at the end.
    pub(super) fn lend(&mut self, outputs: &'a mut [TensorViewMut<'_>]) {
        self.outputs = outputs
            .iter_mut()
            .map(|output| match output {
                TensorViewMut::F32(data) => TensorViewMut::F32(data),
                TensorViewMut::Bf16(data) => TensorViewMut::Bf16(data),
                TensorViewMut::I32(_) => TensorViewMut::F32(&mut []),
            })
            .collect();
    }

    pub(super) fn into_states(self) -> Vec<StateBuffer> {
        self.states
    }

    /// `count` numbers to write at a place, taken out of the frame until [`put`](Self::put).
    pub(super) fn take(&mut self, place: Place, count: usize) -> Buffer<'a> {
        match place {
            Place::Arena(start) => Buffer::Own(self.arena.lend(start..start + count)),
            Place::Packed(start) => {
                Buffer::Packed(self.arena.lend(start..start + count.div_ceil(2)), count)
            }
            Place::Output(index) => Buffer::Lent(match self.take_output(index) {
                TensorViewMut::F32(data) => data,
                _ => &mut [],
            }),
            _ => Buffer::Lent(&mut []),
        }
    }

    /// The caller's memory of an output, taken out of the frame until [`put_output`](Self::put_output).
    pub(super) fn take_output(&mut self, index: usize) -> TensorViewMut<'a> {
        std::mem::replace(&mut self.outputs[index], TensorViewMut::F32(&mut []))
    }

    /// Puts back what [`take_output`](Self::take_output) took.
    pub(super) fn put_output(&mut self, index: usize, output: TensorViewMut<'a>) {
        self.outputs[index] = output;
    }

    /// Puts back what [`take`](Self::take) took.
    pub(super) fn put(&mut self, place: Place, buffer: Buffer<'a>) {
        match (place, buffer) {
            (Place::Arena(_), Buffer::Own(buffer))
            | (Place::Packed(_), Buffer::Packed(buffer, _)) => self.arena.give_back(buffer),
            (Place::Output(index), Buffer::Lent(slice)) => {
                self.put_output(index, TensorViewMut::F32(slice));
            }
            _ => {}
        }
    }

    /// The pool, working memory, and a state that is written.
    pub(super) fn state_mut(&mut self, index: usize) -> &mut StateBuffer {
        &mut self.states[index]
    }

    /// A state that is read.
    pub(super) fn state(&self, index: usize) -> &StateBuffer {
        &self.states[index]
    }

    /// The first `count` numbers at a place, in the type that they are kept in. Empty where [`reals`](Self::reals) are,
    /// but for packed ones.
    pub(super) fn numbers(&self, place: Place, count: usize) -> Numbers<'_> {
        match place {
            Place::Packed(start) => {
                let words = self.arena.read(start..start + count.div_ceil(2));
                Numbers::Bf16(&packed_bf16(words)[..count])
            }
            _ => Numbers::F32(self.reals(place, count)),
        }
    }

    /// The first `count` numbers at a place. Empty for `f16` states, `i32` inputs and packed numbers, which kernels read
    /// otherwise.
    pub(super) fn reals(&self, place: Place, count: usize) -> &[f32] {
        match place {
            Place::Input(index) => match self.inputs[index] {
                TensorView::F32(data) => data,
                TensorView::I32(_) => &[],
            },
            Place::Arena(start) => self.arena.read(start..start + count),
            Place::Packed(_) => &[],
            Place::Constant(index) => &self.constants[index],
            Place::Output(index) => match &self.outputs[index] {
                TensorViewMut::F32(data) => &data[..count],
                _ => &[],
            },
            Place::State(index) => match &self.states[index] {
                StateBuffer::F32(data) => data,
                StateBuffer::F16(_) => &[],
            },
        }
    }

    /// The first `count` integers at a place.
    pub(super) fn ints(&self, place: Place, count: usize) -> Vec<i32> {
        match place {
            Place::Input(index) => match self.inputs[index] {
                TensorView::I32(data) => data.to_vec(),
                TensorView::F32(_) => Vec::new(),
            },
            _ => self.reals(place, count).iter().map(|x| x.to_bits().cast_signed()).collect(),
        }
    }

    /// The integer of a scalar.
    pub(super) fn int(&self, place: Place) -> i64 {
        match place {
            Place::Input(index) => match self.inputs[index] {
                TensorView::I32(&[value]) => i64::from(value),
                _ => 0,
            },
            _ => self.reals(place, 1).first().map_or(0, |x| i64::from(x.to_bits().cast_signed())),
        }
    }

    /// The value at a place as the interpreter takes it.
    pub(super) fn tensor(&self, place: Place, ty: &TensorType) -> Tensor {
        let count = ty.elements();
        match ty.dtype {
            DType::I32 => Tensor::i32(ty.shape.clone(), self.ints(place, count)),
            DType::Bool => {
                let values = self.reals(place, count).iter().map(|&x| x != 0.0).collect();
                Tensor::bool(ty.shape.clone(), values)
            }
            _ => {
                let values = match place {
                    Place::State(index) => match &self.states[index] {
                        StateBuffer::F16(data) => data.iter().map(|x| x.to_f64()).collect(),
                        StateBuffer::F32(data) => data.iter().map(|&x| f64::from(x)).collect(),
                    },
                    _ => match self.numbers(place, count) {
                        Numbers::F32(data) => data.iter().map(|&x| f64::from(x)).collect(),
                        Numbers::Bf16(data) => data.iter().map(|x| x.to_f64()).collect(),
                    },
                };
                Tensor::real(ty.clone(), values)
            }
        }
    }
}

/// Writes an interpreter's tensor in a buffer's encoding.
pub(super) fn encode(tensor: &Tensor, buffer: &mut [f32]) {
    match tensor.ty().dtype {
        DType::I32 => {
            buffer
                .iter_mut()
                .zip(tensor.ints())
                .for_each(|(to, &from)| *to = f32::from_bits(from.cast_unsigned()));
        }
        DType::Bool => {
            buffer
                .iter_mut()
                .zip(tensor.bools())
                .for_each(|(to, &from)| *to = f32::from(u8::from(from)));
        }
        _ => buffer.iter_mut().zip(tensor.reals()).for_each(|(to, &from)| *to = from as f32),
    }
}
