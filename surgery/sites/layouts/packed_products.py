"""A product with weights whose result is cut into parts: queries, keys and values, or a gate and what it gates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import attribute, integer, is_standard
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.shapes.dimensions import Dimensions

Columns = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Whole:
    """A value that holds all `columns` of a product, in the shape of its features, behind `lead` axes that are none.
    `reshape` and `transpose`: the nodes that gave it this shape and order, if any."""

    value: ir.Value
    columns: Columns
    lead: int
    reshape: ir.Node | None = None
    transpose: ir.Node | None = None

    @property
    def order(self) -> list[int]:
        """For each axis of the value, which it was before it was transposed."""
        every = range(self.lead + self.columns.ndim)
        return list(every if self.transpose is None else attribute(self.transpose, "perm", every[::-1]))


@dataclass(frozen=True)
class Part:
    """`columns` of the product in `value`, in the shape of the features; `squeezed`: the axis of length 1 that the
    value does not have, None where it has all."""

    value: ir.Value
    columns: Columns
    squeezed: int | None = None


@dataclass(frozen=True)
class PackedProduct:
    """`product` is the MatMul, `bias` what is added to a row of its result, `parts` all that anything reads of it."""

    product: ir.Node
    bias: ir.Node | None
    whole: Whole
    parts: tuple[Part, ...]


def sites(model: Model) -> Iterator[PackedProduct]:
    """In graph order; products of which anything reads the whole, or reads in another way, are none."""
    dimensions = Dimensions(model)
    for node in model.nodes():
        if _is(node, "MatMul") and (found := _site(node, dimensions)) is not None:
            yield found


def _site(node: ir.Node, dimensions: Dimensions) -> PackedProduct | None:
    weight, held = constant_tensor(node.inputs[1]), node.inputs[1]
    if weight is None or len(weight.shape) != 2 or held is None or len(held.uses()) > 1:
        return None
    shape = dimensions.of(node.outputs[0])
    if shape is None or len(shape) < 2:
        return None
    whole = Whole(node.outputs[0], np.arange(weight.shape.numpy()[1]), len(shape) - 1)
    if (bias := _bias(whole)) is not None:
        whole = replace(whole, value=bias.outputs[0])
    if (reshape := _only(whole.value, "Reshape")) is not None:
        if (shaped := _shaped(reshape, whole, dimensions)) is None:
            return None
        whole = shaped
    if (transpose := _only(whole.value, "Transpose")) is not None:
        whole = replace(whole, value=transpose.outputs[0], transpose=transpose)
    every = list(_parts(whole))
    parts = tuple(part for part in every if part is not None)
    return PackedProduct(node, bias, whole, parts) if len(every) > 1 and len(parts) == len(every) else None


def _is(node: ir.Node, op_type: str) -> bool:
    return node.op_type == op_type and is_standard(node)


def _only(value: ir.Value, op_type: str) -> ir.Node | None:
    """The one node that reads a value, where it is of this type and reads it first."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node, index = uses[0]
    return node if index == 0 and _is(node, op_type) else None


def _bias(whole: Whole) -> ir.Node | None:
    uses = list(whole.value.uses())
    if len(uses) != 1 or whole.value.is_graph_output() or not _is(uses[0][0], "Add"):
        return None
    node, index = uses[0]
    tensor = constant_tensor(node.inputs[1 - index])
    return node if tensor is not None and tuple(tensor.shape.numpy()) == whole.columns.shape else None


def _shaped(reshape: ir.Node, whole: Whole, dimensions: Dimensions) -> Whole | None:
    """Behind a Reshape, cut where the features begin: its last axes hold nothing but them."""
    shape = dimensions.of(reshape.outputs[0]) or ()
    for lead in range(len(shape) - 1, 0, -1):
        features = [size or 0 for size in shape[lead:]]
        if math.prod(features) == whole.columns.size:
            return Whole(reshape.outputs[0], whole.columns.reshape(features), lead, reshape)
    return None


def _parts(whole: Whole) -> Iterator[Part | None]:
    """A part for each value that holds some of the columns; None for what reads them in another way."""
    if whole.value.is_graph_output():
        yield None
    for node, index in whole.value.uses():
        if index or not is_standard(node):
            yield None
        elif node.op_type == "Split":
            yield from _split(node, whole)
        elif node.op_type == "Gather":
            yield _gathered(node, whole)
        else:
            yield _sliced(node, whole) if node.op_type == "Slice" else None


def _split(node: ir.Node, whole: Whole) -> Iterator[Part | None]:
    axis, given = _axis(integer(node, "axis", 0), whole), list(attribute(node, "split", ()))
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        sizes = constant_tensor(node.inputs[1])
        given = [] if sizes is None else sizes.numpy().tolist()
        axis = None if sizes is None else axis
    if axis is None:
        yield None
        return
    count, outputs = whole.columns.shape[axis], len(node.outputs)
    given = given or [-(-count // outputs)] * (outputs - 1) + [count - -(-count // outputs) * (outputs - 1)]
    if sum(given) != count or min(given) < 1 or len(given) != outputs:
        yield None
        return
    for output, part in zip(node.outputs, np.split(whole.columns, np.cumsum(given)[:-1], axis=axis), strict=True):
        if output.uses() or output.is_graph_output():
            yield Part(output, part)


def _gathered(node: ir.Node, whole: Whole) -> Part | None:
    """One index along an axis of the features, which the result then has not."""
    at, axis = constant_tensor(node.inputs[1]), _axis(integer(node, "axis", 0), whole)
    if at is None or axis is None or at.size != 1 or len(at.shape) > 1:
        return None
    taken = np.take(whole.columns, at.numpy().reshape(1), axis=axis)
    return Part(node.outputs[0], taken, None if len(at.shape) else whole.order.index(whole.lead + axis))


def _sliced(node: ir.Node, whole: Whole) -> Part | None:
    numbers = [constant_tensor(value) for value in node.inputs[1:]]
    given = [number.numpy().reshape(-1) for number in numbers if number is not None and number.size == 1]
    if len(given) != len(numbers) or len(given) < 3 or (len(given) > 3 and given[3][0] != 1):
        return None
    axis = _axis(int(given[2][0]), whole)
    if axis is None:
        return None
    within = slice(int(given[0][0]), int(given[1][0]))
    found: Columns = whole.columns[(slice(None),) * axis + (within,)]
    return Part(node.outputs[0], found) if found.size else None


def _axis(axis: int, whole: Whole) -> int | None:
    """Which axis of the features an axis of the value is; None for one in front of them."""
    found = whole.order[axis] - whole.lead
    return found if found >= 0 else None
