"""What a value is computed from, as a small model: cut where a shape of an activation, or a score, comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxfix.nouns.errors import one_line
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.onnx_runtime import runtime
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import Array, constant_tensor

from .dependence import SIZES, Dependence, reads
from .mask import NotComputedError, RefusedError

_QUIET = 4


@dataclass(frozen=True)
class Cone:
    """`nodes` in an order to run in; `sources`: inputs of the graph that they read; `leaves`: values that are given
    instead of computed; `sized`: nodes that read the shape of an activation, whose results are given, too;
    `constants`: what else they read."""

    target: ir.Value
    nodes: tuple[ir.Node, ...]
    sources: tuple[ir.Value, ...]
    leaves: tuple[ir.Value, ...]
    sized: tuple[ir.Node, ...]
    constants: tuple[ir.Value, ...]


def of(target: ir.Value, leaves: Sequence[ir.Value], dependence: Dependence) -> Cone:
    """The cone of a value that, but for the leaves, depends on no activation."""
    nodes: dict[ir.Node, None] = {}
    found: dict[ir.Value, None] = {}
    constants: dict[ir.Value, None] = {}
    sized: dict[ir.Node, None] = {}
    pending = [(target, False)]
    while pending:
        value, done = pending.pop()
        node = value.producer()
        if value in leaves or (node is not None and node in nodes):
            continue
        if constant_tensor(value) is not None:
            constants[value] = None
        elif node is None:
            found[value] = None
        elif done:
            nodes[node] = None
        elif _is_sized(node, leaves, dependence):
            sized[node] = None
        else:
            pending.append((value, True))
            pending.extend((v, False) for v in reads(node))
    return Cone(target, tuple(nodes), tuple(found), tuple(leaves), tuple(sized), tuple(constants))


def _is_sized(node: ir.Node, leaves: Sequence[ir.Value], dependence: Dependence) -> bool:
    if node.op_type not in SIZES or not is_standard(node) or node.inputs[0] is None:
        return False
    return node.inputs[0] in leaves or dependence.is_activation(node.inputs[0])


class Program:
    """A cone in ONNX Runtime. Raises NotComputedError where it does not load it, or does not take what it is fed."""

    def __init__(self, model: Model, cone: Cone, types: Mapping[ir.Value, ir.DataType]) -> None:
        self._node = cone.target.producer()
        self._passed = cone.target in (*cone.leaves, *cone.sources)
        given = [*cone.sources, *cone.leaves]
        self._session = None if self._passed else self._opened(_proto(model, cone, given, types))
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


def _proto(model: Model, cone: Cone, given: Sequence[ir.Value], types: Mapping[ir.Value, ir.DataType]) -> bytes:
    import onnx

    helper = onnx.helper
    names = [v.name for n in cone.nodes for v in n.outputs if v.name]
    if len(set(names)) != len(names):
        raise RefusedError(cone.target.producer(), "is computed in bodies that use one name twice")
    nodes = [ir.to_proto(node) for node in cone.nodes]
    for node in nodes:
        node.name = ""
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
    graph = helper.make_graph(nodes, "mask", inputs, outputs, weights)
    imports = [helper.make_opsetid(domain, version) for domain, version in model.ir.opset_imports.items()]
    functions = [ir.to_proto(function) for function in model.ir.functions.values()]
    made = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=model.ir.ir_version or 8)
    content: bytes = made.SerializeToString()
    return content
