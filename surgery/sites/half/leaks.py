"""fp32 that grew out of a rotary island: products and Softmax that compute in fp32 because angles reached them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.type_strings import HALVES
from onnxfix.surgery.sites.attention import rotary
from onnxfix.surgery.sites.attention.attention_scores import SOFTMAX
from onnxfix.surgery.sites.linear.linears import FLOAT_PRODUCTS
from onnxfix.surgery.sites.reach import reached

FLOAT = "tensor(float)"


@dataclass(frozen=True)
class Leak:
    """A product or Softmax in fp32, and the Sin or Cos whose result reached it without being cast to half."""

    node: ir.Node
    source: ir.Node


def find(model: Model, types: ElementTypes) -> list[Leak]:
    """Leaks of a model that computes in half elsewhere, in graph order; none in a model that is fp32 throughout."""
    products = [n for n in model.nodes() if n.op_type in FLOAT_PRODUCTS | {"Einsum"}]
    if not any(types.get(n.outputs[0]) in HALVES for n in products):
        return []
    blamed: dict[ir.Node, ir.Node] = {}
    inside: set[ir.Node] = set()
    for site in rotary.find(model, types):
        inside.update(site.nodes)
        for value in site.outputs:
            for node in _fp32_readers(value, types):
                blamed.setdefault(node, site.trig[0])
    heavy = SOFTMAX | FLOAT_PRODUCTS | {"Einsum"}
    return [Leak(n, blamed[n]) for n in model.nodes() if n in blamed and n not in inside and n.op_type in heavy]


def _fp32_readers(value: ir.Value, types: ElementTypes) -> set[ir.Node]:
    """All nodes that compute in fp32 from a value, directly or through others that do."""

    def readers(values: Iterable[ir.Value]) -> Iterator[ir.Node]:
        nodes = (node for v in values for node in v.consumers())
        return (node for node in nodes if any(types.get(v) == FLOAT for v in node.outputs))

    return set(reached(readers([value]), lambda node: readers(node.outputs)))
