//! Norms, activations, softmax, rotary positions and attention against PyTorch (`tools/golden/kernels.py`), in every
//! variant that this machine has.

use std::collections::HashMap;

use orion_kernels::{
    Isa, Numbers, Pool, activation,
    attention::{AttentionShape, Cache, Scratch, attention, attention_by_products},
    norm,
    rope::{Angles, Direction, RopeShape, rope},
    softmax::softmax,
};

type Case = HashMap<String, Vec<f32>>;

fn golden(name: &str) -> Case {
    let all = include_str!("golden/kernels.json");
    let mut cases: HashMap<String, Case> = serde_json::from_str(all).expect("lists of numbers");
    cases.remove(name).expect("the script writes this case")
}

/// Runs `kernel` in every variant; the result may be off by `tolerance`, absolute below 1 and relative above.
fn check(want: &[f32], tolerance: f32, kernel: impl Fn(&Pool, &mut [f32])) {
    for isa in Isa::available() {
        let mut out = vec![f32::NAN; want.len()];
        kernel(&Pool::new(2, isa), &mut out);
        for (at, (got, want)) in out.iter().zip(want).enumerate() {
            let near = (got - want).abs() <= tolerance * want.abs().max(1.0);
            assert!(near, "{isa:?}, {at}: {got} for {want}");
        }
    }
}

#[test]
fn activations_agree_with_pytorch() {
    let case = golden("activation");
    let x = Numbers::F32(&case["x"]);
    check(&case["silu"], 1e-6, |pool, out| activation::silu(pool, out.into(), x));
    check(&case["gelu_erf"], 1e-6, |pool, out| activation::gelu_erf(pool, out.into(), x));
    check(&case["gelu_tanh"], 1e-6, |pool, out| activation::gelu_tanh(pool, out.into(), x));
}

#[test]
fn norms_and_softmax_agree_with_pytorch() {
    let case = golden("norm");
    let (x, weight, bias) = (Numbers::F32(&case["x"]), &case["weight"], &case["bias"]);
    check(&case["rms"], 1e-6, |pool, out| norm::rms_norm(pool, out.into(), x, weight, 1e-5));
    // The mean is near 40, so an f32 mean is off by up to 2·10⁻⁶: PyTorch's and ours, each its own way.
    check(&case["layer"], 5e-6, |pool, out| {
        norm::layer_norm(pool, out.into(), x, weight, bias, 1e-5)
    });
    check(&case["softmax"], 1e-6, |pool, out| softmax(pool, out, &case["x"], 20));
}

#[test]
fn rotary_positions_agree_with_pytorch_near_and_far() {
    let case = golden("rope");
    let shape = RopeShape { batch: 1, sequence: 2, heads: 2, head_dim: 6 };
    for (name, position) in [("near", 3), ("far", 131_070)] {
        check(&case[name], 1e-6, |pool, out| {
            rope(
                pool,
                &mut Angles::default(),
                out.into(),
                Numbers::F32(&case["x"]),
                (&case["frequencies"], position),
                shape,
                Direction::Forward,
            );
        });
    }
}

#[test]
fn grouped_causal_attention_agrees_with_pytorch() {
    let case = golden("attention");
    let (keys, values) = (Cache::F32(&case["keys"]), Cache::F32(&case["values"]));
    let shape = AttentionShape {
        batch: 1,
        queries: 9,
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        capacity: 11,
        position: 2,
        scale: 1.0 / 6.0_f32.sqrt(),
        causal: true,
    };
    check(&case["out"], 1e-6, |pool, out| {
        attention(pool, &mut Scratch::default(), out, &case["q"], keys, values, shape);
    });
    check(&case["out"], 1e-6, |pool, out| {
        let inputs = [&case["q"], &case["keys"], &case["values"]].map(|data| Numbers::F32(data));
        let scratch = &mut Scratch::default();
        attention_by_products(pool, scratch, out.into(), inputs, shape, |matrix| matrix);
    });
}
