#!/usr/bin/env python3
"""Writes crates/orion-compiler/tests/golden/ops.json: what PyTorch and Hugging Face's models say that operations mean.

Needs torch and transformers. Each case is a program in IR text with inputs, the output `y` and, where the program has
an output `loss` (the sum of `y` times the input `c`), the gradients of some inputs. PyTorch computes in f64 on inputs that
f32 can hold, except in the cases marked `declared`, which check the rounding of narrow types.
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers.models.gpt_neox.modeling_gpt_neox import apply_rotary_pos_emb as neox_rope
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as llama_rope

OUT = Path(__file__).parents[2] / "crates/orion-compiler/tests/golden/ops.json"
NAMES = {torch.float64: "f32", torch.float16: "f16", torch.bfloat16: "bf16", torch.int32: "i32", torch.bool: "bool"}
torch.manual_seed(20261123)
cases = []


def real(*shape):
    return (torch.randn(shape) * 24).round().double() / 16


def ints(*values):
    return torch.tensor(values, dtype=torch.int32)


def scalar(value):
    return torch.tensor(value, dtype=torch.int32)


def type_of(tensor):
    return f"{NAMES[tensor.dtype]}[{','.join(map(str, tensor.shape))}]"


def numbers(tensor, digits=17):
    def number(x):
        return x if isinstance(x, (bool, int)) else float(f"{x:.{digits}g}") if math.isfinite(x) else str(x)
    return [number(x) for x in tensor.flatten().tolist()]


def case(name, source, call, inputs, compute, declared=False):
    """`call` is the IR of the operation on %x0, %x1 …; `compute` the same in PyTorch."""
    wanted = [i for i, x in enumerate(inputs) if x.dtype == torch.float64 and not declared]
    inputs = [x.clone().requires_grad_(i in wanted) for i, x in enumerate(inputs)]
    y = compute(*inputs)
    parameters = list(inputs)
    lines = [f'  %y: {type_of(y)} = {call.format(*(f"%x{i}" for i in range(len(inputs))))}']
    outputs = ['  output %y "y"']
    gradients = {}
    if wanted:
        c = real(*y.shape)
        (y * c).sum().backward()
        gradients = {f"x{i}": numbers(inputs[i].grad, 9) for i in wanted}
        parameters.append(c)
        axes = list(range(y.dim()))
        lines += [f"  %weighted: {type_of(y)} = mul(%y, %c)",
                  f"  %loss: f32[] = reduce_sum(%weighted) {{axes = {axes}, keep = false}}"]
        outputs.append('  output %loss "loss"')
    names = [f"x{i}" for i in range(len(inputs))] + ["c"]
    head = [f'  input %{n} "{n}": {type_of(p)}' for n, p in zip(names, parameters)]
    program = "\n".join(["program golden {", *head, *lines, *outputs, "}"])
    cases.append({"name": name, "source": source, "declared": declared, "program": program,
                  "inputs": [numbers(p.detach()) for p in parameters], "y": numbers(y.detach(), 17 if declared else 9),
                  "gradients": gradients})


def attend(q, keys, values, position, causal, scale):
    """SDPA on the prefix, all tensors [batch, tokens, heads, head_dim]."""
    queries, last = q.shape[1], int(position) + q.shape[1]
    q, keys, values = (x.transpose(1, 2) for x in (q, keys[:, :last], values[:, :last]))
    mask = torch.ones(queries, last, dtype=torch.bool).tril(int(position)) if causal else None
    y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=scale, enable_gqa=True)
    return y.transpose(1, 2)


def attention(name, q, store, position, causal=True):
    call = f"attention({{0}}, {{1}}, {{2}}, {{3}}) {{{{scale = 0.5, causal = {str(causal).lower()}}}}}"
    source = "scaled_dot_product_attention(enable_gqa=True)"
    case(name, source, call, [q, store, real(*store.shape), scalar(position)],
         lambda q, k, v, p: attend(q, k, v, p, causal, 0.5))


def rotate(rope, x, frequencies, position):
    angles = (torch.arange(x.shape[1]) + int(position)).double()[:, None] * frequencies
    both = torch.cat((angles, angles), dim=-1)[None]
    return rope(x, x, both.cos(), both.sin(), unsqueeze_dim=2)[0]


def elementwise():
    x = real(2, 4)
    wide = torch.tensor([-30.0, -6.0, -0.5, -0.015625, 0.0, 0.25, 3.0, 12.0]).double()
    for name, compute in [("erf", torch.erf), ("tanh", torch.tanh), ("sigmoid", torch.sigmoid), ("silu", F.silu)]:
        case(name, f"torch {name}", f"{name}({{0}})", [wide], compute)
    case("gelu_tanh", "gelu(approximate='tanh')", "gelu({0}) {{approximate = true}}", [wide],
         lambda x: F.gelu(x, approximate="tanh"))
    case("gelu_exact", "gelu", "gelu({0}) {{approximate = false}}", [wide], F.gelu)
    case("swiglu", "silu(gate) * up", "swiglu({0}, {1})", [x, real(2, 4)], lambda g, u: F.silu(g) * u)
    case("add_broadcast", "torch +", "add({0}, {1})", [real(2, 1, 3), real(4, 1)], lambda x, y: x + y)
    case("div_broadcast", "torch /", "div({0}, {1})", [real(2, 1, 3), real(4, 1).abs() + 0.5], lambda x, y: x / y)
    case("matmul_broadcast", "torch @", "matmul({0}, {1}) {{transpose_x = false, transpose_y = true}}",
         [real(2, 1, 2, 3), real(2, 4, 3)], lambda x, y: x @ y.mT)


def reductions():
    x = real(3, 5)
    masked = x.clone()
    masked[1, 2:] = -math.inf
    case("softmax_rows", "softmax(dim=-1)", "softmax({0}) {{axis = -1}}", [masked], lambda x: x.softmax(-1))
    case("softmax_columns", "softmax(dim=0)", "softmax({0}) {{axis = 0}}", [x], lambda x: x.softmax(0))
    case("softmax_large", "softmax(dim=-1)", "softmax({0}) {{axis = -1}}", [x * 400], lambda x: x.softmax(-1))
    case("log_softmax", "log_softmax(dim=-1)", "log_softmax({0}) {{axis = -1}}", [x * 40],
         lambda x: x.log_softmax(-1))
    case("reduce_mean", "mean", "reduce_mean({0}) {{axes = [0, 2], keep = false}}", [real(2, 3, 2)],
         lambda x: x.mean((0, 2)))
    ties = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]).double()
    case("reduce_max_with_ties", "amax, which splits the gradient among ties",
         "reduce_max({0}) {{axes = [-1], keep = false}}", [ties], lambda x: x.amax(-1))
    for name in "maximum", "minimum":
        case(f"{name}_with_ties", f"{name}, which splits the gradient between ties",
             f"{name}({{0}}, {{1}})", [ties, ties.flip(1)], getattr(torch, name))
    case("layer_norm", "layer_norm", "layer_norm({0}, {1}, {2}) {{eps = 1e-5}}", [real(2, 2, 6), real(6), real(6)],
         lambda x, w, b: F.layer_norm(x, (6,), w, b, 1e-5))
    case("rms_norm", "rms_norm", "rms_norm({0}, {1}) {{eps = 1e-6}}", [real(2, 2, 6), real(6)],
         lambda x, w: F.rms_norm(x, (6,), w, 1e-6))


def tables():
    labels = ints(0, 4, -100, 2, -100)
    case("cross_entropy_ignoring", "cross_entropy(ignore_index=-100)", "cross_entropy({0}, {1}) {{ignore = -100}}",
         [real(5, 5), labels], lambda x, t: F.cross_entropy(x, t.long(), ignore_index=-100))
    case("cross_entropy_ignoring_a_class", "cross_entropy(ignore_index=2)",
         "cross_entropy({0}, {1}) {{ignore = 2}}", [real(4, 3) * 50, ints(0, 2, 1, 2)],
         lambda x, t: F.cross_entropy(x, t.long(), ignore_index=2))
    case("embedding", "embedding", "embedding({0}, {1}) {{dtype = f32}}", [real(4, 3), ints(2, 0, 2, 3)],
         lambda table, index: F.embedding(index.long(), table))
    case("scatter_add", "index_add", "scatter_add({0}, {1}) {{rows = 4}}", [ints(1, 3, 1), real(3, 2)],
         lambda index, x: torch.zeros(4, 2, dtype=torch.float64).index_add(0, index.long(), x))
    case("linear", "linear", "linear({0}, {1}, {2})", [real(2, 2, 3), real(4, 3), real(4)], F.linear)
    condition = torch.tensor([[True, False, True]])
    nan = real(2, 3)
    nan[:, 1] = math.nan
    case("select_hides_nan", "where", "select({0}, {1}, {2})", [condition, nan, real(2, 3)], torch.where)


def heads():
    attention("attention_causal", real(1, 4, 2, 4), real(1, 4, 2, 4), 0)
    attention("attention_grouped", real(2, 3, 4, 4), real(2, 3, 2, 4), 0)
    attention("attention_one_token_after_four", real(1, 1, 4, 4), real(1, 7, 2, 4), 4)
    attention("attention_chunk_after_two", real(1, 3, 4, 4), real(1, 6, 1, 4), 2)
    attention("attention_both_ways", real(1, 3, 2, 4), real(1, 3, 2, 4), 0, causal=False)
    frequencies = torch.tensor([1.0, 0.25, 0.015625]).double()
    case("rope_llama", "transformers llama apply_rotary_pos_emb", "rope({0}, {1}, {2})",
         [real(2, 3, 2, 6), frequencies, scalar(5)], lambda x, f, p: rotate(llama_rope, x, f, p))
    case("rope_partial", "transformers gpt_neox apply_rotary_pos_emb", "rope({0}, {1}, {2})",
         [real(1, 2, 2, 10), frequencies, scalar(3)], lambda x, f, p: rotate(neox_rope, x, f, p))


def rounding():
    # Ties, subnormals and overflow of the narrow types.
    edges = torch.tensor([1.00390625, 1.01171875, 1.0048828125, 1.00048828125, 1.00146484375, 65504.0, 65519.0, 65520.0,
                          -1e38, 3.4e38, 6e-8, 2e-8, 2**-25, 1e-40, -0.1, math.inf], dtype=torch.float32).double()
    for name, dtype in [("f16", torch.float16), ("bf16", torch.bfloat16)]:
        case(f"cast_to_{name}", f"torch .to({dtype})", f"cast({{0}}) {{{{dtype = {name}}}}}", [edges],
             lambda x: x.float().to(dtype), declared=True)
        x, y = (torch.randn(8).to(dtype) for _ in range(2))
        for op, compute in [("add", torch.add), ("mul", torch.mul), ("div", torch.div)]:
            case(f"{op}_{name}", f"torch.{op} of {dtype}", f"{op}({{0}}, {{1}})", [x, y], compute, declared=True)
    case("cast_to_i32", "torch .to(int32)", "cast({0}) {{dtype = i32}}",
         [torch.tensor([-2.75, -0.5, 0.5, 2.75, 16777216.0]).double()], lambda x: x.to(torch.int32), declared=True)


def main():
    for part in [elementwise, reductions, tables, heads, rounding]:
        part()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    print(f"{len(cases)} cases, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
