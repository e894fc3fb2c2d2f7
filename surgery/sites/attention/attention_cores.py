"""Attention written out: softmax(query · keyᵀ · scale + mask) · value, with the heads on an axis of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.constants import constant_tensor, integers

from .head_layout import SWAP, dimension, last_axes_swapped, last_dimension, perm, producer, scalar, swapped

# [batch, sequence, heads, size] to the right operand of the first product, in one step
BOTH = [0, 2, 3, 1]


@dataclass(frozen=True)
class AttentionCore:
    """`query`, `key` and `value` are [batch, sequence, heads, size], before their Transpose; `output` is the Transpose
    that gives the result in that layout. `mask` is added to the scores, None without one. Where a row is NaN, because
    it has no key to see, zeros may be taken instead: only in self-attention, where such a row is padding."""

    output: ir.Node
    query: ir.Value
    key: ir.Value
    value: ir.Value
    mask: ir.Value | None
    scale: float
    heads: int


def find(model: Model) -> Iterator[AttentionCore]:
    """All of the main graph, in its order, where the number of heads can be told."""
    for node in model.graph:
        if node.op_type == "Softmax" and is_standard(node):
            core = _core(node)
            if core is not None:
                yield core


def _core(softmax: ir.Node) -> AttentionCore | None:
    if integer(softmax, "axis", -1) not in (-1, 3):
        return None
    scores, mask = _masked(softmax.inputs[0])
    weights, guarded = _unguarded(softmax.outputs[0])
    product = _only_reader(weights, "MatMul")
    scaled = _scaled(scores)
    if scaled is None or product is None or product.inputs[0] is not weights:
        return None
    query, key, scale = scaled
    output = _output(product, query)
    inputs = [given for given in (swapped(query), key, swapped(product.inputs[1])) if given is not None]
    if output is None or len(inputs) != 3:
        return None
    if (guarded and sources(inputs[0]) != sources(inputs[1])) or not _same_batch(inputs):
        return None
    heads = _heads(inputs, output)
    return AttentionCore(output, inputs[0], inputs[1], inputs[2], mask, scale, heads) if heads else None


def sources(value: ir.Value) -> set[ir.Value]:
    """What a value is computed from: the activations that the linears behind it read, and inputs of the model."""
    found, seen, pending = set[ir.Value](), set[ir.Value](), [value]
    while pending:
        value = pending.pop()
        if value in seen or constant_tensor(value) is not None:
            continue
        seen.add(value)
        node = value.producer()
        if node is None:
            found.add(value)
        elif node.op_type in ("MatMul", "Gemm") and constant_tensor(node.inputs[1]) is not None:
            found.update(v for v in node.inputs[:1] if v is not None)
        else:
            pending.extend(v for v in node.inputs if v is not None)
    return found


def _same_batch(values: list[ir.Value]) -> bool:
    """Whether none may be repeated over the rows of another, which the kernels do not do: where one has a number of
    rows, all have the same."""
    rows = [v.shape[0] if v.shape is not None and len(v.shape) == 4 else None for v in values]
    return not any(isinstance(size, int) for size in rows) or len(set(rows)) == 1


def _masked(value: ir.Value | None) -> tuple[ir.Value | None, ir.Value | None]:
    """Scores and mask; scores are what a MatMul made, scaled or not."""
    added = producer(value, "Add")
    if added is None:
        return value, None
    for scores, mask in (added.inputs, tuple(reversed(added.inputs))):
        if _scaled(scores) is not None:
            return scores, mask
    return None, None


def _unguarded(value: ir.Value) -> tuple[ir.Value, bool]:
    """The value behind Where(IsNaN(value), 0, value), and whether there is one."""
    readers = value.consumers()
    test = next((n for n in readers if n.op_type == "IsNaN"), None)
    choice = _only_reader(test.outputs[0], "Where") if test is not None else None
    if choice is None or choice.inputs[2] is not value or scalar(choice.inputs[1]) != 0 or len(readers) != 2:
        return value, False
    return choice.outputs[0], True


def _only_reader(value: ir.Value, op_type: str) -> ir.Node | None:
    """The node that reads a value, where nothing but shape arithmetic reads it as well."""
    readers = [node for node in value.consumers() if node.op_type != "Shape"]
    single = len(readers) == 1 and not value.is_graph_output() and readers[0].op_type == op_type
    return readers[0] if single else None


def _output(product: ir.Node, query: ir.Value) -> ir.Node | None:
    """The Transpose behind the second product, or behind a Reshape to the shape that the product has already."""
    result = product.outputs[0]
    shaped = _only_reader(result, "Reshape")
    if shaped is not None and _same_shape(shaped.inputs[1], result, query, product.inputs[1]):
        result = shaped.outputs[0]
    output = _only_reader(result, "Transpose")
    return output if output is not None and perm(output) == SWAP else None


def _same_shape(shape: ir.Value | None, result: ir.Value, query: ir.Value, value: ir.Value | None) -> bool:
    """[batch, -1, rows of the query, size of the value], as torch's TorchScript exporter writes behind attention."""
    joined = producer(shape, "Concat")
    if joined is None or len(joined.inputs) != 4 or integers(joined.inputs[1]) != (-1,):
        return False
    owners = {0: (result, query, value), 2: (result, query), 3: (result, value)}
    for axis, allowed in owners.items():
        told = dimension(joined.inputs[axis])
        if told is None or told[1] not in (axis, axis - 4) or told[0] not in allowed:
            return False
    return True


