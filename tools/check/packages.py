"""Lets Apple's coremltools read the packages that `orion mil package` and `orion compile` write, and compares types and weights.

    pip install coremltools==9.0
    python tools/check/packages.py target/release/orion [PACKAGE...]

Without packages, every case of crates/orion-compiler/tests/golden/mil_ops.json becomes one, and a program with weights in
a file; then the built-in model is compiled in the ways of COMPILED. coremltools infers the types of every operation anew: a program that it cannot build, or whose results have other
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
# Constants with more elements stand in files.
SHORT = 32
# Cases that coremltools does not build, and why.
KNOWN = {
    "reshape that keeps a dimension": "since iOS 16 a dimension of zero is none that is kept",
    "linear": "the weight is an input here, and Core ML takes only a constant bias",
    "conv with steps and groups": "the weight is an input here, which Core ML takes only without dilations",
    "quantize": "the result is int32 here, as Core ML has no results of int8",
    "dequantize": "the input is int32 here, as Core ML has no inputs of int8",
}
# What the built-in model is compiled to: every purpose, cut, route and form of weights at least once. Tokens differ from the
# model's own dimensions, so that no axis is taken for another.
COMPILED = [
    "--for prefill,decode --tokens 32 --context 64 --cut parts",
    "--for prefill,decode --tokens 32 --context 64 --cut whole --route e5rt --probabilities",
    "--for prefill --tokens 20 --cut blocks --ranged-norms",
    "--for prefill,decode --tokens 32 --context 64 --cut layers=2 --lora 8",
    "--for decode --context 64 --cut parts --weights inputs --route e5rt",
    "--for decode --context 64 --cut whole --route e5rt --storage int8",
    "--for decode --context 64 --cut parts --storage lut4",
    "--for decode --context 64 --cut parts --storage lut6",
    "--for training --tokens 32 --cut blocks",
    "--for training --tokens 32 --batch 2 --cut parts --weights inputs",
]


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
    """The number of results whose types agree, and of weights read from files."""
    spec, program = read(path)
    found = {
        (name, output.name): output
        for name, function in program.functions.items()
        for operation in function.operations
        for output in operation.outputs
    }
    for function in program.functions.values():
        names = [output.name for output in function.outputs]
        if sorted(names) != sorted(feature.name for feature in spec.description.output):
            raise ValueError(f"the package's results are not the function's: {names}")
    read_weights = 0
    for (_, name), output in found.items():
        if output.op.op_type == "const" and isinstance(output.val, np.ndarray) and output.val.size > SHORT:
            if not np.isfinite(output.val).all():
                raise ValueError(f"weight `{name}` is not finite")
            read_weights += 1
    compared = 0
    for function, operation, name, shape, dtype in declared(spec):
        output = found.get((function, name))
        if output is None:
            raise ValueError(f"{operation} `{name}` is missing after loading")
        if output.op.op_type != operation:
            raise ValueError(f"{operation} `{name}` is loaded as {output.op.op_type}")
        if tuple(output.shape) != shape:
            raise ValueError(f"{operation} `{name}` is declared {shape}, coremltools says {tuple(output.shape)}")
        if dtype and types.builtin_to_string(output.dtype) != dtype:
            raise ValueError(f"{operation} `{name}` is declared {dtype}, coremltools says {output.dtype}")
        compared += 1
    return compared, read_weights


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


def compiled(orion, folder, options):
    """The packages of the built-in model's programs."""
    command = [orion, "compile", "--emit", "mlpackage", "-o", folder, *options.split()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    packages = sorted(folder.glob("*/*.mlpackage"))
    if not packages:
        raise ValueError("nothing was written")
    return packages


def main():
    orion, paths = sys.argv[1], [Path(path) for path in sys.argv[2:]]
    failures = left_out = results = weights_read = from_models = 0
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
            for index, options in enumerate(COMPILED):
                for path in compiled(orion, folder / f"compiled{index}", options):
                    name = f"compile {options}: {path.parent.name}/{path.stem}"
                    jobs.append((name, lambda path=path: path))
                    from_models += 1
        for name, make in jobs:
            try:
                compared, read_weights = check(make())
                results += compared
                weights_read += read_weights
            except Exception as error:  # every way in which it fails is a finding
                failures += 1
                print(f"{name}: {type(error).__name__}: {error}")
    print(
        f"{len(jobs) - failures} packages of {len(jobs)} agree in {results} results and have {weights_read} weights;"
        f" {from_models} are parts of a compiled model; {left_out} left out"
    )
    return failures > 0


sys.exit(main())
