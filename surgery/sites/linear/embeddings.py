"""Embedding tables: Gather of rows of a constant matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.constants import Trace, constant_tensor, trace

from . import shared_weights

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
# Of a table whose rows are multiplied by their scales behind the lookup.
INTEGERS = (ir.DataType.INT8, ir.DataType.UINT8)
# Elements from which on a table is worth the operator: 256 KB of fp32, a vocabulary and not a table of token types.
LARGE = 1 << 16


@dataclass(frozen=True)
class Embedding:
    """One lookup: its node, the table traced to its constant, and whether that is quantized."""

    node: ir.Node
    weight: Trace
    quantized: bool = False

    @property
    def elements(self) -> int:
        """Numbers in the table, also where a byte holds two of them."""
        packed = self.quantized and integer(self.node, "bits", 4) == 4
        tensor = constant_tensor(self.weight.source)
        return self.weight.elements * (2 if packed and tensor is not None and tensor.dtype == ir.DataType.UINT8 else 1)


def width(embedding: Embedding) -> int:
    """Elements of a row of a float table."""
    tensor = constant_tensor(embedding.weight.source)
    assert tensor is not None
    return int(tensor.shape.numpy()[0 if shared_weights.turns(embedding.weight) else -1])


def looks_up(node: ir.Node, table: ir.Value) -> bool:
    """Whether a node gathers rows of a constant matrix, as it is stored or behind data movement."""
    if node.op_type != "Gather" or not is_standard(node) or integer(node, "axis", 0) != 0:
        return False
    weight = trace(node.inputs[0])
    tensor = constant_tensor(table)
    return weight is not None and weight.source is table and tensor is not None and len(tensor.shape) == 2


def find(model: Model, at_least: int = LARGE) -> Iterator[Embedding]:
    """All lookups in large tables of floats, and in quantized ones, in graph order. Rotary tables, gathered by
    position, are small. `at_least`: elements of a table that counts."""
    for node in model.nodes():
        quantized = node.op_type == "GatherBlockQuantized" and node.domain == "com.microsoft"
        if not quantized and (node.op_type != "Gather" or not is_standard(node)):
            continue
        axis = integer(node, "axis", 0)
        weight = trace(node.inputs[0])
        tensor = constant_tensor(weight.source) if weight is not None else None
        if weight is None or tensor is None or axis != 0:
            continue
        stored = tensor.dtype in INTEGERS
        if quantized or (len(tensor.shape) == 2 and (stored or tensor.dtype in FLOATS) and tensor.size >= at_least):
            yield Embedding(node, weight, quantized or stored)
