//! The published sweep of 166 operations on M5 by the e5rt route (facts §4.5, ANEForge) beside what the simulator does, with a list of
//! the differences.

use orion_compiler::lint::lint;
use orion_compiler::target::{Chip, Route, Target};
use orion_compiler::{Severity, mil};
use orion_runtime::neural_engine::simulator::{Support, support};

/// Correct on silicon.
const CORRECT: &str = "abs add atan avg_pool batch_norm batch_to_space ceil clamped_relu clip concat constexpr_affine_dequantize \
    constexpr_blockwise_shift_scale constexpr_cast constexpr_lut_to_dense constexpr_sparse_to_dense conv conv_transpose cos \
    crop depth_to_space dequantize einsum elu erf exp exp2 expand_dims fill fill_like flatten2d floor floor_div gelu_exact \
    instance_norm inverse l2_pool layer_norm leaky_relu linear linear_activation local_response_norm log matmul max_pool \
    maximum minimum mul pad pixel_shuffle pixel_unshuffle pow quantize range_1d real_div reduce_l1_norm reduce_l2_norm \
    reduce_log_sum reduce_log_sum_exp reduce_max reduce_mean reduce_min reduce_sum reduce_sum_square relu relu6 reshape \
    resize_nearest_neighbor reverse round rsqrt scaled_dot_product_attention scaled_tanh select sigmoid sigmoid_hard sign silu \
    sin slice_by_index slice_by_size softplus softsign space_to_batch space_to_depth split sqrt square squeeze stack sub tanh \
    threshold thresholded_relu tile topk transpose upsample_nearest_neighbor";
/// Compiled, values not verified.
const UNVERIFIED: &str = "affine constexpr_lut_to_sparse constexpr_sparse_blockwise_shift_scale equal gelu_sigmoid_approx \
    gelu_tanh_approx greater greater_equal l2_norm less less_equal logical_not non_maximum_suppression not_equal prelu resize \
    resize_bilinear softplus_parametric upsample_bilinear";
/// Not implemented on the engine.
const ABSENT: &str = "acos asin atanh band_part cast cosh crop_resize cumsum gather gather_along_axis gather_nd gru logical_and \
    logical_or logical_xor lstm mod non_zero one_hot random_bernoulli random_categorical random_normal random_uniform \
    reduce_argmax reduce_argmin reduce_prod reverse_sequence rnn scatter scatter_along_axis scatter_nd shape sinh slice_update \
    sliding_windows tan";
/// Refused by the compiler.
const WALLED: &str = "argsort classify cond conv_quantized identity list_gather list_length list_read list_scatter list_write \
    make_list read_state reshape_like while_loop";

/// What the simulator accepts and cannot compute: it says so by `DeviceError::Unsupported`. None occurs in language models.
const MISSING: &str = "atan avg_pool batch_to_space conv_transpose crop depth_to_space einsum fill_like l2_pool local_response_norm \
    max_pool pixel_shuffle pixel_unshuffle range_1d resize_nearest_neighbor reverse space_to_batch space_to_depth topk \
    upsample_nearest_neighbor affine constexpr_lut_to_sparse constexpr_sparse_blockwise_shift_scale non_maximum_suppression \
    prelu resize resize_bilinear softplus_parametric upsample_bilinear";

/// The name in texts of what the sweep calls so.
fn in_text(name: &str) -> &str {
    if name.starts_with("gelu_") { "gelu" } else { name }
}

/// Whether the rules let an operation pass on M5.
fn is_accepted(name: &str) -> bool {
    let text = format!(
        "program(1.3) {{ func main<ios18>(tensor<fp16, [1, 8, 1, 32]> x) {{ tensor<fp16, [1, 8, 1, 32]> y = {}(x = x); }} -> (y); }}",
        in_text(name)
    );
    let document = mil::parse(&text).unwrap();
    let findings = lint(&document, Target { chip: Chip::M5, route: Route::E5rt });
    !findings.iter().any(|finding| {
        finding.diagnostic.code == "ANE076" && finding.diagnostic.severity == Severity::Error
    })
}

#[test]
fn operations_are_there_as_the_published_sweep_says() {
    let lists =
        [("correct", CORRECT), ("unverified", UNVERIFIED), ("absent", ABSENT), ("walled", WALLED)];
    let counts = lists.map(|(_, list)| list.split_whitespace().count());
    assert_eq!(counts, [97, 19, 36, 14]);
    let missing: Vec<&str> = MISSING.split_whitespace().collect();
    let (mut agreed, mut report, mut unexpected) = (0, Vec::new(), Vec::new());
    for (list, names) in lists {
        for name in names.split_whitespace() {
            let is_there = matches!(list, "correct" | "unverified");
            let can_run = support(in_text(name)) != Support::Missing;
            match (is_there, is_accepted(name), can_run) {
                (true, true, true) | (false, false, _) => agreed += 1,
                (true, true, false) => {
                    report
                        .push(format!("{name}: {list} on M5; the simulator has no meaning for it"));
                    if !missing.contains(&name) {
                        unexpected.push(name);
                    }
                }
                (true, false, _) | (false, true, _) => unexpected.push(name),
            }
            if missing.contains(&name) && can_run {
                unexpected.push(name);
            }
        }
    }
    println!("{agreed} of 166 operations as on M5 by e5rt; the others:\n  {}", report.join("\n  "));
    assert!(
        unexpected.is_empty(),
        "differences that are not listed, or listed and gone: {unexpected:?}"
    );
    assert_eq!(agreed, 166 - missing.len());
}
