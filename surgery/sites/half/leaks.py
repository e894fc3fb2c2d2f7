"""fp32 that grew out of a rotary island: products and Softmax that compute in fp32 because angles reached them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.surgery.sites.attention import rotary
from onnxfix.surgery.sites.attention.attention_scores import SOFTMAX
from onnxfix.surgery.sites.linear.linears import FLOAT_PRODUCTS

FLOAT = "tensor(float)"
HALVES = ("tensor(float16)", "tensor(bfloat16)")


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
    reached: dict[ir.Node, ir.Node] = {}
    inside: set[ir.Node] = set()
    for site in rotary.find(model, types):
        inside.update(site.nodes)
        for value in site.outputs:
            for node in _fp32_readers(value, types):
                reached.setdefault(node, site.trig[0])
    heavy = SOFTMAX | FLOAT_PRODUCTS | {"Einsum"}
    return [Leak(n, reached[n]) for n in model.nodes() if n in reached and n not in inside and n.op_type in heavy]


def _fp32_readers(value: ir.Value, types: ElementTypes) -> set[ir.Node]:
    """All nodes that compute in fp32 from a value, directly or through others that do."""
    found: set[ir.Node] = set()
    pending = list(value.consumers())
    while pending:
        node = pending.pop()
        if node in found or not any(types.get(v) == FLOAT for v in node.outputs):
            continue
        found.add(node)
        pending.extend(reader for v in node.outputs for reader in v.consumers())
    return found
