#!/usr/bin/env python3
"""Trains in PyTorch what a run of `orion train` trained, and writes metrics.jsonl for `orion plot` beside it.

    python3 tools/golden/same_run.py RUN MODEL OUT

RUN    a finished run's folder, with its token file still where it was
MODEL  the Hugging Face folder that the run began with (`orion train --model MODEL`)
OUT    gets metrics.jsonl

The settings come from the run's newest checkpoint; the same windows of tokens come in the same order, a Feistel network's
(crates/orion-llm/src/data/permutation.rs). Computes in f32. Prints how far the two curves are apart.
"""

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

MASK = 2**64 - 1
GOLDEN_RATIO = 0x9E3779B97F4A7C15


def mix(value):
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def order(length, seed, epoch):
    """All windows of an epoch, as Orion draws them."""
    half = max(1, math.ceil((length - 1).bit_length() / 2))
    state, keys = mix(seed) ^ mix(epoch + GOLDEN_RATIO & MASK), []
    for _ in range(8):
        state = state + GOLDEN_RATIO & MASK
        keys.append(mix(state))
    for value in range(length):
        while True:
            left, right = value >> half, value & (1 << half) - 1
            for key in keys:
                left, right = right, left ^ mix(right ^ key) & (1 << half) - 1
            value = left << half | right
            if value < length:
                break
        yield value


def windows(settings, count):
    epoch = 0
    while True:
        yield from order(count, settings["seed"], epoch)
        epoch += 1


def rate(schedule, step):
    peak, floor, warm_up, steps = (schedule[key] for key in ["peak", "floor", "warm_up", "steps"])
    if step < warm_up:
        return peak * step / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    falling = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    return peak * (floor + (1 - floor) * falling[schedule["decay"]])


def main(run, model_folder, out):
    newest = max((run / "checkpoints").glob("step-*"))
    settings = json.loads((newest / "training.json").read_text())["settings"]
    optimizer = settings["optimizer"]
    assert settings["accumulation"] == 1 and settings["dropout"] == 0 and settings["precision"] == "f32", settings
    tokens = np.fromfile(settings["dataset"], dtype="<u2").astype(np.int64)
    sequence, batch = settings["sequence"], settings["batch"]
    told = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    told = [line for line in told if "loss" in line]

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).train()
    weights = list(model.parameters())
    groups = [dict(params=[w for w in weights if w.ndim >= 2], weight_decay=optimizer["weight_decay"]),
              dict(params=[w for w in weights if w.ndim < 2], weight_decay=0.0)]
    adamw = torch.optim.AdamW(groups, betas=(optimizer["beta1"], optimizer["beta2"]), eps=optimizer["eps"])
    assert settings["validation_fraction"] == 0, "--validation 0 makes all windows training's"
    drawn = windows(settings, (len(tokens) - 1) // sequence)

    out.mkdir(parents=True, exist_ok=True)
    furthest, smoothed, spent = 0.0, None, 0.0
    with open(out / "metrics.jsonl", "w") as log:
        for line in told:
            begin, step = time.time(), line["step"]
            starts = [next(drawn) * sequence for _ in range(batch)]
            rows = torch.from_numpy(np.stack([tokens[start:start + sequence + 1] for start in starts]))
            logits = model(input_ids=rows[:, :-1], use_cache=False).logits
            loss = cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
            adamw.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(weights, optimizer["clip"])
            for group in adamw.param_groups:
                group["lr"] = rate(optimizer["schedule"], step)
            adamw.step()
            seconds = time.time() - begin
            furthest = max(furthest, abs(loss.item() - line["loss"]) / loss.item())
            smoothed, spent = 0.95 * (smoothed or loss.item()) + 0.05 * loss.item(), spent + seconds
            found = dict(step=step, loss=loss.item(), smoothed_loss=smoothed,
                         learning_rate=rate(optimizer["schedule"], step), gradient_norm=norm.item(),
                         tokens=step * batch * sequence, tokens_per_second=batch * sequence / seconds, seconds=spent)
            log.write(json.dumps(found) + "\n")
            log.flush()
            if step % 20 == 0:
                print(f"step {step}: {loss.item():.4f}, Orion {line['loss']:.4f}, {seconds:.2f} s", flush=True)
    print(f"largest relative distance of two losses: {furthest:.2e}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
