"""The node cases that the onnx package brings: a small model, its inputs, and what comes out of it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx


@dataclass(frozen=True)
class Case:
    """One case. `inputs` and `outputs` are by name: arrays, lists for sequences, None for an optional that is empty."""

    name: str
    model: onnx.ModelProto
    inputs: dict[str, Any]
    outputs: dict[str, Any]


def cases() -> list[Case]:
    """All of them, in the package's order. It computes their outputs when asked, which takes 20 seconds."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        return [case for test in load_model_tests(kind="node") for case in _cases(test)]


def _cases(test: Any) -> Iterator[Case]:
    graph = test.model.graph
    _lowered(test.model)
    for inputs, outputs in test.data_sets:
        yield Case(test.name, test.model, _named(graph.input, inputs), _named(graph.output, outputs))


def _lowered(model: onnx.ModelProto) -> None:
    """State no newer version than ONNX Runtime takes, where no operator of the model changed since.

    Cases say the versions that are under development, mostly of no need: what they are about would never be reached.
    """
    newest_ir, newest_opset = newest_versions()
    model.ir_version = min(model.ir_version, newest_ir)
    for given in model.opset_import:
        used = {node.op_type for node in _nodes(model.graph) if node.domain in ("", "ai.onnx")}
        since = (onnx.defs.get_schema(op_type, given.version).since_version for op_type in used if not given.domain)
        if not given.domain and given.version > newest_opset and max(since, default=0) <= newest_opset:
            given.version = newest_opset


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)


@functools.cache
def newest_versions() -> tuple[int, int]:
    """(IR version, default operator set) that ONNX Runtime takes."""
    ir_versions = (v for v in range(onnx.IR_VERSION, 2, -1) if _loads(v, 13))
    opsets = (v for v in range(onnx.defs.onnx_opset_version(), 7, -1) if _loads(8, v))
    return next(ir_versions), next(opsets)


def _loads(ir_version: int, opset: int) -> bool:
    import onnxruntime

    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Abs", ["x"], ["y"])], "g", [x], [y])
    imports = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, ir_version=ir_version, opset_imports=imports)
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:  # one class per status code, with no common base of their own
        return False
    return True


def _named(declared: Any, values: Any) -> dict[str, Any]:
    return {info.name: _plain(value) for info, value in zip(declared, values, strict=False)}


def _plain(value: Any) -> Any:
    """Some cases hold tensors as protobufs, types that numpy has only through ml_dtypes among them."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return onnx.numpy_helper.to_list(value)
    if isinstance(value, onnx.OptionalProto):
        return onnx.numpy_helper.to_optional(value)
    if isinstance(value, np.generic):
        return np.asarray(value)
    return value
