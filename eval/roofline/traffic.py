"""What a run must compute and move at least, node by node of a graph as its file stands.

* A matrix product reads its weight and inputs and writes its result. What follows it is not fused to it, and scores of
  attention are written and read unless one operator makes all of attention.
* A lookup (Gather and its kin) reads the rows that it returns, and indices.
* All else between two products is one fused kernel: what enters it is read once, what leaves it is written once, what
  is in between costs nothing. Of a value that is only sliced the slices are read.
* Views (Reshape and its kin) and what is computed from constants cost nothing, and who reads quantized numbers
  dequantizes them. A weight counts with the bytes that are stored of it.

Bodies count as often as they ran.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.eval.profile.tensor_sizes import Sized
from onnxfix.nouns.types.operators import bodies, graphs, integer
from onnxfix.surgery.sites.shapes.product_operations import (  # fmt: skip
    INTEGERS,
    PACKED,
    dequantizer,
    is_product,
    operations,
)

from .fused_regions import Flow, moved

# Which inputs of a lookup are tables, the values first: only the rows looked up are read, not the whole table.
TABLES = {"Gather": (0,), "GatherElements": (0,), "GatherND": (0,), "GatherBlockQuantized": (0, 2, 3),
          "EmbedLayerNormalization": (2, 3, 4)}  # fmt: skip
HALVES = {ir.DataType.FLOAT16: "fp16", ir.DataType.BFLOAT16: "bf16"}


@dataclass(frozen=True)
class Work:
    """One product or lookup, or one node's part of a fused kernel, over a whole run.

    `float_flops` are operations in `float_type` (fp32, fp16 or bf16), `integer_flops` in integers; `nbytes` are read
    and written. `counted` is False for a product whose operations are not known.
    """

    node: ir.Node
    nbytes: float
    float_flops: int = 0
    integer_flops: int = 0
    float_type: str = "fp32"
    counted: bool = True


def traffic(model: ir.Model, sizes: Sized) -> Iterator[Work]:
    """The work of one run on one feed."""
    for graph in graphs(model.graph):
        flow = Flow(graph, sizes, lambda node: is_product(node) or node.op_type in TABLES)
        for node in flow.breakers:
            times = sizes.times.get(node, 0)
            if times and not bodies(node):
                yield _product(node, flow, times) if is_product(node) else _lookup(node, flow, times)
        parts: dict[ir.Node, float] = defaultdict(float)
        for node, nbytes in moved(flow):
            parts[node] += nbytes * sizes.times.get(node, 0)
        yield from (Work(node, nbytes) for node, nbytes in parts.items() if nbytes)


def _product(node: ir.Node, flow: Flow, times: int) -> Work:
    counted = operations(node, flow.sizes.shapes)
    in_float, quantized = counted or (0, 0)
    if not _in_integers(node):
        in_float, quantized = in_float + quantized, 0
    nbytes = _bytes(flow, flow.reads(node)) + _bytes(flow, node.outputs)
    return Work(
        node, nbytes * times, in_float * times, quantized * times, _float_type(node, flow.sizes), counted is not None
    )


def _in_integers(node: ir.Node) -> bool:
    """Of an integer operator, or of two operands that were dequantized."""
    if node.op_type in PACKED:
        return node.op_type == "MatMulNBits" and integer(node, "accuracy_level", 0) == 4
    if node.op_type in INTEGERS or node.op_type == "QAttention":
        return True
    return len(node.inputs) > 1 and all(dequantizer(value) is not None for value in node.inputs[:2])


def _float_type(node: ir.Node, sizes: Sized) -> str:
    known = (sizes.of.get(value) for value in (*node.inputs, *node.outputs) if value is not None)
    return next((HALVES[t.dtype] for t in known if t is not None and t.dtype in HALVES), "fp32")


def _lookup(node: ir.Node, flow: Flow, times: int) -> Work:
    """As many numbers as the result has, of each table, as they are stored there: scales too, and halves of bytes."""
    tables = [v for i in TABLES[node.op_type] if i < len(node.inputs) and (v := node.inputs[i]) is not None]
    made = flow.sizes.of.get(node.outputs[0])
    rows = sum(_rows(node, table, tables[0], flow, made.elements) for table in tables) if made is not None else 0.0
    rest = [value for value in node.inputs if value is not None and value not in tables]
    return Work(node, times * (rows + _bytes(flow, rest) + _bytes(flow, node.outputs)))


def _rows(node: ir.Node, table: ir.Value, first: ir.Value, flow: Flow, elements: int) -> float:
    numbers = table if node.op_type == "EmbedLayerNormalization" else first
    if node.op_type == "GatherBlockQuantized":
        held = 8 * flow.sizes.nbytes(numbers) // integer(node, "bits", 4)
    else:
        held = flow.sizes.of[numbers].elements if numbers in flow.sizes.of else 0
    stored = flow.nbytes(table)
    return min(float(stored), stored * elements / held) if held else 0.0


def _bytes(flow: Flow, values: Iterable[ir.Value]) -> float:
    return float(sum(flow.nbytes(value) for value in values))
