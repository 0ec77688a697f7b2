//! Attention over heads that lie `[heads, head_dim, tokens]`: scores and mixtures are products that need no transposition.
//! Grouped queries are read as more queries of fewer heads.
//!
//! A cache is not written on the engine. With `P [tokens, capacity]`, which has a one where a new token's column will be,
//! `q · (K + k·P) = q·K + (q·k)·P` and `(V + v·P) · pᵀ = V·pᵀ + v·(p·Pᵀ)ᵀ`: the new columns take part where they belong.

use super::{CachePart, Form, Former, standing};
use crate::ir::program::{Definition, Node, ValueId};
use crate::ir::types::TypeError;
use crate::{DType, TensorType, Value};

/// Added to scores of tokens that are not to be seen; infinities would be taken from each other (facts ANE033).
const HIDDEN: f64 = -1e4;

/// Keys or values: what a cache holds, if there is one, and the new ones.
struct Store {
    cache: Option<Vec<Value>>,
    new: Vec<Value>,
}

impl Former<'_> {
    /// New keys or values at the end of a cache.
    pub(super) fn append(&mut self, node: &Node, axis: i64) -> Option<Form> {
        let &[state, update, position] = node.inputs.as_slice() else { return None };
        let Definition::State(index) = self.program.definition(state) else { return None };
        let known = &self.program.states()[index];
        let ty = self.ty(state);
        let (&[batch, capacity, heads, head_dim], 1) = (ty.shape.as_slice(), axis) else {
            return None;
        };
        let name = known.name.clone();
        let new = self.heads(update);
        let _ = position;
        let mut cache = Vec::with_capacity(new.len());
        let mut start = 0;
        for (part, &columns) in new.iter().enumerate() {
            let rows = self.b.type_of(columns).dim(2);
            let input = format!("{name}.{part}");
            let output = format!("new.{name}.{part}");
            let shape = [batch, heads, rows, capacity];
            cache.push(self.b.input(input.clone(), TensorType::new(self.options.dtype, shape)));
            self.b.output(output.clone(), columns);
            let rows = (start, start + rows);
            self.caches.push(CachePart { state: name.clone(), rows, input, output });
            start = rows.1;
        }
        debug_assert_eq!(start, head_dim, "parts make up the head");
        Some(Form::Appended { cache, new })
    }

    fn store(&mut self, id: ValueId) -> Store {
        match self.values.get(&id).cloned() {
            Some(Form::Appended { cache, new }) => Store { cache: Some(cache), new },
            _ => Store { cache: None, new: self.heads(id) },
        }
    }

    pub(super) fn attention(&mut self, node: &Node, scale: f64, causal: bool) -> Form {
        let &[q, keys, values, position] = node.inputs.as_slice() else {
            let what = "q, keys, values, position";
            return Form::Plain(self.b.wrong_operands("attention", what, &[]));
        };
        let (q_type, store_type) = (self.ty(q), self.ty(keys));
        let (&[batch, tokens, heads, head_dim], &[_, capacity, kv_heads, _]) =
            (q_type.shape.as_slice(), store_type.shape.as_slice())
        else {
            let error = TypeError::new("q and keys need four dimensions");
            return Form::Plain(self.b.fail("attention", error));
        };
        let group = heads / kv_heads;
        let position = self.plain(position);
        let (queries, keys, values) = (self.heads(q), self.store(keys), self.store(values));
        let mask = self.mask([tokens, group, capacity], position, causal);
        let places = keys.cache.is_some().then(|| self.places(tokens, capacity, position));

        let is_scaled = matches!(self.values.get(&q), Some(Form::Scaled(_)));
        let scale = self.number(scale);
        let b = self.b;
        // [batch, heads, part, tokens], or [batch, kv_heads, tokens · group, part]
        let queries: Vec<Value> = (queries.iter())
            .map(|&part| {
                let scaled = if is_scaled { part } else { b.mul(part, scale) };
                if group == 1 {
                    return scaled;
                }
                let rows = b.type_of(part).dim(2);
                let joined = b.reshape(scaled, &[batch, kv_heads, group * rows, tokens]);
                let turned = b.transpose(joined, &[0, 1, 3, 2]);
                b.reshape(turned, &[batch, kv_heads, tokens * group, rows])
            })
            .collect();
        if queries.len() != keys.new.len() || values.new.len() != 1 {
            let error = TypeError::new("queries and keys are cut differently, or values are cut");
            return Form::Plain(self.b.fail("attention", error));
        }
        let product = |keys: &[Value]| {
            let parts = queries.iter().zip(keys).map(|(&q, &k)| b.matmul(q, k, group == 1, false));
            parts.reduce(|sum, part| b.add(sum, part)).unwrap_or(queries[0])
        };
        // [batch, kv_heads, tokens · group, capacity]
        let scores = match (&keys.cache, places) {
            (Some(cache), Some(places)) => {
                let placed = b.matmul(product(&keys.new), places, false, false);
                b.add(product(cache), placed)
            }
            _ => product(&keys.new),
        };
        let weights = b.softmax(b.add(scores, mask), -1);
        // By each new token alone: [batch, kv_heads, tokens · group, tokens]
        let of_new = places.map(|places| b.matmul(weights, places, false, true));
        let mix = |weights: Value, values: Value| {
            if group == 1 {
                b.matmul(values, weights, false, true)
            } else {
                b.matmul(weights, values, false, true)
            }
        };
        let mixed = match (&values.cache, of_new) {
            (Some(cache), Some(of_new)) => {
                b.add(mix(weights, cache[0]), mix(of_new, values.new[0]))
            }
            _ => mix(weights, values.new[0]),
        };
        if group == 1 {
            return Form::Heads(vec![mixed]);
        }
        let by_token = b.reshape(mixed, &[batch, kv_heads, tokens, group * head_dim]);
        let turned = b.transpose(by_token, &[0, 1, 3, 2]);
        Form::Heads(vec![b.reshape(turned, &[batch, heads, head_dim, tokens])])
    }

    /// What is added to scores: `[1, 1, tokens · group, capacity]`, zero where a token is seen.
    fn mask(&mut self, shape: [usize; 3], position: Value, causal: bool) -> Value {
        let (dtype, last_meant) = (self.options.dtype, self.last);
        self.once(format!("mask {shape:?} {causal}"), |b| {
            let [tokens, group, capacity] = shape;
            let last = if causal {
                standing(b, &[tokens, 1, 1], 0, position, last_meant)
            } else {
                let all = || b.constant(DType::I32, &[], vec![tokens as f64 - 1.0]);
                b.add(last_meant.unwrap_or_else(all), position)
            };
            let visible = b.less_equal(b.iota(&[1, 1, capacity], 2), last);
            let [seen, hidden] = [0.0, HIDDEN].map(|value| b.scalar(DType::F32, value));
            let mask = b.broadcast_to(b.select(visible, seen, hidden), &shape);
            b.cast(b.reshape(mask, &[1, 1, tokens * group, capacity]), dtype)
        })
    }

    /// Where new tokens stand: `[1, 1, tokens, capacity]`; those that are not meant nowhere.
    fn places(&mut self, tokens: usize, capacity: usize, position: Value) -> Value {
        let (dtype, last) = (self.options.dtype, self.last);
        self.once(format!("places {tokens} {capacity}"), |b| {
            let token = b.iota(&[tokens, 1], 0);
            let here = b.equal(b.iota(&[1, capacity], 1), b.add(token, position));
            let [one, zero] = [1.0, 0.0].map(|value| b.scalar(DType::F32, value));
            let mut places = b.select(here, one, zero);
            if let Some(last) = last {
                places = b.select(b.less_equal(token, last), places, zero);
            }
            b.cast(b.reshape(places, &[1, 1, tokens, capacity]), dtype)
        })
    }
}
