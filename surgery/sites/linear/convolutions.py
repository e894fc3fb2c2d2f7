"""Convolutions with a constant weight, and whether they compute in integers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import Trace, trace

# Operator → index of its weight.
WEIGHTS = {"Conv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3}


@dataclass(frozen=True)
class Convolution:
    """One convolution: its node, the weight traced to its constant, and whether that is quantized."""

    node: ir.Node
    weight: Trace
    quantized: bool


def find(model: Model) -> Iterator[Convolution]:
    """All convolutions whose weight is constant, behind a DequantizeLinear too, in graph order."""
    for node in model.nodes():
        index = WEIGHTS.get(node.op_type)
        if index is None or not is_standard(node) or index >= len(node.inputs):
            continue
        value = node.inputs[index]
        producer = value.producer() if value is not None else None
        dequantized = producer is not None and producer.op_type == "DequantizeLinear"
        weight = trace(producer.inputs[0] if dequantized and producer is not None else value)
        if weight is not None:
            yield Convolution(node, weight, dequantized or node.op_type in ("ConvInteger", "QLinearConv"))
