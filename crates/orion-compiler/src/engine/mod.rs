//! Engine form: a model's graph as the Neural Engine computes it. Activations lie channel by channel, `[batch, channels, 1,
//! tokens]`, so that a dense layer is a 1 × 1 convolution; heads are `[batch, heads, head_dim, tokens]`, which is the same
//! memory; numbers are `f16`. What the engine does badly or not at all (look-ups, angles, masks, losses) keeps the
//! model's own form, in `f32`, for the host.
//!
//! The form is a graph as any other: [`grad`](crate::grad) derives backward programs from it, [`partition`](mod@crate::partition)
//! cuts it, [`lower`](mod@crate::mil::lower) prints it.
//!
//! A key-value cache becomes inputs `[batch, kv_heads, part, capacity]` and outputs with the new columns
//! `[batch, kv_heads, part, tokens]`, which the host writes behind those that the cache has. Columns that are not yet
//! written have to be zero. Rotary positions turn halves of a head, which stay apart: scores are the sum of both halves'
//! products, so that nothing has to be joined (facts ANE001).
//!
//! An input `last`, `i32[]`, says how far the tokens of a run are meant. What is behind stands where the last one stands, sees
//! what it sees, and comes into no cache: where its token is the same too, all its columns are.

mod attention;
mod choice;
mod elementwise;
mod gradient;
mod norm;
mod pipeline;
mod projection;
mod rope;

use std::collections::BTreeMap;

pub use choice::{Choice, choice, choices};
pub use pipeline::{Pieces, PipelineError, pieces};

use crate::ir::program::{Definition, Node, Program, ValueId};
use crate::ir::types::TypeError;
use crate::{BuildError, Builder, DType, Op, TensorType, Value};

/// What a form may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Element type of the engine's numbers; `F32` shows that the form itself changes nothing.
    pub dtype: DType,
    /// What weights are.
    pub weights: WeightForm,
    /// Whether norms divide by the largest element before squaring: `f16` squares overflow from 256 on (facts ANE034).
    pub ranged_norms: bool,
    /// Whether all results of a program are padded to one size (facts ANE005, disputed): see
    /// [`pad_outputs`](crate::pass::pad_outputs).
    pub uniform_outputs: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dtype: DType::F16,
            weights: WeightForm::Constants,
            ranged_norms: false,
            uniform_outputs: false,
        }
    }
}

/// What weights are to the engine's programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightForm {
    /// Constants: dense layers are convolutions, and weights stream from memory in the engine's own form.
    #[default]
    Constants,
    /// Inputs, which can change between runs: dense layers are products.
    Inputs,
    /// Those of adapters are inputs, the model's own are constants.
    AdaptersAsInputs,
}

/// The input that says which token of a run is the last that is meant.
pub const LAST: &str = "last";

/// What the last part of an adapter's weights begins with.
pub const ADAPTER: &str = "lora_";

impl WeightForm {
    /// Whether the weight of this name is an input.
    pub fn is_input(self, name: &str) -> bool {
        match self {
            Self::Constants => false,
            Self::Inputs => true,
            Self::AdaptersAsInputs => {
                name.rsplit('.').next().is_some_and(|last| last.starts_with(ADAPTER))
            }
        }
    }
}

/// A program in engine form.
#[derive(Clone, Debug)]
pub struct Formed {
    /// The program. It has no states.
    pub program: Program,
    /// Where the states of the model's graph went, in their order, part by part.
    pub caches: Vec<CachePart>,
}

/// A part of a state that became an input and an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePart {
    /// The state, `[batch, capacity, kv_heads, head_dim]`.
    pub state: String,
    /// First and behind the last element of a head that the part holds.
    pub rows: (usize, usize),
    /// The input with the part's columns, `[batch, kv_heads, rows, capacity]`.
    pub input: String,
    /// The output with the columns of the new tokens, `[batch, kv_heads, rows, tokens]`.
    pub output: String,
}

/// The engine form of a model's graph.
///
/// # Errors
/// When the graph does something that has no place there: dropout, or states that are no key-value caches.
pub fn form(program: &Program, options: Options) -> Result<Formed, BuildError> {
    let b = Builder::new(program.name.clone());
    let mut former = Former {
        program,
        options,
        b: &b,
        values: BTreeMap::new(),
        plain: BTreeMap::new(),
        engine: BTreeMap::new(),
        shared: BTreeMap::new(),
        caches: Vec::new(),
        turned: rope::turned(program),
        last: None,
    };
    for input in program.inputs() {
        let value = former.b.input(input.name.clone(), program.type_of(input.value).clone());
        former.values.insert(input.value, Form::Plain(value));
        if input.name == LAST && former.b.type_of(value) == TensorType::scalar(DType::I32) {
            former.last = Some(value);
        }
    }
    for weight in program.weights() {
        let value = former.b.weight(weight.name.clone(), program.type_of(weight.value).clone());
        former.values.insert(weight.value, Form::Plain(value));
    }
    for (_, node) in program.nodes() {
        former.node(node);
    }
    for output in program.outputs() {
        let value = former.plain(output.value);
        former.b.output(output.name.clone(), value);
    }
    let caches = former.caches;
    let mut program = b.finish()?;
    program.drop_dead_nodes();
    Ok(Formed { program, caches })
}

