//! Operands that fit an operation's formula but not its meaning: a backend that runs it fused would read them wrongly.

use orion_compiler::op::{
    Attention, CrossEntropy, Embedding, LayerNorm, Linear, Pad, RmsNorm, Rope, Swiglu,
};
use orion_compiler::{DType, Op, TensorType, parse};

/// Types from their text.
fn types<const N: usize>(texts: [&str; N]) -> Vec<TensorType> {
    let inputs: Vec<String> =
        texts.iter().enumerate().map(|(at, ty)| format!("input %{at} \"{at}\": {ty}")).collect();
    let program =
        parse(&format!("program types {{\n{}\n}}", inputs.join("\n"))).expect("types in text");
    program.inputs().iter().map(|input| program.type_of(input.value).clone()).collect()
}

#[track_caller]
fn refuses<const N: usize>(op: impl Into<Op>, texts: [&str; N], part_of_message: &str) {
    let op = op.into();
    let error = op.infer(&types(texts)).expect_err("it was accepted").to_string();
    assert!(error.contains(part_of_message), "{error}");
}

#[test]
fn linear_refuses_weights_that_are_no_real_matrix() {
    refuses(Linear {}, ["f32[2,3]", "f32[5,4,3]"], "f32[5,4,3]");
    refuses(Linear {}, ["f32[2,3]", "i32[4,3]"], "must be real");
    refuses(Linear {}, ["f32[2,3]", "f32[4,5]"], "inner dimensions differ");
}

#[test]
fn linear_refuses_a_bias_that_would_stretch_the_result() {
    refuses(Linear {}, ["f32[2,3]", "f32[4,3]", "f32[7,1,4]"], "bias [out]");
    refuses(Linear {}, ["f32[2,3]", "f32[4,3]", "f32[1]"], "bias [out]");
}

#[test]
fn norms_refuse_parameters_of_another_length() {
    refuses(RmsNorm { eps: 1e-5 }, ["f32[2,8]", "f32[1]"], "last axis");
    refuses(RmsNorm { eps: 1e-5 }, ["f32[2,1]", "f32[8]"], "last axis");
    refuses(LayerNorm { eps: 1e-5 }, ["f32[2,8]", "f32[8]", "f32[2,8]"], "last axis");
    refuses(LayerNorm { eps: 1e-5 }, ["f32[]", "f32[1]", "f32[1]"], "last axis");
}

#[test]
fn embedding_refuses_tables_and_results_that_are_not_real() {
    refuses(Embedding { dtype: DType::F32 }, ["i32[5,3]", "i32[2]"], "i32[5,3]");
    refuses(Embedding { dtype: DType::I32 }, ["f32[5,3]", "i32[2]"], "as i32");
    refuses(Embedding { dtype: DType::F32 }, ["f32[5,3]", "f32[2]"], "indices must be i32");
}

#[test]
fn swiglu_refuses_operands_that_only_broadcast() {
    refuses(Swiglu {}, ["f32[2,3]", "f32[3]"], "differ");
}

#[test]
fn attention_refuses_integer_keys() {
    let op = Attention { scale: 1.0, causal: true };
    let operands = ["f32[1,2,2,4]", "i32[1,3,2,4]", "i32[1,3,2,4]", "i32[]"];
    refuses(op, operands, "do not fit together");
}

#[test]
fn attention_refuses_heads_that_share_no_key_head_evenly() {
    let op = Attention { scale: 1.0, causal: true };
    let operands = ["f32[1,2,3,4]", "f32[1,3,2,4]", "f32[1,3,2,4]", "i32[]"];
    refuses(op, operands, "do not fit together");
}

#[test]
fn rope_refuses_more_pairs_than_the_head_has_and_integers() {
    refuses(Rope {}, ["f32[1,2,1,5]", "f32[3]", "i32[]"], "do not fit");
    refuses(Rope {}, ["i32[1,2,1,4]", "f32[2]", "i32[]"], "do not fit");
}

#[test]
fn cross_entropy_refuses_an_ignored_label_that_no_label_can_be() {
    refuses(CrossEntropy { ignore: 1 << 40 }, ["f32[2,3]", "i32[2]"], "1099511627776");
}

#[test]
fn pad_refuses_to_grow_beyond_the_address_space() {
    let op = Pad { before: vec![usize::MAX], after: vec![1] };
    refuses(op, ["f32[2]"], "beyond any size");
}
