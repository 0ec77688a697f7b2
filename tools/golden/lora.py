#!/usr/bin/env python3
"""Writes crates/orion-llm/tests/golden/lora/golden.safetensors: a dense layer with a low-rank adapter, and its gradients.

PyTorch computes y = x Wᵀ + scale · (x Aᵀ) Bᵀ (Hu et al., 2021) in f64, on inputs that f16 can hold, so that an engine in f16
starts from the same numbers. Results are rounded once, to f32:

  x          f32 [1, 48, 40]   tokens behind each other, 48 of them, with 40 channels
  weight     f32 [56, 40]      the dense layer: [out, in]
  lora_a     f32 [8, 40]       [rank, in]
  lora_b     f32 [56, 8]       [out, rank]
  scale      f32 [1]           alpha / rank, here 20 / 8
  base       f32 [1, 48, 56]   without the adapter: x Wᵀ
  y          f32 [1, 48, 56]
  c          f32 [1, 48, 56]   factor of each result in the loss, sum(c · y)
  grad.x, grad.weight, grad.lora_a, grad.lora_b
             f32, the shapes of their tensors: d loss / d tensor

No two dimensions are equal, so that no axis can be taken for another, and scale is no power of two nor one.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

OUT = Path(__file__).parents[2] / "crates/orion-llm/tests/golden/lora"
TOKENS, INPUTS, OUTPUTS, RANK, ALPHA = 48, 40, 56, 8, 20


def main():
    generator = torch.Generator().manual_seed(20261125)

    def numbers(*shape, deviation):
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64) * deviation
        return drawn.half().double()

    x = numbers(1, TOKENS, INPUTS, deviation=1.0).requires_grad_()
    weight = numbers(OUTPUTS, INPUTS, deviation=INPUTS**-0.5).requires_grad_()
    # Neither is zero, as B is before training: the adapter has to show in the result.
    lora_a = numbers(RANK, INPUTS, deviation=INPUTS**-0.5).requires_grad_()
    lora_b = numbers(OUTPUTS, RANK, deviation=RANK**-0.5).requires_grad_()
    c = numbers(1, TOKENS, OUTPUTS, deviation=1.0)
    scale = ALPHA / RANK

    base = torch.nn.functional.linear(x, weight)
    low = torch.nn.functional.linear(x, lora_a)
    y = base + scale * torch.nn.functional.linear(low, lora_b)
    (c * y).sum().backward()

    inputs = {"x": x, "weight": weight, "lora_a": lora_a, "lora_b": lora_b}
    tensors = inputs | {"scale": torch.tensor([scale]), "base": base, "y": y, "c": c}
    tensors |= {f"grad.{name}": tensor.grad for name, tensor in inputs.items()}
    OUT.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}, OUT / "golden.safetensors")


if __name__ == "__main__":
    main()
