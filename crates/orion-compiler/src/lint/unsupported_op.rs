//! ANE076: Operations that the engine does not have: of 166 tried on the e5rt route 97 were right, 19 ran unverified and 50 failed; on the in-memory route trainers have proved some twenty.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE076",
    name: "unsupported-op",
    about: "Operations that the engine does not have: of 166 tried on the e5rt route 97 were right, 19 ran unverified and 50 failed; on the in-memory route trainers have proved some twenty.",
    when: When::Compile,
    symptom: "compilation fails, or another device runs the operation",
    remedy: "decompose it, or keep it on the CPU",
    source: "AF; MD, OR, RU",
    confidence: Confidence::Measured,
    chips: "M5 (e5rt), M4 (in-memory)",
    check: Some(check),
};

/// Shown by trainers that run (facts §4.5).
const PROVED: &[&str] = &[
    "conv", "matmul", "add", "sub", "mul", "sigmoid", "tanh", "exp", "pow", "sqrt", "rsqrt", "softmax", "reduce_sum",
    "reduce_mean", "reduce_max", "reshape", "transpose", "slice_by_size", "slice_by_index", "split", "concat", "cast",
    "quantize", "dequantize", "relu", "constexpr_affine_dequantize",
];
/// Compiled, values not verified.
const UNVERIFIED: &[&str] = &[
    "affine", "constexpr_lut_to_sparse", "constexpr_sparse_blockwise_shift_scale", "equal", "greater", "greater_equal",
    "l2_norm", "less", "less_equal", "logical_not", "non_maximum_suppression", "not_equal", "prelu", "resize",
    "resize_bilinear", "softplus_parametric", "upsample_bilinear",
];
/// Not implemented, or refused by the compiler.
const ABSENT: &[&str] = &[
    "acos", "asin", "atanh", "band_part", "cast", "cosh", "crop_resize", "cumsum", "gather", "gather_along_axis",
    "gather_nd", "gru", "logical_and", "logical_or", "logical_xor", "lstm", "mod", "non_zero", "one_hot",
    "random_bernoulli", "random_categorical", "random_normal", "random_uniform", "reduce_argmax", "reduce_argmin",
    "reduce_prod", "reverse_sequence", "rnn", "scatter", "scatter_along_axis", "scatter_nd", "shape", "sinh",
    "slice_update", "sliding_windows", "tan", "argsort", "classify", "cond", "conv_quantized", "identity",
    "list_gather", "list_length", "list_read", "list_scatter", "list_write", "make_list", "read_state",
    "reshape_like", "while_loop",
];

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.operations() {
        let name = statement.op.text;
        let span = statement.op.span();
        if c.in_memory() {
            if !PROVED.contains(&name) {
                f.warning(format!("nobody has shown `{name}` on the in-memory route"), span);
            }
        } else if ABSENT.contains(&name) {
            f.error(format!("the engine has no `{name}`"), span);
        } else if UNVERIFIED.contains(&name) {
            f.warning(format!("`{name}` runs, but its values were not verified"), span);
        }
    }
}
