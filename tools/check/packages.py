"""Lets Apple's coremltools read the packages that `orion mil package` writes, and compares types and weights.

    pip install coremltools==9.0
    python tools/check/packages.py target/release/orion [PACKAGE...]

Without packages, every case of crates/orion-compiler/tests/golden/mil_ops.json becomes one, and a program with weights in
a file. coremltools infers the types of every operation anew: a program that it cannot build, or whose results have other
types than declared, is refused.
"""

import json
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import coremltools as ct
import numpy as np
from coremltools.converters.mil.frontend.milproto.load import load
from coremltools.converters.mil.mil import types

GOLDEN = Path(__file__).parents[2] / "crates/orion-compiler/tests/golden/mil_ops.json"
# Core ML has no other inputs and results.
INTERFACE = {"fp16", "fp32", "int32"}
DTYPES = {1: "bool", 10: "fp16", 11: "fp32", 21: "int8", 22: "int16", 23: "int32", 31: "uint8", 32: "uint16"}
# Cases that coremltools does not build, and why.
KNOWN = {
    "reshape that keeps a dimension": "since iOS 16 a dimension of zero is none that is kept",
    "linear": "the weight is an input here, and Core ML takes only a constant bias",
    "conv with steps and groups": "the weight is an input here, which Core ML takes only without dilations",
    "quantize": "the result is int32 here, as Core ML has no results of int8",
    "dequantize": "the input is int32 here, as Core ML has no inputs of int8",
}


def declared(spec):
    """Shape and element type of every result in the package, by function and name."""
    for name, function in spec.mlProgram.functions.items():
        for block in function.block_specializations.values():
            for operation in block.operations:
                for output in operation.outputs:
                    tensor = output.type.tensorType
                    shape = tuple(dimension.constant.size for dimension in tensor.dimensions)
                    yield name, operation.type, output.name, shape, DTYPES.get(tensor.dataType)


def read(path):
    spec = ct.utils.load_spec(str(path))
    weights = path / "Data/com.apple.CoreML/weights"
    return spec, load(spec, spec.specificationVersion, str(weights) if weights.exists() else "")


def check(path):
    """The number of results whose types agree."""
    spec, program = read(path)
    found = {
        (name, output.name): output
        for name, function in program.functions.items()
        for operation in function.operations
        for output in operation.outputs
    }
    compared = 0
    for function, operation, name, shape, dtype in declared(spec):
        output = found.get((function, name))
        if output is None:
            raise ValueError(f"{operation} `{name}` is missing after loading")
        if tuple(output.shape) != shape:
            raise ValueError(f"{operation} `{name}` is declared {shape}, coremltools says {tuple(output.shape)}")
        if dtype and types.builtin_to_string(output.dtype) != dtype:
            raise ValueError(f"{operation} `{name}` is declared {dtype}, coremltools says {output.dtype}")
        compared += 1
    return compared


def packaged(orion, folder, name, text):
    source, out = folder / f"{name}.mil", folder / f"{name}.mlpackage"
    source.write_text(text)
    command = [orion, "mil", "package", source, "-o", out]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def interface(text):
    """Element types of inputs and results."""
    inputs = re.search(r"func \w+<\w+>\((.*?)\) \{", text)[1]
    results = re.search(r"-> \((.*?)\)", text)[1].split(", ")
    found = re.findall(r"tensor<(\w+),|(?:^|, )(\w+) in_", inputs)
    for result in results:
        found += re.findall(rf"(?:tensor<(\w+), \[[^]]*\]>|\b(\w+)) {result}\b(?! *=? *\w* *[,)])", text)
    return {one or other for one, other in found}


def weights(orion, folder):
    """A program with two constants in a file, which coremltools reads back."""
    first, second = np.arange(12, dtype=np.float16).reshape(4, 3), np.array([0.5, -1.5], dtype=np.float32)
    blob = bytearray(struct.pack("<II56x", 2, 2))
    offsets = []
    for code, array in [(1, first), (2, second)]:
        blob += b"\0" * (-len(blob) % 64)
        offsets.append(len(blob))
        blob += struct.pack("<IIQQQ32x", 0xDEADBEEF, code, array.nbytes, len(blob) + 64, 0) + array.tobytes()
    (folder / "weights").mkdir()
    (folder / "weights/weight.bin").write_bytes(blob)
    where = 'BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64({}))'
    text = f"""program(1.3) {{ func main<ios18>(tensor<fp16, [2, 3]> x) {{
        tensor<fp16, [4, 3]> w = const()[name = string("w"), val = tensor<fp16, [4, 3]>({where.format(offsets[0])})];
        tensor<fp32, [2]> v = const()[name = string("v"), val = tensor<fp32, [2]>({where.format(offsets[1])})];
        tensor<fp16, [2, 4]> y = linear(x = x, weight = w);
        tensor<fp32, [2, 4]> wide = cast(x = y, dtype = string("fp32"));
        tensor<fp32, [4, 2]> turned = transpose(x = wide, perm = tensor<int32, [2]>([1, 0]));
        tensor<fp32, [4, 2]> z = add(x = turned, y = v);
    }} -> (z); }}"""
    path = packaged(orion, folder, "weights", text)
    _, program = read(path)
    values = {o.name: o.val for op in program.functions["main"].operations for o in op.outputs}
    if not (np.array_equal(values["w"], first) and np.array_equal(values["v"], second)):
        raise ValueError("coremltools reads other weights")
    return path


def main():
    orion, paths = sys.argv[1], [Path(path) for path in sys.argv[2:]]
    failures = left_out = results = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        jobs = [(str(path), lambda path=path: path) for path in paths]
        if not paths:
            jobs.append(("weights in a file", lambda: weights(orion, folder)))
            for index, case in enumerate(json.loads(GOLDEN.read_text())):
                if not interface(case["text"]) <= INTERFACE or case["name"] in KNOWN:
                    left_out += 1
                    continue
                jobs.append((case["name"], lambda i=index, t=case["text"]: packaged(orion, folder, f"case{i}", t)))
        for name, make in jobs:
            try:
                results += check(make())
            except Exception as error:  # every way in which it fails is a finding
                failures += 1
                print(f"{name}: {type(error).__name__}: {error}")
    print(f"{len(jobs) - failures} packages of {len(jobs)} agree in {results} results, {left_out} left out")
    return failures > 0


sys.exit(main())