/// What a value of the model's graph is here.
#[derive(Clone, Debug)]
enum Form {
    /// Itself.
    Plain(Value),
    /// `[batch, channels, 1, tokens]` of `[batch, tokens, channels]`.
    Channels(Value),
    /// `[batch, heads, part, tokens]` of `[batch, tokens, heads, head_dim]`; the parts together are the head.
    Heads(Vec<Value>),
    /// Heads of queries, times the factor of the scores that they are read for.
    Scaled(Vec<Value>),
    /// `[batch, heads · part, 1, tokens]` of `[batch, tokens, channels]`; the parts of one head after the other are the
    /// channels.
    Joined {
        /// In how many places each part goes.
        heads: usize,
        /// The parts.
        parts: Vec<Value>,
    },
    /// A cache that new keys or values were appended to.
    Appended {
        /// `[batch, heads, part, capacity]`, without the new ones.
        cache: Vec<Value>,
        /// `[batch, heads, part, tokens]`.
        new: Vec<Value>,
    },
}

struct Former<'p> {
    program: &'p Program,
    options: Options,
    b: &'p Builder,
    values: BTreeMap<ValueId, Form>,
    /// Values that were brought back into the model's form, and into the engine's.
    plain: BTreeMap<ValueId, Value>,
    engine: BTreeMap<ValueId, Value>,
    /// Masks and angles, which all layers share.
    shared: BTreeMap<String, Value>,
    caches: Vec<CachePart>,
    /// What rotary positions turn, and nothing else reads.
    turned: BTreeMap<ValueId, rope::Turned>,
    /// The input [`LAST`].
    last: Option<Value>,
}

