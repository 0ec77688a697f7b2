"""Times whole training steps of PyTorch on random tokens and prints what `orion bench training --json` prints for Orion.

The model is written as PyTorch runs it fastest: fused projections' inputs shared, scaled_dot_product_attention, fused
AdamW, autocast for bf16.
"""

import argparse
import json
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


def rotate(x, cos, sin):
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


class Layer(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.o, self.is_llama = o, o.architecture == "llama"
        norm = nn.RMSNorm if self.is_llama else nn.LayerNorm
        bias = not self.is_llama
        self.norm1, self.norm2 = norm(o.width, eps=1e-5), norm(o.width, eps=1e-5)
        self.qkv = nn.Linear(o.width, 3 * o.width, bias=bias)
        self.out = nn.Linear(o.width, o.width, bias=bias)
        self.up = nn.Linear(o.width, o.hidden, bias=bias)
        self.gate = nn.Linear(o.width, o.hidden, bias=False) if self.is_llama else None
        self.down = nn.Linear(o.hidden, o.width, bias=bias)

    def forward(self, x, cos, sin):
        batch, length, width = x.shape
        heads = self.qkv(self.norm1(x)).view(batch, length, 3, self.o.heads, -1).transpose(1, 3)
        q, k, v = heads.unbind(2)
        if self.is_llama:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        hidden = self.norm2(x)
        if self.is_llama:
            return x + self.down(F.silu(self.gate(hidden)) * self.up(hidden))
        return x + self.down(F.gelu(self.up(hidden), approximate="tanh"))


class Model(nn.Module):
    def __init__(self, o):
        super().__init__()
        is_llama = o.architecture == "llama"
        self.tokens = nn.Embedding(o.vocab, o.width)
        self.positions = None if is_llama else nn.Embedding(o.context, o.width)
        self.layers = nn.ModuleList(Layer(o) for _ in range(o.layers))
        self.norm = (nn.RMSNorm if is_llama else nn.LayerNorm)(o.width, eps=1e-5)
        half = o.width // o.heads // 2
        angles = torch.outer(torch.arange(o.length), 10000.0 ** (-torch.arange(half) / half))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, tokens, labels):
        x = self.tokens(tokens)
        if self.positions is not None:
            x = x + self.positions.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--architecture", choices=["llama", "gpt2"], required=True)
    for name in ("vocab", "width", "hidden", "layers", "heads", "context", "batch", "length", "threads", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--dtype", choices=["f32", "bf16"], required=True)
    parser.add_argument("--compile", action="store_true")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    torch.manual_seed(0)
    model = Model(o)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    run = torch.compile(model) if o.compile else model
    times = []
    for step in range(o.steps + 2):
        tokens = torch.randint(0, o.vocab, (o.batch, o.length + 1))
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=o.dtype == "bf16"):
            loss = run(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        # The first steps compile and touch memory.
        if step >= 2:
            times.append((time.perf_counter() - start) * 1e3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"step_ms": statistics.median(times), "peak_resident_bytes": peak}))


if __name__ == "__main__":
    main()
