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
    # cases say the package's own IR version, mostly of no need: what they are about would never be reached
    test.model.ir_version = min(test.model.ir_version, newest_ir_version())
    for inputs, outputs in test.data_sets:
        yield Case(test.name, test.model, _named(graph.input, inputs), _named(graph.output, outputs))


@functools.cache
def newest_ir_version() -> int:
    """That ONNX Runtime takes."""
    import onnxruntime

    info = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Abs", ["x"], ["y"])], "g", [info], [out])
    for version in range(onnx.IR_VERSION, 2, -1):
        model = onnx.helper.make_model(
            graph, ir_version=version, opset_imports=[onnx.helper.make_opsetid("", 13)]
        ).SerializeToString()
        try:
            onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        except Exception:  # one class per status code, with no common base of their own
            continue
        return version
    raise AssertionError("no version loads")


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
