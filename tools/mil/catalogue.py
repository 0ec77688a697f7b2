"""Prints the table of crates/orion-compiler/src/mil/catalogue.rs from coremltools' registry of operations.

    pip install coremltools==9.0 && python tools/mil/catalogue.py

A line is an operation and its parameters over all operation sets: `*` takes a tuple, `!` only a constant, `?` may be
left out (or is missing in some operation set).
"""

import coremltools  # noqa: F401  registers the operations
from coremltools.converters.mil.mil.input_type import TupleInputType
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

for name, versions in sorted(SSAOpRegistry.core_ops.items()):
    if name.startswith("_"):
        continue
    classes = list(dict.fromkeys(versions.values()))
    parameters: dict[str, list] = {}
    for version in classes:
        for key, kind in version.input_spec.input_types.items():
            parameters.setdefault(key, []).append(kind)
    words = []
    for key, kinds in parameters.items():
        optional = len(kinds) < len(classes) or any(kind.optional for kind in kinds)
        constant = all(kind.const for kind in kinds)
        several = isinstance(kinds[0], TupleInputType)
        words.append(key + "*" * several + "!" * constant + "?" * optional)
    print(f'    ("{name}", "{" ".join(words)}"),')
