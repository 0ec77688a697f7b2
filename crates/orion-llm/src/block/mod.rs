//! Building blocks that model files are made of. A [`ModelBuilder`] knows where in the weight tree it stands, which
//! types the weights have, and what kind of pass is being built: how many tokens, whether keys and values are cached,
//! which logits are asked for.

mod rope;

use std::cell::Cell;

use orion_compiler::ir::types::TypeError;
use orion_compiler::{Builder, DType, TensorType, Value};

pub use rope::{GgufRopeScaling, RopeParameters, RopeScaling};

/// The types that weights have in the file at hand; `None` when there is no such weight.
pub type WeightTypes<'a> = dyn Fn(&str) -> Option<TensorType> + 'a;

/// The weights that a model is built on.
#[derive(Clone, Copy)]
pub enum Weights<'a> {
    /// Those of a file.
    Stored(&'a WeightTypes<'a>),
    /// Whatever the model reads, in `f32`: it is yet to be trained.
    New,
}

/// What is computed by one run of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pass {
    /// Sequences side by side.
    pub batch: usize,
    /// Tokens of each that are new.
    pub tokens: usize,
    /// The key-value cache that the new tokens are appended to; without one they are the whole text.
    pub cache: Option<Cache>,
    /// Which tokens logits are asked for.
    pub logits: Logits,
}

/// A key-value cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cache {
    /// Positions that it can hold.
    pub capacity: usize,
    /// Element type: `f16` halves the memory that a long text takes, `f32` is exact.
    pub dtype: DType,
}

/// Which tokens' logits a pass gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Logits {
    /// The last token's: what the next token is drawn from.
    Last,
    /// Those of this many tokens in a row, of which one is the token that [`ModelBuilder::with_last`] names: programs of one
    /// width read texts of many lengths.
    Around(usize),
    /// Every token's.
    All,
}

/// Builds a model's graph.
pub struct ModelBuilder<'a> {
    b: &'a Builder,
    weights: Weights<'a>,
    pass: Pass,
    /// Tokens that the cache already holds, `i32[]`.
    position: Value,
    dropout: Option<&'a Dropout>,
    adapter: Option<Adapter<'a>>,
    /// The last token that is meant, `i32[]`, for [`Logits::Around`].
    last: Option<Value>,
    scope: String,
}

/// Zeroing of activations at random while a model is trained.
#[derive(Debug)]
pub struct Dropout {
    rate: f64,
    seed: Value,
    /// How many there are so far.
    count: Cell<i64>,
}

impl Dropout {
    /// With this probability; `seed`, `i32[]`, is another one in every run.
    pub fn new(rate: f64, seed: Value) -> Self {
        Self { rate, seed, count: Cell::new(0) }
    }
}

/// Low-rank adapters beside dense layers (Hu et al., 2021): `y = W·x + scale · B·(A·x)`. Their weights are `<layer>.lora_a
/// [rank, in]` and `<layer>.lora_b [out, rank]`.
#[derive(Clone, Copy, Debug)]
pub struct Adapter<'a> {
    /// Width between the two matrices.
    pub rank: usize,
    /// Factor of what the adapter adds, `alpha / rank`.
    pub scale: f64,
    /// Last parts of the names of the layers that have one: `q_proj`.
    pub targets: &'a [&'a str],
}

/// How a layer attends to the tokens before it.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention<'a> {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; `heads` is a multiple of it.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rotary frequencies, for models with rotary positions.
    pub rope: Option<&'a [f64]>,
    /// Whether the projections have biases.
    pub bias: bool,
}

impl<'a> ModelBuilder<'a> {
    /// A builder at the root of the weight tree.
    pub fn new(b: &'a Builder, weights: Weights<'a>, pass: Pass, position: Value) -> Self {
        Self {
            b,
            weights,
            pass,
            position,
            dropout: None,
            adapter: None,
            last: None,
            scope: String::new(),
        }
    }

    /// The same builder, for training with dropout.
    pub fn with_dropout(self, dropout: &'a Dropout) -> Self {
        Self { dropout: Some(dropout), ..self }
    }

    /// The same builder, where `last`, `i32[]`, says which token is the last that is meant: its logits are wanted, and those
    /// behind it stand where it stands.
    pub fn with_last(self, last: Value) -> Self {
        Self { last: Some(last), ..self }
    }

    /// The same builder, with adapters.
    pub fn with_adapter(self, adapter: Adapter<'a>) -> Self {
        Self { adapter: Some(adapter), ..self }
    }

