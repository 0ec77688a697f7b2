#!/usr/bin/env python3
"""Writes crates/orion-runtime/tests/golden/weights: weight files by the formats' own Python packages.

Needs numpy, gguf and safetensors.
  types.gguf             one [2, 256] tensor per type and one metadata key per kind of value, by gguf-py
  types.safetensors      the same tensors dequantised by gguf-py, by safetensors-py
  mixed.safetensors      dense types, usable and not, a scalar and an empty tensor
  llama2c_v0.bin, _v1    a checkpoint with separate classifier, in the order of llama2.c's export.py
  llama2c.safetensors    its tensors under Hugging Face names
"""

import struct
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

OUT = Path(__file__).parents[2] / "crates/orion-runtime/tests/golden/weights"
TYPES = gguf.GGMLQuantizationType
SCALES_AT = {"Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def write_types(rng):
    writer = gguf.GGUFWriter(OUT / "types.gguf", "test")
    writer.add_uint8("kind.u8", 200)
    writer.add_int8("kind.i8", -100)
    writer.add_uint16("kind.u16", 60_000)
    writer.add_int16("kind.i16", -30_000)
    writer.add_uint32("kind.u32", 4_000_000_000)
    writer.add_int32("kind.i32", -2_000_000_000)
    writer.add_uint64("kind.u64", 1 << 63)
    writer.add_int64("kind.i64", -(1 << 62))
    writer.add_float32("kind.f32", 1.5)
    writer.add_float64("kind.f64", 0.1)
    writer.add_bool("kind.bool", True)
    writer.add_string("kind.string", "Grüße 🦙")
    writer.add_array("array.string", ["<s>", "", "▁the"])
    writer.add_array("array.f32", [0.0, -1.5])
    writer.add_array("array.i32", [1, -2, 3])
    writer.add_array("array.bool", [True, False])
    writer.add_array("array.array", [[1, 2], [3]])
    expected = {}
    for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]:
        kind = TYPES[name]
        if name in SCALES_AT:
            _, size = gguf.GGML_QUANT_SIZES[kind]
            data = rng.integers(0, 256, (2, size), dtype=np.uint8)
            for at in SCALES_AT[name]:
                data[:, at:at + 2] = rng.normal(0, 0.05, 2).astype(np.float16).view(np.uint8).reshape(2, 2)
        else:
            values = rng.normal(0, 1, (2, 256)).astype(np.float32)
            data = values.astype(np.float16) if name == "F16" else quantize(values, kind)
        tensor = f"{name.lower()}.weight"
        raw = None if name in ("F32", "F16") else kind
        writer.add_tensor(tensor, data, raw_dtype=raw)
        expected[tensor] = np.ascontiguousarray(dequantize(data, kind), dtype=np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, OUT / "types.safetensors", metadata={"format": "np"})


def write_mixed():
    save_file({
        "f32": np.array([[1, 2, 3], [4, 5, 6]], np.float32),
        "f16": np.array([0.5, -2], np.float16),
        "i32": np.array([7, -7], np.int32),
        "bool": np.array([True, False, True]),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "f64": np.array([1.0]),
        "i64": np.arange(4),
        "u8": np.arange(3, dtype=np.uint8),
    }, OUT / "mixed.safetensors", metadata={"format": "pt"})


def write_llama2c(rng):
    dim, hidden, layers, heads, kv_heads, vocab, seq = 8, 12, 2, 2, 1, 5, 4
    kv_dim = dim // heads * kv_heads
    tensors = {}

    def make(name, *shape):
        tensors[name] = rng.normal(0, 1, shape).astype(np.float32)

    make("model.embed_tokens.weight", vocab, dim)
    for i in range(layers):
        for name, shape in {
            "input_layernorm": (dim,), "self_attn.q_proj": (dim, dim), "self_attn.k_proj": (kv_dim, dim),
            "self_attn.v_proj": (kv_dim, dim), "self_attn.o_proj": (dim, dim), "post_attention_layernorm": (dim,),
            "mlp.gate_proj": (hidden, dim), "mlp.down_proj": (dim, hidden), "mlp.up_proj": (hidden, dim),
        }.items():
            make(f"model.layers.{i}.{name}.weight", *shape)
    make("model.norm.weight", dim)
    make("lm_head.weight", vocab, dim)

    def each(name):
        return [tensors[f"model.layers.{i}.{name}.weight"] for i in range(layers)]

    embed, norm, head = (tensors[f"{n}.weight"] for n in ("model.embed_tokens", "model.norm", "lm_head"))
    attention = each("self_attn.q_proj") + each("self_attn.k_proj") + each("self_attn.v_proj") + each("self_attn.o_proj")
    mlp = each("mlp.gate_proj") + each("mlp.down_proj") + each("mlp.up_proj")
    angles = np.outer(np.arange(seq), 1 / 10000 ** (np.arange(0, dim // heads, 2) / (dim // heads)))
    with open(OUT / "llama2c_v0.bin", "wb") as out:
        out.write(struct.pack("<7i", dim, hidden, layers, heads, kv_heads, -vocab, seq))
        for part in [embed, *each("input_layernorm"), *attention, *each("post_attention_layernorm"), *mlp, norm,
                     np.cos(angles), np.sin(angles), head]:
            out.write(part.astype("<f4").tobytes())
    with open(OUT / "llama2c_v1.bin", "wb") as out:
        out.write(struct.pack("<Ii7iB", 0x616B3432, 1, dim, hidden, layers, heads, kv_heads, vocab, seq, 0).ljust(256, b"\0"))
        for part in [*each("input_layernorm"), *each("post_attention_layernorm"), norm, embed, *attention, *mlp, head]:
            out.write(part.astype("<f4").tobytes())
    save_file(tensors, OUT / "llama2c.safetensors")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20261123)
    write_types(rng)
    write_mixed()
    write_llama2c(rng)


if __name__ == "__main__":
    main()
