#!/usr/bin/env python3
"""Writes crates/orion-kernels/tests/golden/kernels.json: small operands and PyTorch's f32 results, as lists of numbers.

Needs torch. `rope` is the formula of Hugging Face's Llama (`rotate_half`).
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

OUT = Path(__file__).parents[2] / "crates/orion-kernels/tests/golden/kernels.json"


def flat(**tensors):
    return {name: [float(x) for x in t.flatten()] for name, t in tensors.items()}


def rope(x, frequencies, position):
    angles = torch.arange(position, position + x.shape[1], dtype=torch.float32)[:, None] * frequencies
    cos, sin = [torch.cat([f(angles)] * 2, -1)[None, :, None] for f in (torch.cos, torch.sin)]
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def main():
    torch.manual_seed(2)
    x = torch.linspace(-9, 9, 37)
    rows, weight, bias = torch.randn(2, 20) * 3 + 40, torch.rand(20), torch.randn(20)
    heads, frequencies = torch.randn(1, 2, 2, 6), 10000.0 ** -(torch.arange(3) / 3)
    q, k, v = torch.randn(1, 9, 4, 6), torch.randn(1, 11, 2, 6), torch.randn(1, 11, 2, 6)
    visible = torch.arange(11)[None] <= torch.arange(9)[:, None] + 2
    swap = lambda t: t.transpose(1, 2)
    mixed = F.scaled_dot_product_attention(swap(q), swap(k), swap(v), attn_mask=visible, enable_gqa=True)
    golden = {
        "activation": flat(x=x, silu=F.silu(x), gelu_erf=F.gelu(x), gelu_tanh=F.gelu(x, approximate="tanh")),
        "norm": flat(x=rows, weight=weight, bias=bias, rms=F.rms_norm(rows, (20,), weight, 1e-5),
                     layer=F.layer_norm(rows, (20,), weight, bias, 1e-5), softmax=F.softmax(rows, -1)),
        "rope": flat(x=heads, frequencies=frequencies, near=rope(heads, frequencies, 3),
                     far=rope(heads, frequencies, 131070)),
        "attention": flat(q=q, keys=k, values=v, out=swap(mixed)),
    }
    OUT.write_text(json.dumps(golden) + "\n")


main()