    /// The same builder further down the weight tree.
    pub fn scope(&self, name: impl AsRef<str>) -> ModelBuilder<'a> {
        ModelBuilder { scope: self.path(name.as_ref()), ..*self }
    }

    fn path(&self, name: &str) -> String {
        if self.scope.is_empty() { name.to_owned() } else { format!("{}.{name}", self.scope) }
    }

    fn within<T>(&self, name: &str, body: impl FnOnce() -> T) -> T {
        self.b.scoped(&self.path(name), body)
    }

    /// Whether the file has a weight of this name.
    pub fn has_weight(&self, name: &str) -> bool {
        matches!(self.weights, Weights::Stored(types) if types(&self.path(name)).is_some())
    }

    /// The weight `name`, which must have this shape.
    fn weight(&self, name: &str, shape: &[usize]) -> Value {
        let path = self.path(name);
        let ty = match self.weights {
            Weights::Stored(types) => types(&path),
            Weights::New => Some(TensorType::new(DType::F32, shape)),
        };
        match ty {
            Some(ty) if ty.shape == shape => self.b.weight(path, ty),
            Some(ty) => {
                let message = format!(
                    "tensor `{path}` is {:?}, the configuration asks for {shape:?}",
                    ty.shape
                );
                self.b.fail("weight", TypeError(message))
            }
            None => self.b.fail("weight", TypeError(format!("tensor `{path}` is missing"))),
        }
    }

    /// Rows of the table `name` by token id: `[batch, tokens, width]`.
    pub fn embed(&self, name: &str, tokens: Value, rows: usize, width: usize) -> Value {
        let table = self.weight(&format!("{name}.weight"), &[rows, width]);
        self.within(name, || self.b.embedding(table, tokens, DType::F32))
    }

    /// Rows of the table `name` by position: `[tokens, width]`.
    pub fn embed_positions(&self, name: &str, rows: usize, width: usize) -> Value {
        let table = self.weight(&format!("{name}.weight"), &[rows, width]);
        self.within(name, || {
            let b = self.b;
            let place = match self.last {
                Some(last) => b.iota_up_to(&[self.pass.tokens], 0, last),
                None => b.iota(&[self.pass.tokens], 0),
            };
            let index = b.add(place, self.position);
            self.b.embedding(table, index, DType::F32)
        })
    }

    /// `x · Wᵀ`, plus the bias where there is one: `[…, outputs]`.
    pub fn linear(&self, name: &str, x: Value, outputs: usize, bias: bool) -> Value {
        let inputs = self.b.type_of(x).dim(-1);
        let weight = self.weight(&format!("{name}.weight"), &[outputs, inputs]);
        let bias = bias.then(|| self.weight(&format!("{name}.bias"), &[outputs]));
        let y = self.within(name, || self.b.linear(x, weight, bias));
        let part = name.rsplit('.').next().unwrap_or(name);
        let Some(adapter) = self.adapter.filter(|adapter| adapter.targets.contains(&part)) else {
            return y;
        };
        let matrix = |part: &str, shape: [usize; 2]| {
            let path = format!("{}.{part}", self.path(name));
            self.b.weight(path, TensorType::new(DType::F32, shape))
        };
        let down = matrix("lora_a", [adapter.rank, inputs]);
        let up = matrix("lora_b", [outputs, adapter.rank]);
        self.within(name, || {
            let low = self.b.linear(x, down, None);
            let added = self.b.linear(low, up, None);
            let scale = self.b.scalar(self.b.type_of(added).dtype, adapter.scale);
            self.b.add(y, self.b.mul(added, scale))
        })
    }

    /// Root-mean-square normalisation with the weight `name`.
    pub fn rms_norm(&self, name: &str, x: Value, eps: f64) -> Value {
        let weight = self.weight(&format!("{name}.weight"), &[self.b.type_of(x).dim(-1)]);
        self.within(name, || self.b.rms_norm(x, weight, eps))
    }

    /// Layer normalisation with the weights `name`.
    pub fn layer_norm(&self, name: &str, x: Value, eps: f64) -> Value {
        let width = self.b.type_of(x).dim(-1);
        let weight = self.weight(&format!("{name}.weight"), &[width]);
        let bias = self.weight(&format!("{name}.bias"), &[width]);
        self.within(name, || self.b.layer_norm(x, weight, bias, eps))
    }

    /// `x + y`.
    pub fn add(&self, x: Value, y: Value) -> Value {
        self.b.scoped(&self.scope, || self.b.add(x, y))
    }

    /// `x`, of which training with dropout drops a part.
    pub fn dropout(&self, x: Value) -> Value {
        let Some(Dropout { rate, seed, count }) = self.dropout else { return x };
        let stream = count.replace(count.get() + 1);
        self.b.scoped(&self.scope, || self.b.dropout(x, *seed, *rate, stream))
    }

    /// GELU, in its tanh form or exact.
    pub fn gelu(&self, x: Value, tanh: bool) -> Value {
        self.b.scoped(&self.scope, || self.b.gelu(x, tanh))
    }

    /// The gated feed-forward part: `down(silu(gate(x)) · up(x))`.
    pub fn swiglu(&self, name: &str, x: Value, inner: usize, bias: bool) -> Value {
        let m = self.scope(name);
        let width = self.b.type_of(x).dim(-1);
        let (gate, up) =
            (m.linear("gate_proj", x, inner, bias), m.linear("up_proj", x, inner, bias));
        let hidden = self.within(name, || self.b.swiglu(gate, up));
        m.linear("down_proj", hidden, width, bias)
    }

    /// The attention part of a layer: projections, rotary positions, cache, attention, output projection.
    pub fn self_attention(
        &self,
        name: &str,
        x: Value,
        layer: usize,
        spec: &SelfAttention<'_>,
    ) -> Value {
        let m = self.scope(name);
        let &SelfAttention { heads, kv_heads, head_dim, rope, bias } = spec;
        let width = self.b.type_of(x).dim(-1);
        let [q, k, v] = [("q_proj", heads), ("k_proj", kv_heads), ("v_proj", kv_heads)]
            .map(|(part, heads)| m.heads(m.linear(part, x, heads * head_dim, bias), heads));
        let [q, k] = match rope {
            Some(frequencies) => [q, k].map(|x| m.rope(x, frequencies)),
            None => [q, k],
        };
        let mixed = m.cached_attention([q, k, v], layer, 1.0 / (head_dim as f64).sqrt());
        m.linear("o_proj", mixed, width, bias)
    }

    /// `[batch, tokens, heads · head_dim]` → `[batch, tokens, heads, head_dim]`.
    fn heads(&self, x: Value, heads: usize) -> Value {
        let ty = self.b.type_of(x);
        let &[batch, tokens, width] = ty.shape.as_slice() else { return x };
        self.b.scoped(&self.scope, || {
            self.b.reshape(x, &[batch, tokens, heads, width / heads.max(1)])
        })
    }

    /// Queries, keys and values out of one projection: each `[batch, tokens, heads, head_dim]`.
    pub fn split_heads(&self, qkv: Value, heads: usize) -> [Value; 3] {
        let width = self.b.type_of(qkv).dim(-1) / 3;
        let parts = self.b.scoped(&self.scope, || self.b.split(qkv, -1, [width; 3]));
        parts.map(|part| self.heads(part, heads))
    }

    fn rope(&self, x: Value, frequencies: &[f64]) -> Value {
        self.b.scoped(&self.scope, || {
            let frequencies =
                self.b.constant(DType::F32, &[frequencies.len()], frequencies.to_vec());
            self.b.rope(x, frequencies, self.position)
        })
    }

    /// Causal attention of the new tokens over themselves and the cache, which they are appended to:
    /// `[batch, tokens, heads · head_dim]` from `[batch, tokens, heads, head_dim]`.
    pub fn cached_attention(&self, [q, k, v]: [Value; 3], layer: usize, scale: f64) -> Value {
        let b = self.b;
        b.scoped(&self.scope, || {
            let (keys, values, position) = match self.pass.cache {
                None => (k, v, b.constant(DType::I32, &[], vec![0.0])),
                Some(cache) => {
                    let append = |part: &str, x: Value| {
                        let ty = b.type_of(x);
                        let &[batch, _, heads, head_dim] = ty.shape.as_slice() else { return x };
                        let ty =
                            TensorType::new(cache.dtype, [batch, cache.capacity, heads, head_dim]);
                        let state = b.state(format!("cache.{layer}.{part}"), ty);
                        let x = if cache.dtype == DType::F32 { x } else { b.cast(x, cache.dtype) };
                        let next = b.update_slice(state, x, self.position, 1);
                        b.set_state(state, next);
                        next
                    };
                    (append("keys", k), append("values", v), self.position)
                }
            };
            let mixed = b.attention([q, keys, values, position], scale, true);
            let ty = b.type_of(q);
            let &[batch, tokens, heads, head_dim] = ty.shape.as_slice() else { return mixed };
            b.reshape(mixed, &[batch, tokens, heads * head_dim])
        })
    }

    /// The tokens whose logits are asked for: all, some around the last, or the last: `[batch, tokens, width]`.
    pub fn asked_tokens(&self, x: Value) -> Value {
        let ty = self.b.type_of(x);
        let &[batch, tokens, width] = ty.shape.as_slice() else { return x };
        match (self.pass.logits, self.last) {
            (Logits::Around(count), Some(last)) if count < tokens => {
                self.b.slice_at(x, last, 1, count)
            }
            (Logits::Last, _) if tokens > 1 => {
                self.b.slice(x, &[0, tokens - 1, 0], &[batch, tokens, width])
            }
            _ => x,
        }
    }
}