def _scaled(scores: ir.Value | None) -> tuple[ir.Value, ir.Value, float] | None:
    """Query [batch, heads, sequence, size] and key [batch, sequence, heads, size] of a product of them, and what it is
    multiplied with in all."""
    scores, scale = _factor(scores)
    product = producer(scores, "MatMul")
    if product is None:
        return None
    query, of_query = _factor(product.inputs[0])
    turned, of_turned = _factor(product.inputs[1])
    at_once = producer(turned, "Transpose")
    if at_once is not None and perm(at_once) == BOTH:
        key, of_key = at_once.inputs[0], 1.0
    else:
        upright, of_key = _factor(last_axes_swapped(turned))
        key = swapped(upright)
    return None if query is None or key is None else (query, key, scale * of_query * of_turned * of_key)


def _factor(value: ir.Value | None) -> tuple[ir.Value | None, float]:
    """A value without the multiplications by a number in front of it, and their product."""
    factor = 1.0
    while (node := producer(value, "Mul", "Div")) is not None:
        number = scalar(node.inputs[1])
        if not number:
            break
        factor = factor * number if node.op_type == "Mul" else factor / number
        value = node.inputs[0]
    return value, factor


def _heads(inputs: list[ir.Value], output: ir.Node) -> int | None:
    """The number of heads: recorded, or the width of the linear layer behind the attention by the size of a head.

    None also where keys have another number than queries, which the first product repeats.
    """
    recorded = {heads for value in (*inputs, output.outputs[0]) if (heads := _recorded(value)) is not None}
    if recorded:
        return recorded.pop() if len(recorded) == 1 else None
    size = last_dimension(inputs[2])
    joined = _only_reader(output.outputs[0], "Reshape")
    linear = _only_reader(joined.outputs[0], "MatMul") if joined is not None else None
    weight = constant_tensor(linear.inputs[1]) if linear is not None else None
    if size is None or weight is None:
        return None
    width = int(weight.shape.numpy()[0])
    return width // size if width % size == 0 else None


def _recorded(value: ir.Value) -> int | None:
    """The number of heads that is declared, or that a Reshape makes."""
    heads: object = value.shape[2] if value.shape is not None and len(value.shape) == 4 else None
    shaped = producer(value, "Reshape")
    shape = integers(shaped.inputs[1]) if shaped is not None else None
    if not isinstance(heads, int) and shape is not None and len(shape) == 4:
        heads = shape[2]
    return heads if isinstance(heads, int) and heads > 0 else None
