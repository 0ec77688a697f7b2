#!/usr/bin/env python3
"""Writes crates/orion-kernels/tests/golden/weight_formats.txt from gguf-py and llama.cpp's quantiser.

Needs numpy and gguf; xllamacpp (whose library exports ggml_quantize_chunk) for the `error` lines.
Lines, all numbers little-endian hexadecimal:
  decode FORMAT BLOCKS VALUES         gguf.quants.dequantize
  encode FORMAT VALUES BLOCKS         gguf.quants.quantize
  error  FORMAT VALUES RMSE WEIGHTED  root mean square error of llama.cpp's quantiser without importance matrix; WEIGHTED
                                      counts each value by (rms + |x|) of its sub-block
"""

import ctypes
import sys
from pathlib import Path

import numpy as np
import gguf
from gguf.quants import dequantize, quantize

OUT = Path(__file__).parents[2] / "crates/orion-kernels/tests/golden/weight_formats.txt"
TYPES = gguf.GGMLQuantizationType
SCALES_AT = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
             "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def ggml():
    import xllamacpp.xllamacpp as module
    library = ctypes.CDLL(module.__file__)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64,
                                            ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    library.ggml_quantize_init.argtypes = [ctypes.c_int]
    return library


def weighted_rmse(values, error, sub):
    values, error = values.reshape(-1, sub), error.reshape(-1, sub)
    weights = np.sqrt((values**2).mean(axis=1, keepdims=True)) + np.abs(values)
    return float(np.sqrt((weights * error**2).sum() / weights.sum()))


def main():
    rng = np.random.default_rng(20261123)
    lines = []
    for name, scales_at in SCALES_AT.items():
        kind = TYPES[name]
        length, size = gguf.GGML_QUANT_SIZES[kind]
        count = 8 if length == 32 else 3
        blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for at in scales_at:
            scale = rng.normal(0, 0.05, count).astype(np.float16)
            if at == scales_at[0]:
                scale[-1] = np.float16(6e-8)  # subnormal
            blocks[:, at:at + 2] = scale.view(np.uint8).reshape(count, 2)
        lines.append(f"decode {name} {blocks.tobytes().hex()} {dequantize(blocks, kind).tobytes().hex()}")
    for name in ["BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]:
        values = rng.normal(0, 1, 256).astype(np.float32)
        values[32:64] *= np.float32(1e-3)
        values[64:96] = np.round(values[64:96] * 4) / 4
        values[96:128] = 0
        values[128:160] = np.abs(values[128:160]) * 1000
        encoded = quantize(values.reshape(1, -1), TYPES[name])
        lines.append(f"encode {name} {values.tobytes().hex()} {encoded.tobytes().hex()}")
    library = ggml()
    for name, sub in [("Q4_K", 32), ("Q5_K", 32), ("Q6_K", 16)]:
        kind = TYPES[name]
        values = rng.standard_t(6, (4, 256)).astype(np.float32) * np.float32(0.04)
        values[2] += np.float32(0.05)
        values[3] = np.abs(values[3])
        out = np.zeros((4, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
        library.ggml_quantize_init(int(kind))
        library.ggml_quantize_chunk(int(kind), values.ctypes.data, out.ctypes.data, 0, 4, 256, None)
        error = dequantize(out, kind) - values
        lines.append(f"error {name} {values.tobytes().hex()} {np.sqrt((error**2).mean()):.6e} "
                     f"{weighted_rmse(values, error, sub):.6e}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
