#!/usr/bin/env python3
"""Writes crates/orion-llm/tests/golden/training_curve.json: losses of 200 training steps in PyTorch, f32.

From the tiny models that tiny_models.py has written, on a token stream that both sides compute: every token follows
from the one before but for one of five steps that a linear congruential generator draws. A batch is eight windows of 24
tokens. AdamW with betas (0.9, 0.95), decoupled weight decay 0.1 on matrices, gradients clipped at norm 1; the rate grows
over 20 steps to 3e-3 and falls along a cosine to a tenth.
"""

import json
import math
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

GOLDEN = Path(__file__).parents[2] / "crates/orion-llm/tests/golden"
VOCAB, TOKENS, ROWS, LENGTH, STEPS = 97, 20_000, 8, 24, 200
PEAK, WARM_UP, FLOOR = 3e-3, 20, 0.1


def stream():
    state, token, tokens = 12345, 0, []
    for _ in range(TOKENS):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        token = (3 * token + 7 + (state >> 16) % 5) % VOCAB
        tokens.append(token)
    return torch.tensor(tokens)


def rate(step):
    if step < WARM_UP:
        return PEAK * step / WARM_UP
    done = (step - WARM_UP) / (STEPS - WARM_UP)
    return PEAK * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


def curve(name):
    model = AutoModelForCausalLM.from_pretrained(GOLDEN / name, attn_implementation="eager", dtype=torch.float32).train()
    weights = list(model.parameters())
    groups = [dict(params=[w for w in weights if w.ndim >= 2], weight_decay=0.1),
              dict(params=[w for w in weights if w.ndim < 2], weight_decay=0.0)]
    optimiser = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.95), eps=1e-8)
    tokens, losses = stream(), []
    for step in range(STEPS):
        starts = [(step * ROWS + row) * 977 % (TOKENS - LENGTH - 1) for row in range(ROWS)]
        rows = torch.stack([tokens[start:start + LENGTH + 1] for start in starts])
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimiser.param_groups:
            group["lr"] = rate(step + 1)
        optimiser.step()
        losses.append(round(loss.item(), 6))
    print(f"{name}: {losses[0]:.4f} -> {losses[-1]:.4f}")
    return losses


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    curves = {name: curve(name) for name in ["gpt2", "llama-tied"]}
    (GOLDEN / "training_curve.json").write_text(json.dumps(curves) + "\n")
