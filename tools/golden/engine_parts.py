#!/usr/bin/env python3
"""Writes crates/orion-llm/tests/golden/engine_parts/golden.safetensors: parts of models with their gradients.

PyTorch computes in f64, on inputs that f16 can hold, so that an engine in f16 starts from the same numbers. Results are rounded
once, to f32. For each part: `x` and its weights, the factor `c` of each result in the loss `sum(c * y)`, and `grad.<name>`, the
derivative of the loss by each of them; for the classifier `probabilities` instead.

  rms_norm        x [1, 48, 40], weight [40], eps 1e-5
  small_rms_norm  the same with x of a deviation of 0.02, as embeddings of a fresh model have
  layer_norm      x [1, 48, 40], weight and bias [40], eps 1e-5
  ffn             x [1, 48, 40], gate and up [56, 40], down [40, 56]: down(silu(gate x) * (up x))
  attention       x [1, 48, 40], q [32, 40], k [16, 40], v [16, 40]: 4 heads of queries, 2 of keys and values, 8 numbers each,
                  rotary positions of frequencies 1, 0.1, 0.01, 0.001 (element i is paired with i + 4), causal
  classifier      x [1, 48, 40], weight [72, 40]: softmax over 72 classes
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

OUT = Path(__file__).parents[2] / "crates/orion-llm/tests/golden/engine_parts"
TOKENS, WIDTH, HIDDEN, CLASSES, HEAD = 48, 40, 56, 72, 8


def main():
    generator = torch.Generator().manual_seed(20261126)
    tensors = {}

    def numbers(*shape, deviation, mean=0.0):
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64) * deviation + mean
        return drawn.half().double()

    def part(name, compute, **inputs):
        inputs = {key: tensor.requires_grad_() for key, tensor in inputs.items()}
        y = compute(**inputs)
        c = numbers(*y.shape, deviation=1.0)
        (c * y).sum().backward()
        known = inputs | {"c": c} | {f"grad.{key}": tensor.grad for key, tensor in inputs.items()}
        tensors.update({f"{name}.{key}": tensor for key, tensor in known.items()})

    def x(deviation=1.0):
        return numbers(1, TOKENS, WIDTH, deviation=deviation)

    def dense(outputs, inputs):
        return numbers(outputs, inputs, deviation=inputs**-0.5)

    def vector(mean):
        return numbers(WIDTH, deviation=0.2, mean=mean)

    functional = torch.nn.functional

    def rms_norm(x, weight):
        return functional.rms_norm(x, (WIDTH,), weight, 1e-5)

    part("rms_norm", rms_norm, x=x(), weight=vector(1.0))
    part("small_rms_norm", rms_norm, x=x(0.02), weight=vector(1.0))
    part(
        "layer_norm",
        lambda x, weight, bias: functional.layer_norm(x, (WIDTH,), weight, bias, 1e-5),
        x=x(),
        weight=vector(1.0),
        bias=vector(0.0),
    )
    part(
        "ffn",
        lambda x, gate, up, down: functional.linear(
            functional.silu(functional.linear(x, gate)) * functional.linear(x, up), down
        ),
        x=x(),
        gate=dense(HIDDEN, WIDTH),
        up=dense(HIDDEN, WIDTH),
        down=dense(WIDTH, HIDDEN),
    )

    angles = torch.arange(TOKENS).double()[:, None] * torch.tensor([1.0, 0.1, 0.01, 0.001]).double()

    def heads(x, weight):
        return functional.linear(x, weight).view(1, TOKENS, -1, HEAD).transpose(1, 2)

    def turned(x):
        first, second = x.chunk(2, dim=-1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    def attention(x, q, k, v):
        queries, keys, values = turned(heads(x, q)), turned(heads(x, k)), heads(x, v)
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, enable_gqa=True
        )
        return mixed.transpose(1, 2).reshape(1, TOKENS, -1)

    part("attention", attention, x=x(), q=dense(32, WIDTH), k=dense(16, WIDTH), v=dense(16, WIDTH))

    states, weight = x(), dense(CLASSES, WIDTH)
    probabilities = functional.linear(states, weight).softmax(dim=-1)
    tensors |= {"classifier.x": states, "classifier.weight": weight, "classifier.probabilities": probabilities}

    OUT.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}, OUT / "golden.safetensors")


if __name__ == "__main__":
    main()
