"""Numbers of pairs of tokens: scores that go into a Softmax which hides padding, and the weights that come out.

A column of padding is hidden in them. A row of it is padding's own, as long as nobody reads several rows at once: who
adds up what each token is attended by reads what stands at padding.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, is_standard

from . import zeros
from .axes import Layout
from .padding import Padding
from .per_token import ELEMENTWISE, REDUCTIONS, reduced_axes

SIZES = frozenset({"Shape", "Size"})
_MOVES = frozenset("Reshape Unsqueeze Squeeze Expand QuantizeLinear DequantizeLinear".split())
_CHOICES = frozenset({"Gather", "GatherElements", "GatherND"})
_HEADS = 1
"""Axis of heads in [batch, heads, queries, keys]: what is summed over it keeps its row and column."""


def is_of_pairs(node: ir.Node, layout: Layout) -> bool:
    return all(layout.is_of_pairs(value) for value in node.outputs if value.name)


def softmaxes(node: ir.Node, padding: Padding) -> set[ir.Node]:
    """Those that hide padding, where scores that a node makes of tokens go into such and nowhere else; else none.

    A number of each pair alone: what mixes those of several keys, as a convolution over scores does, brings what stands
    at padding to keys that are seen.
    """
    return _behind(node, padding) if _is_of_two_tokens(node, padding.layout) else set()


def _behind(node: ir.Node, padding: Padding) -> set[ir.Node]:
    found = set[ir.Node]()
    for value in node.outputs:
        for reader in value.consumers():
            if reader.op_type in SIZES:
                continue
            onwards = reader.op_type != "Softmax" and _keeps_pairs(reader, padding.layout)
            behind = {reader} if reader in padding.hidden else _behind(reader, padding) if onwards else set()
            if not behind:
                return set()
            found |= behind
    return found


def _is_of_two_tokens(node: ir.Node, layout: Layout) -> bool:
    """Whether each number is of a query and a key: a product of both, what is spread over the other, or chosen by how
    far apart they are."""
    if not is_standard(node) or not is_of_pairs(node, layout):
        return False
    of_pairs = [value for value in node.inputs if layout.is_of_pairs(value)]
    if node.op_type == "MatMul":
        return not of_pairs
    if node.op_type in _CHOICES:
        return node.inputs[0] not in of_pairs
    return _keeps_pairs(node, layout)


def _keeps_pairs(node: ir.Node, layout: Layout) -> bool:
    if not is_standard(node) or not is_of_pairs(node, layout):
        return False
    return node.op_type == "Transpose" or node.op_type in ELEMENTWISE | _MOVES


def are_weights(value: ir.Value | None, padding: Padding) -> bool:
    """Whether numbers of pairs are what such a Softmax made, row by row, and nothing else that tells of padding."""
    node = value.producer() if value is not None else None
    if node is None or node in padding.hidden:
        return node is not None
    if not _keeps_rows(node, padding.layout):
        return False
    read = zeros.told_by(node, [index for index, each in enumerate(node.inputs) if padding.layout.is_of_pairs(each)])
    return bool(read) and all(are_weights(node.inputs[index], padding) for index in read)


def rows(softmax: ir.Node, layout: Layout) -> tuple[list[ir.Value], ir.Node | None]:
    """What weights make of each row alone, by products with values; and who reads them otherwise, if anybody does."""
    made: list[ir.Value] = []
    seen, pending = {softmax}, [softmax]
    while pending:
        for value in pending.pop().outputs:
            for reader, index in value.uses():
                if reader.op_type in SIZES or reader in seen:
                    continue
                if reader.op_type == "MatMul" and index == 0 and not layout.is_of_pairs(reader.outputs[0]):
                    made += reader.outputs
                elif _keeps_rows(reader, layout):
                    seen.add(reader)
                    pending.append(reader)
                else:
                    return made, reader
    return made, None


def _keeps_rows(node: ir.Node, layout: Layout) -> bool:
    if not is_standard(node) or not is_of_pairs(node, layout):
        return False
    if node.op_type == "Transpose":
        turned = list(attribute(node, "perm", []))
        return turned[-2:] == [len(turned) - 2, len(turned) - 1]
    if node.op_type in REDUCTIONS:
        return reduced_axes(node) == (_HEADS,) and len(layout.shape(node.inputs[0]) or ()) == _HEADS + 3
    return node.op_type in ELEMENTWISE | _MOVES
