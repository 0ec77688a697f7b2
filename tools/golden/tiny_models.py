#!/usr/bin/env python3
"""Writes crates/orion-llm/tests/golden/<name>/: tiny models of transformers, and what they compute in f32.

Each folder is a model as Hugging Face lays it out (config.json, model.safetensors in F32) plus golden.safetensors:

  input_ids      i64 [2, 24]
  logits         f32 [2, 24, vocab]
  loss           f32 [1]        mean cross-entropy of logits[:, :-1] against input_ids[:, 1:]
  losses         f32 [10]       losses[i] is the loss before AdamW's step i + 1, always on the same batch
  grad.<weight>  f16, the shape of <weight>: d loss / d weight at the initial weights; tied weights appear once

AdamW: lr 1e-3, betas (0.9, 0.95), eps 1e-8, decoupled weight decay 0.1 on weights of two dimensions or more.
The configurations are spelled in both of the ways in which published files say how positions rotate: `rope_theta` with
`rope_scaling`, and the `rope_parameters` of transformers 5.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

OUT = Path(__file__).parents[2] / "crates/orion-llm/tests/golden"
VOCAB, BATCH, LENGTH, STEPS = 97, 2, 24, 10

GPT2 = dict(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, activation_function="gelu_new",
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
LLAMA = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=88, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=0, eos_token_id=0)
LLAMA3_ROPE = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32)

# name -> (configuration class, its fields, how config.json spells the rotation: "classic" or "parameters")
MODELS = {
    "gpt2": (GPT2Config, GPT2, None),
    "llama-tied": (LlamaConfig, LLAMA | dict(
        tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=10000.0)), "classic"),
    "llama-rope-llama3": (LlamaConfig, LLAMA | dict(
        tie_word_embeddings=False, max_position_embeddings=256,
        rope_parameters=LLAMA3_ROPE | dict(rope_theta=500000.0)), "classic"),
    "llama-head-dim-bias": (LlamaConfig, LLAMA | dict(
        tie_word_embeddings=True, head_dim=12, attention_bias=True, mlp_bias=True,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0)), "parameters"),
    "llama-rope-linear": (LlamaConfig, LLAMA | dict(
        tie_word_embeddings=True,
        rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=10000.0)), "parameters"),
}


def randomise(model, generator):
    """Weights large enough that the logits are far from flat and every term of the model shows in them."""
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if weight.ndim == 1:
            weight.data = 0.1 * noise + (0.0 if name.endswith("bias") else 1.0)
        else:
            embedding = any(part in name for part in ("wte", "wpe", "embed_tokens", "lm_head"))
            weight.data = noise * (0.5 if embedding else 1.3 / 32**0.5)


def loss_of(model, ids):
    logits = model(input_ids=ids, use_cache=False).logits
    return logits, cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def train(model, ids):
    weights = list(model.parameters())
    groups = [dict(params=[w for w in weights if w.ndim >= 2], weight_decay=0.1),
              dict(params=[w for w in weights if w.ndim < 2], weight_decay=0.0)]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        _, loss = loss_of(model, ids)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def config_json(config, rope):
    fields = {k: v for k, v in config.to_diff_dict().items() if k not in ("dtype", "transformers_version")}
    # The diff leaves out what equals the class's default; published files say these.
    for name in ("vocab_size", "tie_word_embeddings", "rms_norm_eps", "activation_function", "hidden_act",
                 "layer_norm_epsilon"):
        if hasattr(config, name):
            fields[name] = getattr(config, name)
    parameters = dict(config.rope_parameters) if rope else None
    if rope == "classic":
        for name in ("rope_parameters", "head_dim"):  # older files leave the head's width to be hidden / heads
            fields.pop(name, None)
        fields["rope_theta"] = parameters.pop("rope_theta")
        fields["rope_scaling"] = None if parameters["rope_type"] == "default" else parameters
    elif rope == "parameters":
        fields["rope_parameters"] = parameters
    fields["architectures"] = ["GPT2LMHeadModel" if config.model_type == "gpt2" else "LlamaForCausalLM"]
    return json.dumps(fields, indent=2, sort_keys=True) + "\n"


def write(name, seed):
    kind, fields, rope = MODELS[name]
    config = kind(**fields)
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    randomise(model, generator)
    model.tie_weights()

    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    # clone: safetensors refuses tensors that share memory; a tied head is not stored
    tied = getattr(config, "tie_word_embeddings", False)
    stored = {k: v.detach().clone().contiguous() for k, v in model.named_parameters()}
    assert tied == ("lm_head.weight" not in stored), name
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(config_json(config, rope))

    # What was written, not what was built, is the truth: read the folder back.
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    ids = torch.randint(0, VOCAB, (BATCH, LENGTH), generator=generator)
    logits, loss = loss_of(model, ids)
    loss.backward()
    golden = dict(input_ids=ids, logits=logits.detach().contiguous(), loss=loss.detach().reshape(1))
    for weight, value in model.named_parameters():
        half = value.grad.to(torch.float16)
        relative = (half.float() - value.grad).norm() / value.grad.norm()
        assert relative < 1e-3, f"{name}: {weight}'s gradient loses {relative:.1e} in f16"
        golden[f"grad.{weight}"] = half.contiguous()
    golden["losses"] = train(model, ids)
    save_file(golden, folder / "golden.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)
    size = sum(f.stat().st_size for f in folder.iterdir()) // 1024
    print(f"{name}: {size} KiB, logits' deviation {logits.std():.2f}, loss {golden['losses'][0]:.4f} -> {golden['losses'][-1]:.4f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for seed, name in enumerate(MODELS):
        write(name, seed + 1)
