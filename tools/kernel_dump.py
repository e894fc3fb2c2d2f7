"""Kernel definitions and operator schemas of the onnxruntime that this process imports, as JSON on standard output.

`kernel_tables.py` runs it with the wanted release on PYTHONPATH and stub libraries on LD_LIBRARY_PATH. Exit 1 with one
line when the release does not look as expected.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from kernel_memory import HostArguments, LayoutError, host_arguments

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
OPEN = 2**31 - 1

# (operator, from version): host inputs and host outputs of its CUDA kernels, by the registrations in ONNX Runtime's
# sources since 1.10 at least (`InputMemoryType`, `OutputMemoryType`).
KNOWN: dict[tuple[str, int], tuple[tuple[int, ...], tuple[int, ...]]] = {
    ("Shape", 1): ((), (0,)),
    ("Size", 1): ((), (0,)),
    ("SequenceLength", 11): ((), (0,)),
    ("Reshape", 5): ((1,), ()),
    ("Range", 11): ((0, 1, 2), ()),
    ("Expand", 8): ((1,), ()),
    ("Slice", 10): ((1, 2, 3, 4), ()),
    ("Tile", 6): ((1,), ()),
    ("ConstantOfShape", 9): ((0,), ()),
    ("Unsqueeze", 13): ((1,), ()),
    ("TopK", 10): ((1,), ()),
    ("OneHot", 11): ((1, 2), ()),
    ("Gather", 1): ((), ()),
    ("Where", 9): ((), ()),
    ("Concat", 4): ((), ()),
    ("MatMul", 1): ((), ()),
    ("Cast", 6): ((), ()),
}


def dump() -> dict[str, object]:
    """The release as plain data. Raises LayoutError when its definitions cannot be read with certainty."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    definitions = list(state.get_all_opkernel_def())
    layout, hosts = host_arguments(definitions)
    _check(definitions, hosts)
    return {
        "version": onnxruntime.__version__,
        "layout": asdict(layout),
        "kernels": [_kernel(d, h) for d, h in zip(definitions, hosts, strict=True)],
        "schemas": [_schema(s) for s in state.get_all_operator_schema()],
    }


def _check(definitions: Sequence[Any], hosts: Sequence[HostArguments]) -> None:
    """Compare with what is known: both providers are there and well-known operators have their host arguments."""
    found = [d.provider for d in definitions]
    if min(found.count(CUDA), found.count(CPU)) < 500:
        raise LayoutError(f"only {found.count(CUDA)} CUDA and {found.count(CPU)} CPU kernel definitions")
    seen = set()
    for definition, host in zip(definitions, hosts, strict=True):
        known = _known(definition)
        if known is None:
            continue
        seen.add(definition.op_name)
        if (host.inputs, host.outputs) != known:
            name = f"{definition.op_name} {definition.version_range[0]}"
            raise LayoutError(f"host arguments of {name} read as {host.inputs} and {host.outputs}, not {known}")
    missing = {name for name, _ in KNOWN} - seen
    if missing:
        raise LayoutError(f"no CUDA kernel of {', '.join(sorted(missing))}")


def _known(definition: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if definition.provider != CUDA or definition.domain:
        return None
    entries = ((since, host) for (name, since), host in KNOWN.items() if name == definition.op_name)
    return next((host for since, host in entries if definition.version_range[0] >= since), None)


def _kernel(definition: Any, host: HostArguments) -> dict[str, object]:
    since, until = definition.version_range
    return {
        "provider": definition.provider,
        "domain": definition.domain,
        "op_type": definition.op_name,
        "since": since,
        "until": None if until == OPEN else until,
        "types": {name: list(allowed) for name, allowed in definition.type_constraints.items()},
        "host_inputs": list(host.inputs),
        "host_outputs": list(host.outputs),
    }


def _schema(schema: Any) -> dict[str, object]:
    return {
        "domain": schema.domain,
        "op_type": schema.name,
        "since": schema.since_version,
        "deprecated": bool(schema.deprecated),
        "inputs": list(_formals(schema.inputs)),
        "outputs": list(_formals(schema.outputs)),
        "types": {c.type_param_str: list(c.allowed_type_strs) for c in schema.type_constraints},
    }


def _formals(parameters: Sequence[Any]) -> Iterator[list[object]]:
    for parameter in parameters:
        option = str(parameter.option).rsplit(".", 1)[-1].lower()
        yield [parameter.name, parameter.typeStr, option, bool(parameter.isHomogeneous)]


if __name__ == "__main__":
    try:
        json.dump(dump(), sys.stdout)
    except LayoutError as error:
        sys.exit(str(error))
