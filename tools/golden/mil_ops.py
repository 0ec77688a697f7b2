#!/usr/bin/env python3
"""Writes crates/orion-compiler/tests/golden/mil_ops.json: what PyTorch says that operations of MIL mean.

Each case is the statements of a function in fp32, its inputs and its results; PyTorch computes in f64 from inputs that
f32 can hold. What a MIL operation means is written in Apple's specification of it (Core ML Tools, MIL ops).
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

OUT = Path(__file__).parents[2] / "crates/orion-compiler/tests/golden/mil_ops.json"
NAMES = {torch.float64: "fp32", torch.int64: "int32", torch.bool: "bool"}
torch.manual_seed(20261124)
cases = []


def real(*shape):
    return (torch.randn(shape) * 24).round().double() / 16


def ty(tensor):
    return f"tensor<{NAMES[tensor.dtype]}, {list(tensor.shape)}>" if tensor.dim() else NAMES[tensor.dtype]


def literal(values):
    """A constant of whole numbers, truth values or numbers with a fraction."""
    tensor = torch.tensor(values)
    kind = {torch.int64: "int32", torch.bool: "bool", torch.float32: "fp32"}[tensor.dtype]
    if not tensor.dim():
        return f"{kind}({str(values).lower()})"
    text = ", ".join(str(x).lower() for x in tensor.flatten().tolist())
    return f"tensor<{kind}, {list(tensor.shape)}>([{text}])"


def case(name, op, inputs, outputs, attributes="", **constants):
    """One statement `op(inputs…, constants…)` with these results."""
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    parameters = ", ".join(f"{ty(value)} in_{key}" for key, value in inputs.items())
    arguments = [f"{key} = in_{key}" for key in inputs] + [f"{key} = {value}" for key, value in constants.items()]
    results = ", ".join(f"{ty(value)} out_{i}" for i, value in enumerate(outputs))
    names = ", ".join(f"out_{i}" for i in range(len(outputs)))
    text = (
        f"program(1.3) {{ func main<ios18>({parameters}) {{ {results} = {op}({', '.join(arguments)}){attributes}; }}"
        f" -> ({names}); }}"
    )
    add(name, text, inputs, outputs)


def add(name, text, inputs, outputs):
    def flat(tensor):
        return [float(f"{x:.9g}") if isinstance(x, float) else x for x in tensor.flatten().tolist()]

    cases.append({
        "name": name,
        "text": text,
        "inputs": [flat(value) for value in inputs.values()],
        "outputs": [flat(value) for value in outputs],
    })


x, y = real(2, 3, 4), real(3, 1)
positive = real(2, 3, 4).abs() + 0.25
case("add", "add", {"x": x, "y": y}, x + y)
case("sub", "sub", {"x": x, "y": y}, x - y)
case("mul", "mul", {"x": x, "y": y}, x * y)
case("real_div", "real_div", {"x": x, "y": y + 5}, x / (y + 5))
case("maximum", "maximum", {"x": x, "y": y}, torch.maximum(x, y))
case("minimum", "minimum", {"x": x, "y": y}, torch.minimum(x, y))
case("floor_div", "floor_div", {"x": x, "y": y.abs() + 0.5}, torch.floor_divide(x, y.abs() + 0.5))
case("mod", "mod", {"x": x, "y": y.abs() + 0.5}, torch.remainder(x, y.abs() + 0.5))
case("pow", "pow", {"x": positive, "y": y}, positive**y)
for exponent in [2.0, 3.0, -1.0, 0.5, -0.5, 0.0]:
    base = x if exponent in (2.0, 3.0) else positive
    case(f"pow {exponent}", "pow", {"x": base}, base**exponent, y=literal(exponent))
for name, function in [
    ("equal", torch.eq), ("not_equal", torch.ne), ("less", torch.lt), ("less_equal", torch.le),
    ("greater", torch.gt), ("greater_equal", torch.ge),
]:
    case(name, name, {"x": x, "y": x.roll(1, 2).round()}, function(x, x.roll(1, 2).round()))
p, q = x > 0, x.roll(1, 0) > 0
case("logical_and", "logical_and", {"x": p, "y": q}, p & q)
case("logical_or", "logical_or", {"x": p, "y": q}, p | q)
case("logical_xor", "logical_xor", {"x": p, "y": q}, p ^ q)
case("logical_not", "logical_not", {"x": p}, ~p)
case("select", "select", {"cond": p, "a": x, "b": -x}, torch.where(p, x, -x))

wide = real(4, 8)
half = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 1e10]).double()
for name, function in [
    ("relu", F.relu), ("relu6", F.relu6), ("abs", torch.abs), ("square", torch.square), ("exp", torch.exp),
    ("exp2", torch.exp2), ("sin", torch.sin), ("cos", torch.cos), ("tan", torch.tan), ("tanh", torch.tanh),
    ("sigmoid", torch.sigmoid), ("silu", F.silu), ("erf", torch.erf), ("floor", torch.floor), ("ceil", torch.ceil),
    ("sign", torch.sign), ("softsign", F.softsign), ("softplus", F.softplus),
]:
    case(name, name, {"x": wide}, function(wide))
case("round ties to even", "round", {"x": half}, torch.round(half))
case("floor of large numbers", "floor", {"x": half}, torch.floor(half))
case("sqrt", "sqrt", {"x": positive}, positive.sqrt())
case("rsqrt", "rsqrt", {"x": positive}, (positive + 0.25).rsqrt(), epsilon=literal(0.25))
case("log", "log", {"x": positive}, (positive + 0.25).log(), epsilon=literal(0.25))
case("inverse", "inverse", {"x": positive}, 1 / (positive + 0.25), epsilon=literal(0.25))
case("gelu exact", "gelu", {"x": wide}, F.gelu(wide), mode='string("EXACT")')
case("gelu tanh", "gelu", {"x": wide}, F.gelu(wide, approximate="tanh"), mode='string("TANH_APPROXIMATION")')
sigmoid = wide * torch.sigmoid(1.702 * wide)
case("gelu sigmoid", "gelu", {"x": wide}, sigmoid, mode='string("SIGMOID_APPROXIMATION")')
case("clip", "clip", {"x": wide}, wide.clip(-0.5, 1.25), alpha=literal(-0.5), beta=literal(1.25))
case("leaky_relu", "leaky_relu", {"x": wide}, F.leaky_relu(wide, 0.25), alpha=literal(0.25))
case("elu", "elu", {"x": wide}, F.elu(wide, 0.5), alpha=literal(0.5))
case("sigmoid_hard", "sigmoid_hard", {"x": wide}, (wide * 0.25 + 0.5).clip(0, 1), alpha=literal(0.25), beta=literal(0.5))
case("linear_activation", "linear_activation", {"x": wide}, wide * 2.5 + 0.5, alpha=literal(2.5), beta=literal(0.5))
case("scaled_tanh", "scaled_tanh", {"x": wide}, 1.5 * torch.tanh(0.5 * wide), alpha=literal(1.5), beta=literal(0.5))
case("threshold", "threshold", {"x": wide}, wide.clip(min=0.25), alpha=literal(0.25))
clamped = torch.where(wide < 0, wide * 0.25, wide).clip(max=1.0)
case("clamped_relu", "clamped_relu", {"x": wide}, clamped, alpha=literal(0.25), beta=literal(1.0))
kept = torch.where(wide < 0.25, 0.0, wide)
case("thresholded_relu", "thresholded_relu", {"x": wide}, kept, alpha=literal(0.25))

case("reshape with what is left", "reshape", {"x": x}, x.reshape(3, 8), shape=literal([3, -1]))
case("reshape that keeps a dimension", "reshape", {"x": x}, x.reshape(2, 12), shape=literal([0, 12]))
case("transpose", "transpose", {"x": x}, x.permute(2, 0, 1), perm=literal([2, 0, -2]))
case("expand_dims", "expand_dims", {"x": x}, x.unsqueeze(0).unsqueeze(-1), axes=literal([0, -1]))
case("squeeze", "squeeze", {"x": y}, y.squeeze(1), axes=literal([-1]))
case("flatten2d", "flatten2d", {"x": x}, x.reshape(6, 4), axis=literal(2))
case("split in equal parts", "split", {"x": x}, x.split(2, 2), num_splits=literal(2), axis=literal(-1))
case("split in sizes", "split", {"x": x}, x.split([1, 2], 1), split_sizes=literal([1, 2]), axis=literal(1))
case("slice_by_size", "slice_by_size", {"x": x}, x[:, 1:3, 1:], begin=literal([0, 1, 1]), size=literal([-1, 2, 3]))
case("slice_by_index", "slice_by_index", {"x": x}, x[1:2, :-1, 1:], begin=literal([1, 0, 1]), end=literal([2, -1, 0]),
     end_mask=literal([False, False, True]), begin_mask=literal([False, True, False]))
long = real(1, 7, 9)
case("slice with steps", "slice_by_index", {"x": long}, long[0, 1::2, ::3], begin=literal([0, 1, 0]), end=literal([1, 7, 9]),
     stride=literal([1, 2, 3]), squeeze_mask=literal([True, False, False]))
case("pad with a number", "pad", {"x": x}, F.pad(x, (1, 2, 0, 1), value=1.5), pad=literal([0, 1, 1, 2]),
     mode='string("constant")', constant_val=literal(1.5))
case("tile", "tile", {"x": x}, x.repeat(1, 2, 3), reps=literal([1, 2, 3]))
indices = torch.tensor([[2, -1], [0, 1]])
case("gather", "gather", {"x": x, "indices": indices}, x[:, indices % 3], axis=literal(1))
text = "program(1.3) {{ func main<ios18>({0} a, {0} b) {{ {1} y = {2}(values = (a, b), axis = int32({3}){4}); }} -> (y); }}"
a, b = real(2, 3), real(2, 3)
for name, op, axis, extra, value in [
    ("concat", "concat", 1, ", interleave = bool(false)", torch.cat([a, b], 1)),
    ("concat turn by turn", "concat", -1, ", interleave = bool(true)", torch.stack([a, b], 2).reshape(2, 6)),
    ("stack", "stack", 1, "", torch.stack([a, b], 1)),
    ("stack at the end", "stack", -1, "", torch.stack([a, b], 2)),
]:
    add(name, text.format(ty(a), ty(value), op, axis, extra), {"a": a, "b": b}, [value])

for name, function in [
    ("reduce_sum", lambda t, d, k: t.sum(d, keepdim=k)), ("reduce_mean", lambda t, d, k: t.mean(d, keepdim=k)),
    ("reduce_max", lambda t, d, k: t.amax(d, keepdim=k)), ("reduce_min", lambda t, d, k: t.amin(d, keepdim=k)),
    ("reduce_l1_norm", lambda t, d, k: t.abs().sum(d, keepdim=k)),
    ("reduce_l2_norm", lambda t, d, k: t.square().sum(d, keepdim=k).sqrt()),
    ("reduce_sum_square", lambda t, d, k: t.square().sum(d, keepdim=k)),
    ("reduce_log_sum_exp", lambda t, d, k: t.logsumexp(d, keepdim=k)),
]:
    case(name, name, {"x": x}, function(x, (0, 2), False), axes=literal([0, -1]), keep_dims=literal(False))
    case(f"{name} that keeps", name, {"x": x}, function(x, (1,), True), axes=literal([1]), keep_dims=literal(True))
case("reduce_log_sum", "reduce_log_sum", {"x": positive}, positive.sum(1).log(), axes=literal([1]), keep_dims=literal(False))
case("reduce_argmax", "reduce_argmax", {"x": x}, x.argmax(1), axis=literal(1), keep_dims=literal(False))
case("reduce_argmin", "reduce_argmin", {"x": x}, x.argmin(2, keepdim=True), axis=literal(-1), keep_dims=literal(True))
case("softmax", "softmax", {"x": x}, x.softmax(1), axis=literal(1))

m, n = real(2, 3, 4), real(5, 4)
case("matmul", "matmul", {"x": m, "y": n}, m @ n.T, transpose_x=literal(False), transpose_y=literal(True))
case("matmul transposed", "matmul", {"x": m, "y": m}, m.mT @ m, transpose_x=literal(True), transpose_y=literal(False))
bias = real(5)
case("linear", "linear", {"x": m, "weight": n, "bias": bias}, F.linear(m, n, bias))
image, window = real(2, 4, 6, 7), real(6, 2, 3, 2)
one = real(3, 4, 1, 1)
case("conv of one element", "conv", {"x": image, "weight": one}, F.conv2d(image, one))
bias = real(6)
case("conv with steps and groups", "conv", {"x": image, "weight": window, "bias": bias},
     F.conv2d(F.pad(image, (1, 0, 2, 1)), window, bias, stride=(2, 3), dilation=(2, 1), groups=2),
     strides=literal([2, 3]), dilations=literal([2, 1]), groups=literal(2), pad_type='string("custom")',
     pad=literal([2, 1, 1, 0]))
odd = real(3, 4, 3, 3)
case("conv of the same size", "conv", {"x": image, "weight": odd}, F.conv2d(image, odd, padding=1), pad_type='string("same")')
line, narrow = real(2, 4, 9), real(3, 4, 4)
case("conv over one dimension", "conv", {"x": line, "weight": narrow}, F.conv1d(line, narrow, stride=2), strides=literal([2]),
     pad_type='string("valid")')
query, key, value = real(1, 2, 3, 4), real(1, 2, 5, 4), real(1, 2, 5, 4)
mask = real(3, 5)
attention = F.scaled_dot_product_attention
case("attention", "scaled_dot_product_attention", {"query": query, "key": key, "value": value}, attention(query, key, value))
case("attention with a mask", "scaled_dot_product_attention", {"query": query, "key": key, "value": value, "attn_mask": mask},
     attention(query, key, value, attn_mask=mask))
seen = torch.ones(3, 5).tril(1).bool()
case("attention that does not see", "scaled_dot_product_attention",
     {"query": query, "key": key, "value": value, "attn_mask": seen}, attention(query, key, value, attn_mask=seen))

gamma, beta = [0.5, 1.5, -1.0, 2.0], [0.25, -0.5, 0.0, 1.0]
case("layer_norm", "layer_norm", {"x": x}, F.layer_norm(x, (4,), torch.tensor(gamma).double(), torch.tensor(beta).double(), 1e-3),
     axes=literal([-1]), gamma=literal(gamma), beta=literal(beta), epsilon=literal(1e-3))
case("layer_norm of two dimensions", "layer_norm", {"x": x}, F.layer_norm(x, (3, 4), eps=1e-3), axes=literal([1, 2]),
     epsilon=literal(1e-3))
mean, variance = [0.5, -0.25, 0.0, 1.0], [1.5, 0.5, 2.0, 0.25]
tensors = [torch.tensor(t).double() for t in (mean, variance, gamma, beta)]
case("batch_norm", "batch_norm", {"x": image}, F.batch_norm(image, *tensors, eps=1e-3), mean=literal(mean),
     variance=literal(variance), gamma=literal(gamma), beta=literal(beta), epsilon=literal(1e-3))
case("instance_norm", "instance_norm", {"x": image}, F.instance_norm(image, weight=tensors[2], bias=tensors[3], eps=1e-3),
     gamma=literal(gamma), beta=literal(beta), epsilon=literal(1e-3))
case("l2_norm", "l2_norm", {"x": x}, x * (x.square().sum((1, 2), keepdim=True) + 1e-3).rsqrt(), epsilon=literal(1e-3))

levels = torch.tensor([[-7, 3], [0, 120]])
affine = torch.tensor([[0.5], [0.25]]).double() * (levels.double() - torch.tensor([[1], [-2]]))
add("constexpr_affine_dequantize", "program(1.0) { func main<ios16>() { tensor<fp32, [2, 2]> y = constexpr_affine_dequantize()["
    "axis = int32(0), quantized_data = tensor<int8, [2, 2]>([-7, 3, 0, 120]), scale = tensor<fp32, [2]>([0.5, 0.25]), "
    "zero_point = tensor<int8, [2]>([1, -2])]; } -> (y); }", {}, [affine])
blocks = torch.tensor([[1.0, 1, 2, 2], [3, 3, 4, 4]]).double() * torch.tensor([[1, 2, 3, 4], [5, 6, 7, -8]])
add("constexpr_blockwise_shift_scale", "program(1.3) { func main<ios18>() { tensor<fp32, [2, 4]> y = "
    "constexpr_blockwise_shift_scale(data = tensor<int4, [2, 4]>([1, 2, 3, 4, 5, 6, 7, -8]), "
    "scale = tensor<fp32, [2, 2]>([1, 2, 3, 4])); } -> (y); }", {}, [blocks])
add("constexpr_lut_to_dense of packed bits", "program(1.0) { func main<ios16>() { tensor<fp32, [2, 3]> y = "
    "constexpr_lut_to_dense()[indices = tensor<uint8, [2]>([228, 1]), lut = tensor<fp32, [4]>([0.5, -1, 2, 4]), "
    "shape = tensor<uint32, [2]>([2, 3])]; } -> (y); }", {}, [torch.tensor([0.5, -1, 2, 4, -1, 0.5]).double()])
add("constexpr_lut_to_dense of tables", "program(1.3) { func main<ios18>() { tensor<fp32, [2, 2]> y = constexpr_lut_to_dense("
    "indices = tensor<uint1, [2, 2]>([0, 1, 1, 0]), lut = tensor<fp32, [2, 1, 2, 1]>([1, 2, 3, 4])); } -> (y); }", {},
    [torch.tensor([1.0, 2, 4, 3]).double()])
add("constexpr_sparse_to_dense", "program(1.0) { func main<ios16>() { tensor<fp32, [5]> y = constexpr_sparse_to_dense()["
    "mask = tensor<uint8, [1]>([22]), nonzero_data = tensor<fp32, [3]>([1.5, 2, -3]), shape = tensor<uint32, [1]>([5])]; }"
    " -> (y); }", {}, [torch.tensor([0, 1.5, 2, 0, -3]).double()])
clamped = (torch.round(wide / 0.125) + 3).clip(-128, 127)
case("quantize", "quantize", {"input": wide}, clamped.long(), scale=literal(0.125), zero_point="int8(3)",
     output_dtype='string("int8")')
case("dequantize", "dequantize", {"input": levels}, affine, scale=literal([0.5, 0.25]), zero_point="tensor<int8, [2]>([1, -2])",
     axis=literal(0))

OUT.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
print(len(cases), "cases")
