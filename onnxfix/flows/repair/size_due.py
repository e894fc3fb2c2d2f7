"""How large a result should be: what its source takes, each weight once and in the type that was asked for."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer
from onnxfix.surgery.int8.quantizer import Selection
from onnxfix.surgery.recipes import BLOCK_SIZES, Wish
from onnxfix.surgery.sites import equal_weights
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.linear import embeddings, linears, shared_weights, table_blocks

# What a graph's own nodes and names may add before it is worth a word: 10 %, and 4 kB of a small one.
SHARE, LEAST = 1.1, 4096
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def due(model: Model, wish: Wish) -> int | None:
    """Bytes of the file, external data included, if everything that could be converted is. None where the model
    itself does not tell: what functions do is seen once they are inlined only."""
    if wish.int8 and model.ir.functions:
        return None
    twins = {twin.again: twin.first for twin in equal_weights.find(model)}
    saved = {value: tensor.nbytes for value, tensor in _weights(model) if value in twins}
    quantized = _quantized(model, wish) if wish.int8 else {}
    for value, taken in quantized.items():
        tensor, one = constant_tensor(value), twins.get(value, value)
        if tensor is not None and tensor.dtype in FLOATS:
            saved[one] = max(0, tensor.nbytes - round(taken))
    for value, tensor in _weights(model) if wish.precision in ("fp16", "bf16") else ():
        if value not in saved and tensor.dtype == ir.DataType.FLOAT and tensor.size > 1:
            saved[value] = tensor.nbytes // 2
    return model.file_bytes - sum(saved.values())


def said(due_bytes: int | None, source_bytes: int, result_bytes: int, wish: Wish) -> tuple[str, ...]:
    """A note on a result that is larger than it should be, and why that can be."""
    if wish.precision == "fp32" and not wish.int8:
        return ()
    over = due_bytes is not None and result_bytes > SHARE * due_bytes + LEAST
    if result_bytes >= source_bytes and (due_bytes is None or SHARE * due_bytes < source_bytes):
        return (
            "the result is no smaller than its source: what stays in float, and the nodes around the rest, take it",
        )
    return (f"larger than the {due_bytes:,} bytes due: what is kept in float takes the rest",) if over else ()


def _weights(model: Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    for graph in model.graphs():
        made = [v for node in graph if node.op_type == "Constant" for v in node.outputs]
        for value in (*graph.initializers.values(), *made):
            tensor = constant_tensor(value)
            if tensor is not None:
                yield value, tensor


def _quantized(model: Model, wish: Wish) -> dict[ir.Value, float]:
    """Weights that a quantization takes, with the bytes that each takes then, its scales included."""
    products = Selection(heads=wish.heads).of(linears.find(model), model)
    largest = wish.block_size or BLOCK_SIZES[wish.bits]
    scale = 2 if wish.precision == "fp16" else 4
    found: dict[ir.Value, float] = {}
    for linear in products:
        rows, columns = _shape(linear)
        if wish.int8 != "weight-only":
            found[linear.weight.source] = rows * columns + columns * (scale + 1)  # and a zero point
        else:
            blocks = -(-rows // largest) * columns
            found[linear.weight.source] = linear.elements * wish.bits / 8 + blocks * scale
    for table in embeddings.find(model) if wish.int8 == "weight-only" else ():
        block = None if table.quantized else table_blocks.fitting(embeddings.width(table), largest)
        if block is not None:
            found[table.weight.source] = table.elements + table.elements // block * (scale + 1)
        else:
            found.pop(table.weight.source, None)
    return found


def _shape(linear: linears.Linear) -> tuple[int, int]:
    """[K, N] of a linear's weight, its last two axes."""
    tensor = constant_tensor(linear.weight.source)
    assert tensor is not None
    columns = int(tensor.shape.numpy()[-1])
    shape = tensor.size // columns, columns
    turned = bool(shared_weights.turns(linear.weight)) != bool(integer(linear.node, "transB", 0))
    return shape[::-1] if turned else shape
