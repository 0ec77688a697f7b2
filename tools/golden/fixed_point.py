"""The Neural Engine's sums in NumPy: checks the rules against a published error, then writes cases for Rust.

The rules are those of 751K's study of M4 and M6 (notes/numerics.md, H11 and H12). ANEForge published the relative error of a
matrix product of 64 x 256 by 256 x 256 normal numbers on M1 and on M5 (bench/results/device_compare_wattcomplete_results_*.json,
"GEMM floor"); both say 0.0012522854527169441, and so do the rules.

    pip install numpy
    python tools/golden/fixed_point.py    # writes crates/orion-kernels/tests/golden/fixed_point.json
"""

import json
from pathlib import Path

import numpy as np

UNIT = 2.0**-16
PUBLISHED = 0.0012522854527169441


def exponent(x):
    _, exponents = np.frexp(np.abs(x))
    return np.where(x == 0, -1000, np.maximum(exponents - 1, -14))


def away(x):
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


def to_half(x):
    _, exponents = np.frexp(np.abs(x))
    unit = 2.0 ** (np.maximum(exponents - 1, -14) - 10)
    return away(x / unit) * unit


def product(x, w):
    """x [rows, depth] times w [columns, depth] transposed, both float64 that hold fp16."""
    out = np.zeros((len(x), len(w)))
    for row, factors in enumerate(x):
        kept = exponent(factors) + exponent(w) >= -16
        terms = np.where(kept, away(factors * w / UNIT), 0)
        sums = np.cumsum(terms, axis=1)
        over = np.abs(sums) >= 2.0**31
        first = np.where(over.any(axis=1), over.argmax(axis=1), 0)
        at_limit = np.take_along_axis(sums, first[:, None], axis=1)[:, 0]
        out[row] = np.where(over.any(axis=1), np.copysign(np.inf, at_limit), to_half(sums[:, -1] * UNIT))
    return out


def half(x):
    return x.astype(np.float16).astype(np.float64)


def check():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 256)).astype(np.float32) / np.sqrt(256)
    w = rng.standard_normal((256, 256)).astype(np.float32) / np.sqrt(256)
    reference = x.astype(np.float64) @ w.astype(np.float64).T
    error = product(half(x), half(w)) - reference
    found = np.linalg.norm(error) / np.linalg.norm(reference)
    print(f"published {PUBLISHED!r}\nfound     {found!r}")
    assert abs(found - PUBLISHED) < 1e-15


def main():
    check()
    rng = np.random.default_rng(1)
    cases = []
    for rows, depth, columns, scale, spread in [
        (3, 40, 20, 0.05, 0.0),
        (3, 70, 18, 1.0, 0.0),
        (2, 24, 17, 1.0, 6.0),
        (4, 16, 16, 60.0, 2.0),
        (1, 1, 1, 3.0, 0.0),
    ]:
        def draw(*shape):
            powers = 2.0 ** rng.uniform(-spread, spread, shape)
            return half(np.float32(rng.standard_normal(shape) * scale * powers))

        x, w = draw(rows, depth), draw(columns, depth)
        out = product(x, w)
        cases.append(
            {
                "rows": rows,
                "depth": depth,
                "columns": columns,
                "x": x.ravel().tolist(),
                "w": w.ravel().tolist(),
                "out": [str(value) for value in out.ravel()],
            }
        )
        print(rows, depth, columns, f"{np.isinf(out).sum()} of {out.size} infinite, {(out == 0).sum()} zero")
    path = Path(__file__).parents[2] / "crates/orion-kernels/tests/golden/fixed_point.json"
    path.write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