impl Former<'_> {
    fn node(&mut self, node: &Node) {
        let b = self.b;
        let results = b.scoped(&node.scope, || self.results(node));
        self.values.extend(node.outputs.iter().copied().zip(results));
    }

    fn results(&mut self, node: &Node) -> Vec<Form> {
        let engine = match &node.op {
            Op::Linear(_) => Some(self.linear(node)),
            Op::RmsNorm(op) => Some(self.rms_norm(node, op.eps)),
            Op::LayerNorm(op) => Some(self.layer_norm(node, op.eps)),
            Op::Rope(_) => Some(self.rope(node)),
            Op::Attention(op) => Some(self.attention(node, op.scale, op.causal)),
            Op::UpdateSlice(op) => self.append(node, op.axis),
            Op::Split(op) => {
                if let Some(parts) = self.split(node, op.axis, &op.sizes) {
                    return parts;
                }
                None
            }
            Op::Concat(op) => self.joined(node, op.axis),
            Op::Reshape(op) => self.reshape(node, &op.shape),
            Op::Cast(_) => self.cast(node),
            Op::Dropout(_) => {
                let message = "dropout has no engine form; train with --dropout 0".to_owned();
                Some(Form::Plain(self.b.fail("dropout", TypeError(message))))
            }
            op => match gradient::of(op) {
                Some((composite, of)) => return self.gradient(node, composite, &of),
                None => self.elementwise(node, op),
            },
        };
        match engine {
            Some(form) => vec![form],
            None => {
                let operands: Vec<Value> =
                    node.inputs.iter().map(|&value| self.plain(value)).collect();
                self.b.apply(node.op.clone(), &operands).into_iter().map(Form::Plain).collect()
            }
        }
    }

    fn ty(&self, value: ValueId) -> TensorType {
        self.program.type_of(value).clone()
    }

    /// A value in the model's own form.
    fn plain(&mut self, id: ValueId) -> Value {
        if let Some(&known) = self.plain.get(&id) {
            return known;
        }
        let ty = self.ty(id);
        let value = match self.values.get(&id).cloned() {
            Some(Form::Plain(value)) => value,
            Some(Form::Channels(_) | Form::Joined { .. }) => {
                let value = self.channels(id);
                let wide = self.b.cast(value, ty.dtype);
                self.b.reshape(self.b.transpose(wide, &[0, 3, 1, 2]), &ty.shape)
            }
            Some(Form::Heads(parts)) => {
                let parts: Vec<Value> = (parts.iter())
                    .map(|&part| self.b.transpose(self.b.cast(part, ty.dtype), &[0, 3, 1, 2]))
                    .collect();
                match *parts {
                    [one] => one,
                    _ => self.b.concat(&parts, 3),
                }
            }
            Some(Form::Appended { .. } | Form::Scaled(_)) | None => {
                self.b.fail("state", TypeError::new("only attention reads a key-value cache"))
            }
        };
        self.plain.insert(id, value);
        value
    }

    /// A value `[batch, tokens, channels]` as `[batch, channels, 1, tokens]`.
    fn channels(&mut self, id: ValueId) -> Value {
        if let Some(&known) = self.engine.get(&id) {
            return known;
        }
        let value = match self.values.get(&id).cloned() {
            Some(Form::Channels(value)) => value,
            Some(Form::Joined { heads, parts }) => self.side_by_side(heads, &parts),
            _ => {
                let plain = self.plain(id);
                match self.b.type_of(plain).shape.as_slice() {
                    &[batch, tokens, channels] => {
                        let x = self.b.reshape(plain, &[batch, tokens, channels, 1]);
                        self.b.cast(self.b.transpose(x, &[0, 2, 3, 1]), self.options.dtype)
                    }
                    shape => {
                        let message = format!("{shape:?} is not [batch, tokens, channels]");
                        self.b.fail("engine form", TypeError(message))
                    }
                }
            }
        };
        self.engine.insert(id, value);
        value
    }

    /// A value `[batch, tokens, heads, head_dim]` as its parts `[batch, heads, part, tokens]`.
    fn heads(&mut self, id: ValueId) -> Vec<Value> {
        match self.values.get(&id).cloned() {
            Some(Form::Heads(parts) | Form::Scaled(parts)) => parts,
            _ => {
                let plain = self.plain(id);
                let turned = self.b.transpose(plain, &[0, 2, 3, 1]);
                vec![self.b.cast(turned, self.options.dtype)]
            }
        }
    }

    /// A weight or constant of one number a channel as `[1, channels, 1, 1]`; one that is an input lies as a whole
    /// `[1, channels, 1, tokens]` of `like`, whose rows are long enough.
    fn per_channel(&mut self, id: ValueId, like: Value) -> Value {
        let is_input = self.is_input_weight(id);
        let plain = self.plain(id);
        self.column(plain, is_input, like)
    }

    /// See [`per_channel`](Self::per_channel).
    fn column(&self, plain: Value, is_input: bool, like: Value) -> Value {
        let channels = self.b.type_of(plain).elements();
        let column = self.b.reshape(self.b.cast(plain, self.options.dtype), &[1, channels, 1, 1]);
        if is_input {
            let tokens = self.b.type_of(like).dim(-1);
            return self.b.broadcast_to(column, &[1, channels, 1, tokens]);
        }
        column
    }

    /// Whether a value is a weight that the engine's programs take as an input.
    fn is_input_weight(&self, id: ValueId) -> bool {
        match self.program.definition(id) {
            Definition::Weight(index) => {
                self.options.weights.is_input(&self.program.weights()[index].name)
            }
            _ => false,
        }
    }

    fn number(&self, value: f64) -> Value {
        self.b.scalar(self.options.dtype, value)
    }

    /// A value that is made once and read by all layers.
    fn once(&mut self, key: String, make: impl FnOnce(&Builder) -> Value) -> Value {
        if let Some(&known) = self.shared.get(&key) {
            return known;
        }
        // Its first word says what it is.
        let what = key.split(' ').next().unwrap_or_default();
        let value = self.b.scoped(what, || make(self.b));
        self.shared.insert(key, value);
        value
    }

    fn reshape(&mut self, node: &Node, to: &[usize]) -> Option<Form> {
        let &from = node.inputs.first()?;
        match (self.values.get(&from)?.clone(), self.ty(from).shape.as_slice(), to) {
            (Form::Channels(x), &[batch, tokens, channels], &[b, t, heads, head_dim])
                if (batch, tokens, channels) == (b, t, heads * head_dim) =>
            {
                if let Some(parts) = self.parts_to_turn(node, heads) {
                    return Some(Form::Heads(parts));
                }
                Some(Form::Heads(vec![self.b.reshape(x, &[batch, heads, head_dim, tokens])]))
            }
            (Form::Heads(parts), &[batch, tokens, heads, _], &[b, t, _])
                if (batch, tokens) == (b, t) =>
            {
                let channels = |&part: &Value| {
                    let rows = self.b.type_of(part).dim(2);
                    self.b.reshape(part, &[batch, heads * rows, 1, tokens])
                };
                let parts: Vec<Value> = parts.iter().map(channels).collect();
                Some(match *parts {
                    [one] => Form::Channels(one),
                    _ => Form::Joined { heads, parts },
                })
            }
            _ => None,
        }
    }

    /// Real numbers of the engine all have one type.
    fn cast(&mut self, node: &Node) -> Option<Form> {
        match self.values.get(node.inputs.first()?)? {
            Form::Plain(_) => None,
            engine => Some(engine.clone()),
        }
    }
}

/// Where tokens stand: along `axis` of `shape`, counted from the beginning of the text; those behind `last` where it does.
fn standing(
    b: &Builder,
    shape: &[usize],
    axis: i64,
    position: Value,
    last: Option<Value>,
) -> Value {
    let place = match last {
        Some(last) => b.iota_up_to(shape, axis, last),
        None => b.iota(shape, axis),
    };
    b.add(place, position)
}
