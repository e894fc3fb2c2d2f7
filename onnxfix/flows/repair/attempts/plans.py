"""The plan of the last attempt, kept for the next one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.operators import BODIES


@dataclass
class Plans:
    """The last plan, so that a graph that did not change is not planned again: each takes a second or more."""

    target: Target
    key: bytes = b""
    plan: Plan | None = None

    def of(self, model: Model) -> Plan:
        from onnxfix.diagnose.placement.forecast import forecast

        key = _structure(model)
        if self.plan is None or key != self.key:
            self.key, self.plan = key, forecast(model, self.target)
        return self.plan


def _structure(model: Model) -> bytes:
    """A digest of nodes, small constants and the types of large ones: what a plan depends on."""
    digest = hashlib.sha256()
    for text in _described(model):
        digest.update(text.encode())
    return digest.digest()


def _described(model: Model) -> Iterator[str]:
    for graph in model.graphs():
        for value in (*graph.inputs, *graph.initializers.values(), *graph.outputs):
            tensor = value.const_value
            kind = _content(tensor) if tensor is not None else f"{value.type} {value.shape}"
            yield f"{value.name} {kind}\n"
    for node in model.nodes():
        names = [v.name if v is not None else "" for v in (*node.inputs, *node.outputs)]
        attributes = [
            f"{a.name}={_content(a.value) if a.type == ir.AttributeType.TENSOR else a.value}"
            for a in node.attributes.values()
            if a.type not in BODIES
        ]
        yield f"{node.domain} {node.op_type} {len(node.inputs)} {names} {attributes}\n"


def _content(tensor: ir.TensorProtocol) -> str:
    small = tensor.nbytes <= 1024 and tensor.dtype != ir.DataType.STRING
    return f"{tensor.dtype} {tensor.shape} {tensor.tobytes().hex() if small else ''}"
