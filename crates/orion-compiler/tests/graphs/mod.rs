//! Programs for tests and benchmarks of passes: small models as model files build them, and random graphs of what rules look at.

use orion_compiler::grad::grad;
use orion_compiler::pass::expand::expand_composites;
use orion_compiler::{BuildError, Builder, DType, Program, TensorType, Value, ValueId};

/// Sizes of a model.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) inner: usize,
    pub(crate) vocabulary: usize,
    pub(crate) tokens: usize,
}

impl Sizes {
    /// GPT-2 124M on 256 tokens.
    #[allow(dead_code, reason = "for the benchmark only")]
    pub(crate) const GPT2: Self =
        Self { layers: 12, width: 768, heads: 12, inner: 3072, vocabulary: 50257, tokens: 256 };

    /// Enough of everything.
    #[allow(dead_code, reason = "for tests only")]
    pub(crate) const TINY: Self =
        Self { layers: 2, width: 8, heads: 2, inner: 12, vocabulary: 9, tokens: 4 };
}

fn matrix(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

/// The loss of GPT-2 (layer norms, one projection for queries, keys and values, GELU), as `orion train` defines it.
pub(crate) fn gpt2(sizes: Sizes) -> Result<Program, BuildError> {
    let Sizes { layers, width, heads, inner, vocabulary, tokens } = sizes;
    let b = Builder::new("gpt2");
    let ids = b.input("tokens", TensorType::new(DType::I32, [1, tokens]));
    let labels = b.input("labels", TensorType::new(DType::I32, [tokens]));
    let position = b.constant(DType::I32, &[], vec![0.0]);
    let wte = b.weight("wte", matrix(&[vocabulary, width]));
    let wpe = b.weight("wpe", matrix(&[tokens, width]));
    let index = b.add(b.iota(&[tokens], 0), position);
    let mut x = b.add(b.embedding(wte, ids, DType::F32), b.embedding(wpe, index, DType::F32));
    for layer in 0..layers {
        let name = |part: &str| format!("h.{layer}.{part}");
        let norm = |part: &str, x: Value| {
            let weight = b.weight(name(&format!("{part}.weight")), matrix(&[width]));
            let bias = b.weight(name(&format!("{part}.bias")), matrix(&[width]));
            b.scoped(&name(part), || b.layer_norm(x, weight, bias, 1e-5))
        };
        let linear = |part: &str, x: Value, outs: usize| {
            let ins = b.type_of(x).dim(-1);
            let weight = b.weight(name(&format!("{part}.weight")), matrix(&[outs, ins]));
            let bias = b.weight(name(&format!("{part}.bias")), matrix(&[outs]));
            b.scoped(&name(part), || b.linear(x, weight, Some(bias)))
        };
        let qkv = linear("attn.c_attn", norm("ln_1", x), 3 * width);
        let parts = b.split(qkv, -1, [width; 3]);
        let [q, k, v] = parts.map(|part| b.reshape(part, &[1, tokens, heads, width / heads]));
        let scale = 1.0 / ((width / heads) as f64).sqrt();
        let mixed = b.scoped(&name("attn"), || b.attention([q, k, v, position], scale, true));
        let mixed = b.reshape(mixed, &[1, tokens, width]);
        x = b.add(x, linear("attn.c_proj", mixed, width));
        let hidden = b.gelu(linear("mlp.c_fc", norm("ln_2", x), inner), true);
        x = b.add(x, linear("mlp.c_proj", hidden, width));
    }
    let weight = b.weight("ln_f.weight", matrix(&[width]));
    let bias = b.weight("ln_f.bias", matrix(&[width]));
    let logits = b.linear(b.layer_norm(x, weight, bias, 1e-5), wte, None);
    let rows = b.reshape(logits, &[tokens, vocabulary]);
    b.output("loss", b.cross_entropy(rows, labels, -100));
    b.finish()
}

/// The logits of Llama (root-mean-square norms, rotary positions, grouped queries, SwiGLU).
#[allow(dead_code, reason = "for tests only")]
pub(crate) fn llama(sizes: Sizes) -> Result<Program, BuildError> {
    let Sizes { layers, width, heads, inner, vocabulary, tokens } = sizes;
    let (head_dim, kv_heads) = (width / heads, heads / 2);
    let b = Builder::new("llama");
    let ids = b.input("tokens", TensorType::new(DType::I32, [1, tokens]));
    let labels = b.input("labels", TensorType::new(DType::I32, [tokens]));
    let position = b.constant(DType::I32, &[], vec![0.0]);
    let angles = (0..head_dim / 2).map(|i| 1.0 / (i as f64 + 1.0)).collect();
    let frequencies = b.constant(DType::F32, &[head_dim / 2], angles);
    let mut x = b.embedding(b.weight("embed", matrix(&[vocabulary, width])), ids, DType::F32);
    for layer in 0..layers {
        let linear = |part: &str, x: Value, outs: usize| {
            let ins = b.type_of(x).dim(-1);
            let weight = b.weight(format!("layers.{layer}.{part}"), matrix(&[outs, ins]));
            b.linear(x, weight, None)
        };
        let norm = |part: &str, x: Value| {
            b.rms_norm(x, b.weight(format!("layers.{layer}.{part}"), matrix(&[width])), 1e-5)
        };
        let own = norm("input_norm", x);
        let heads_of = |part: &str, heads: usize| {
            b.reshape(linear(part, own, heads * head_dim), &[1, tokens, heads, head_dim])
        };
        let q = b.rope(heads_of("q", heads), frequencies, position);
        let k = b.rope(heads_of("k", kv_heads), frequencies, position);
        let v = heads_of("v", kv_heads);
        let mixed = b.attention([q, k, v, position], 1.0 / (head_dim as f64).sqrt(), true);
        x = b.add(x, linear("o", b.reshape(mixed, &[1, tokens, width]), width));
        let own = norm("post_norm", x);
        let hidden = b.swiglu(linear("gate", own, inner), linear("up", own, inner));
        x = b.add(x, linear("down", hidden, width));
    }
    let logits = linear_head(&b, x, vocabulary, width);
    b.output("loss", b.cross_entropy(b.reshape(logits, &[tokens, vocabulary]), labels, -100));
    b.finish()
}

#[allow(dead_code, reason = "for tests only")]
fn linear_head(b: &Builder, x: Value, vocabulary: usize, width: usize) -> Value {
    b.linear(x, b.weight("head", matrix(&[vocabulary, width])), None)
}

/// A part of a layer in the form that the engine likes: `[1, channels, 1, tokens]` in `f16`, dense layers as convolutions.
#[allow(dead_code, reason = "for tests only")]
pub(crate) fn channels_first(sizes: Sizes) -> Result<Program, BuildError> {
    let Sizes { width, heads, inner, tokens, .. } = sizes;
    let head_dim = width / heads;
    let b = Builder::new("channels_first");
    let x = b.input("x", TensorType::new(DType::F16, [1, width, 1, tokens]));
    let conv = |name: &str, x: Value, outs: usize| {
        let ins = b.type_of(x).dim(1);
        let weight = b.weight(format!("{name}.weight"), matrix(&[outs, ins]));
        b.conv1x1(x, weight, Some(b.weight(format!("{name}.bias"), matrix(&[outs]))))
    };
    let [q, k, v] = ["q", "k", "v"].map(|name| {
        let x = b.reshape(conv(name, x, width), &[1, heads, head_dim, tokens]);
        b.transpose(x, &[0, 1, 3, 2])
    });
    let number = |value: f64| b.scalar(DType::F16, value);
    let scores = b.div(b.matmul(q, k, false, true), number(2.0));
    let seen = b.less_equal(b.iota(&[tokens, tokens], 1), b.iota(&[tokens, tokens], 0));
    let mask = b.select(seen, number(0.0), number(-1e4));
    let mixed = b.matmul(b.softmax(b.add(scores, mask), -1), v, false, false);
    let mixed = b.reshape(b.transpose(mixed, &[0, 1, 3, 2]), &[1, width, 1, tokens]);
    let x = b.add(x, conv("o", mixed, width));
    let hidden = b.mul(b.gelu(conv("up", x, inner), true), number(1.0));
    let y = b.add(x, conv("down", hidden, width));
    b.output("y", y);
    let sum = b.reduce_sum(b.mul(y, y), &[0, 1, 2, 3], false);
    b.output("loss", b.cast(sum, DType::F32));
    b.finish()
}

/// The program with gradients of its output `loss` to all weights, and without composites.
pub(crate) fn with_gradients(program: &Program) -> Result<Program, BuildError> {
    let roots: Vec<ValueId> = program.weights().iter().map(|weight| weight.value).collect();
    expand_composites(&grad(program, "loss", &roots)?, &|_, _| false)
}

/// The program with the gradient of its output `loss` to its first input, and without composites: weights stay what they are.
#[allow(dead_code, reason = "for tests only")]
pub(crate) fn with_input_gradient(program: &Program) -> Result<Program, BuildError> {
    let roots: Vec<ValueId> = program.inputs().iter().take(1).map(|input| input.value).collect();
    expand_composites(&grad(program, "loss", &roots)?, &|_, _| false)
}
