"""What TensorRT would take of a graph, forecast from the operators and types that its ONNX parser lists.

TensorRT itself decides when it builds an engine, on the GPU at hand. ONNX Runtime hands it every node that the parser
takes, bodies of control flow first: an If, Loop or Scan goes to TensorRT only with all nodes of its bodies. Operators
whose result size depends on data (NonZero, NonMaxSuppression, RoiAlign) are handed over too: ONNX Runtime 1.31.1 leaves
none out unless `trt_op_types_to_exclude` names it (read from the wheel's provider library, which names no operator).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import onnx_ir as ir

from onnxfix.diagnose.placement.lookup import Lookup
from onnxfix.diagnose.placement.region import PlannedNode, Region

from .forecaster import Forecaster

# Nodes of TensorRT's own plugins; ONNX Runtime registers this domain for them.
PLUGINS = "trt.plugins"

# The parser narrows float64 to float32.
_STAND_IN = {"double": "float"}


@dataclass(frozen=True)
class Listed:
    """One operator of the list. `typed`: the arguments that `types` are of; the rest are conditions on the graph."""

    types: frozenset[str]
    typed: tuple[tuple[str, int], ...] = (("input", 0),)
    constant_inputs: tuple[int, ...] = ()
    inputs: int | None = None
    outputs: int | None = None
    rank: int | None = None


@dataclass(frozen=True)
class OperatorList:
    """The list of one TensorRT release; opsets outside its range are not promised to work."""

    tensorrt: str
    oldest_opset: int
    newest_opset: int
    operators: Mapping[str, Listed]

    @staticmethod
    @functools.cache
    def load() -> OperatorList:
        text = resources.files(__package__).joinpath("tensorrt_operators.json").read_text(encoding="utf-8")
        raw = json.loads(text)
        operators = {name: _listed(row) for name, row in raw["operators"].items()}
        return OperatorList(raw["tensorrt"], raw["oldest_opset"], raw["newest_opset"], operators)

    def note(self, opset: int) -> str:
        """What a reader of the plan must know about the share it gives to TensorRT."""
        text = f"TensorRT's share is a forecast from the operator list of TensorRT {self.tensorrt}: it decides itself "
        text += "when it builds"
        if not self.oldest_opset <= opset <= self.newest_opset:
            text += f", and the list is for opsets {self.oldest_opset} to {self.newest_opset}, not {opset}"
        return text


class TensorrtForecaster(Forecaster):
    """What the parser's list has, bodies before the nodes around them."""

    def claim(self, region: Region, lookup: Lookup) -> None:
        for node in region.nodes:
            for inner in node.regions:
                self.claim(inner, lookup)
            if not node.provider and not self.refusal(node, lookup):
                node.provider = self.provider.runtime_name

    def refusal(self, node: PlannedNode, lookup: Lookup) -> str:
        if node.domain == PLUGINS:
            return ""
        listed = OperatorList.load().operators.get(node.op_type) if node.domain == "" else None
        if listed is None:
            return f"TensorRT's parser does not support {node.domain + '.' if node.domain else ''}{node.op_type}"
        inside = (n for body in node.regions for n in body.nodes)
        left = next((n for n in inside if n.provider != self.provider.runtime_name), None)
        if left is not None:
            return f"TensorRT takes {node.op_type} only with all of its body, and {left} is not for it"
        return next(_refusals(node, listed, lookup), "")

    def note(self, lookup: Lookup) -> str:
        return OperatorList.load().note(lookup.opset(""))


def _refusals(node: PlannedNode, listed: Listed, lookup: Lookup) -> Iterator[str]:
    for side, index in listed.typed:
        given = _type(node, side, index, lookup)
        if given and _STAND_IN.get(given, given) not in listed.types:
            yield f"TensorRT's parser does not support {node.op_type} for type {given}"
    for index in listed.constant_inputs:
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is not None and value.name and not value.is_initializer():
            yield f"TensorRT's parser wants input {index} of {node.op_type} to be constant"
    if listed.outputs is not None and _used(node.outputs) > listed.outputs:
        yield f"TensorRT's parser supports only {listed.outputs} output of {node.op_type}"
    if listed.inputs is not None and _used(node.inputs) > listed.inputs:
        yield f"TensorRT's parser supports only {listed.inputs} inputs of {node.op_type}"
    shape = node.inputs[0].shape if listed.rank is not None and node.inputs and node.inputs[0] is not None else None
    if shape is not None and len(shape) != listed.rank:
        yield f"TensorRT's parser wants {listed.rank} dimensions for {node.op_type}, not {len(shape)}"


def _type(node: PlannedNode, side: str, index: int, lookup: Lookup) -> str:
    """Bare element type of an argument (`float`), the whole type string of what is no tensor, empty if unknown."""
    values: tuple[ir.Value | None, ...] = node.inputs if side == "input" else node.outputs
    text = lookup.type_of(values[index]) if index < len(values) else ""
    return text[len("tensor(") : -1] if text.startswith("tensor(") else text


def _used(values: tuple[ir.Value | None, ...]) -> int:
    """One past the last argument that is not omitted."""
    return max((i + 1 for i, v in enumerate(values) if v is not None and v.name), default=0)


def _listed(row: Mapping[str, Any]) -> Listed:
    fields = dict(row) | {"types": frozenset(row["types"])}
    if "constant_inputs" in row:
        fields["constant_inputs"] = tuple(row["constant_inputs"])
    if "typed" in row:
        sides = (text.split() for text in row["typed"])
        fields["typed"] = tuple((side, int(index)) for side, index in sides)
    return Listed(**fields)
