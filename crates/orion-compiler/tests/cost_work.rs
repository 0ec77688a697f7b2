//! What the cost model reads from a text: which operations ride along, which constants are the same, what crosses the
//! memory bus.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use orion_compiler::cost::{Class, Situation, Work};
use orion_compiler::mil;
use orion_compiler::target::Target;

fn work(body: &str, results: &str) -> Work {
    let text = format!(
        "program(1.3) {{ func main<ios18>(tensor<fp16, [1, 64, 8, 8]> x, tensor<fp16, [64, 64]> a, tensor<fp16, [64, 64]> b) {{
        bool no = const()[val = bool(false)];
        bool yes = const()[val = bool(true)];
        tensor<fp16, [64, 64, 1, 1]> w = const()[val = tensor<fp16, [64, 64, 1, 1]>(BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(64)))];
        tensor<fp16, [64, 64, 1, 1]> same = const()[val = tensor<fp16, [64, 64, 1, 1]>(BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(64)))];
        tensor<fp16, [64, 64, 1, 1]> other = const()[val = tensor<fp16, [64, 64, 1, 1]>(BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(8384)))];
        {body} }} -> ({results}); }}"
    );
    let document = mil::parse(&text).unwrap();
    Work::of(&document.functions[0])
}

const IMAGE: &str = "tensor<fp16, [1, 64, 8, 8]>";

fn classes(work: &Work) -> Vec<Class> {
    work.operations.iter().map(|operation| operation.class).collect()
}

#[test]
fn scales_offsets_and_activations_ride_along() {
    let body = format!(
        "{IMAGE} c = conv(x = x, weight = w); {IMAGE} d = mul(x = c, y = fp16(0.5)); {IMAGE} e = relu(x = d);"
    );
    let fused = work(&body, "e");
    assert_eq!(classes(&fused), [Class::Convolution]);
    assert!(fused.operations[0].writes[0].is_interface);
    // A value that is read twice has to be there.
    let twice = work(&format!("{body} {IMAGE} f = add(x = e, y = c);"), "f");
    assert_eq!(
        classes(&twice),
        [Class::Convolution, Class::Elementwise, Class::Elementwise, Class::Elementwise]
    );
    // Without a sum before it an activation is an operation of its own.
    let alone = work(&format!("{IMAGE} e = relu(x = x);"), "e");
    assert_eq!(classes(&alone), [Class::Elementwise]);
}

#[test]
fn the_same_bytes_of_a_file_are_the_same_constant() {
    let body = |second| {
        format!("{IMAGE} c = conv(x = x, weight = w); {IMAGE} d = conv(x = c, weight = {second});")
    };
    let [same, other] = ["same", "other"].map(|second| work(&body(second), "d"));
    assert_eq!((same.constants, other.constants), (8192, 16_384));
    assert!(same.operations[1].weights[0].is_repeated);
    assert!(!other.operations[1].weights[0].is_repeated);
    assert_eq!(same.flops(), 2 * 2 * 64 * 64 * 64);
}

#[test]
fn what_is_made_of_constants_is_a_constant() {
    let body = format!(
        "tensor<fp16, [64, 64, 1, 1]> u = constexpr_blockwise_shift_scale(data = tensor<int8, [64, 64, 1, 1]>(BLOBFILE(path = string(\"@model_path/q.bin\"), offset = uint64(64))), scale = tensor<fp16, [64, 1, 1, 1]>(BLOBFILE(path = string(\"@model_path/q.bin\"), offset = uint64(4224)))); tensor<fp16, [64, 64, 1, 1]> v = add(x = u, y = fp16(0)); {IMAGE} c = conv(x = x, weight = v);"
    );
    let work = work(&body, "c");
    assert_eq!(classes(&work), [Class::Convolution]);
    // int8 with a scale in fp16 for each channel.
    assert_eq!(work.operations[0].weights[0].constant.stored, 4096 + 128);
}

#[test]
fn products_know_their_depth_and_repeated_operands_are_told_apart() {
    let square = "tensor<fp16, [64, 64]>";
    let body = format!(
        "{square} p = matmul(x = a, y = b, transpose_x = yes, transpose_y = no);
         tensor<fp16, [64, 1]> m = reduce_mean(x = p, axes = tensor<int32, [1]>([1]), keep_dims = yes);
         {square} q = sub(x = p, y = m); {square} r = mul(x = q, y = p); {square} s = transpose(x = r, perm = tensor<int32, [2]>([1, 0]));"
    );
    let work = work(&body, "s");
    let expected =
        [Class::Product, Class::Reduction, Class::Broadcast, Class::Elementwise, Class::Movement];
    assert_eq!(classes(&work), expected);
    assert_eq!((work.operations[0].depth, work.operations[0].flops), (64, 2 * 64 * 64 * 64));
    assert_eq!(work.operations[1].elements, 64 * 64);
    // Both matrices are given anew, and so is the image that nothing reads.
    assert_eq!(work.inputs, (2 * 64 * 64 + 64 * 64) * 2);
}

#[test]
fn contractions_count_every_combination_of_their_indices() {
    let body = "tensor<fp16, [1, 64, 8, 8]> e = einsum(equation = string(\"nchw,nchu->nhwu\"), values = (x, x));";
    assert_eq!(work(body, "e").flops(), 2 * 64 * 8 * 8 * 8);
}

#[test]
fn unknown_sizes_are_reported_and_never_overflow() {
    for dims in ["[?, 64]", "[65536, 65536, 65536]", "[0, 7]", "[]"] {
        let text = format!(
            "program(1.3) {{ func main<ios18>(tensor<fp16, {dims}> x) {{ tensor<fp16, {dims}> y = softmax(x = x, axis = int32(-1)); tensor<fp16, {dims}> z = matmul(x = y, y = x); }} -> (z); }}"
        );
        let document = mil::parse(&text).unwrap();
        let work = Work::of(&document.functions[0]);
        assert_eq!(work.unknown, if dims.contains('?') { 2 } else { 0 }, "{dims}");
        let call = work.estimate(Target::default(), &Situation::default());
        assert!(call.seconds().is_finite(), "{dims}");
    }
}
