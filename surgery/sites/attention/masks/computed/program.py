"""A cone as a small model in ONNX Runtime, which is fed what an exporter's graph would have there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import onnx_ir as ir

from onnxfix.nouns.errors import one_line
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.onnx_runtime import runtime
from onnxfix.surgery.sites.constants import Array, constant_tensor

from ..mask import NotComputedError, RefusedError
from . import in_fp32
from .cone import Cone

_QUIET = 4


class Program:
    """A cone in ONNX Runtime. `types` of what it is fed; `narrow`: its values in bfloat16. Raises NotComputedError
    where the runtime does not load it, or does not take what it is fed."""

    def __init__(
        self, model: Model, cone: Cone, types: Mapping[ir.Value, ir.DataType], narrow: Set[ir.Value] = frozenset()
    ) -> None:
        self._node = cone.target.producer()
        self._passed = cone.target in (*cone.leaves, *cone.sources)
        given = [*cone.sources, *cone.leaves]
        self._session = None if self._passed else self._opened(_proto(model, cone, given, types, narrow))
        self._names = {value: str(value.name) for value in (*given, *(n.outputs[0] for n in cone.sized))}
        self._target = cone.target

    def _opened(self, content: bytes) -> Any:
        onnxruntime = runtime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # masks of thousands of keys are large, and few are wanted at once
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own types
            raise NotComputedError(self._node, f"cannot be computed alone: {one_line(error)}") from error

    def run(self, feed: Mapping[ir.Value, Array]) -> Array:
        """The value of the target. Raises NotComputedError."""
        if self._session is None:
            return feed[self._target]
        quiet = runtime().RunOptions()
        quiet.log_severity_level = _QUIET
        try:
            made: Array = self._session.run(None, {self._names[v]: array for v, array in feed.items()}, quiet)[0]
        except Exception as error:
            raise NotComputedError(self._node, f"cannot be computed alone: {one_line(error)}") from error
        return made


def _proto(
    model: Model, cone: Cone, given: Sequence[ir.Value], types: Mapping[ir.Value, ir.DataType], narrow: Set[ir.Value]
) -> bytes:
    import onnx

    helper = onnx.helper
    names = [v.name for n in cone.nodes for v in n.outputs if v.name]
    if len(set(names)) != len(names):
        raise RefusedError(cone.target.producer(), "is computed in bodies that use one name twice")
    inputs = [helper.make_tensor_value_info(v.name, int(types[v]), None) for v in given]
    inputs += [helper.make_tensor_value_info(n.outputs[0].name, onnx.TensorProto.INT64, None) for n in cone.sized]
    weights = []
    for value in cone.constants:
        tensor = constant_tensor(value)
        assert tensor is not None
        proto = ir.to_proto(ir.tensor(tensor.numpy(), tensor.dtype))
        proto.name = value.name
        weights.append(proto)
    outputs = [helper.make_value_info(cone.target.name, onnx.TypeProto())]
    graph = helper.make_graph([ir.to_proto(node) for node in cone.nodes], "mask", inputs, outputs, weights)
    for node in graph.node:
        node.name = ""
    in_fp32.widen(graph, {str(value.name) for value in narrow})
    imports = [helper.make_opsetid(domain, version) for domain, version in model.ir.opset_imports.items()]
    functions = [ir.to_proto(function) for function in model.ir.functions.values()]
    made = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=model.ir.ir_version or 8)
    content: bytes = made.SerializeToString()
    return content
