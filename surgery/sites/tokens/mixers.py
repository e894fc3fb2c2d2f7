"""Mixers: nodes that read several tokens at once, and whether what stands at tokens of padding may matter to them.

Attention may read anything there, as the mask hides it. A mean over all tokens may not, nor may a convolution: to them
a batch without its padding is another batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx_ir as ir

from onnxfix.nouns.types.operators import BODIES, integer, is_standard
from onnxfix.surgery.sites.constants import integers
from onnxfix.surgery.sites.reach import reached

from .axes import Axes, Layout
from .masked import is_masked, is_nothing
from .padding import ATTENTION, Padding
from .pairs import SIZES, are_weights, is_of_pairs, rows, softmaxes
from .per_token import is_per_token, is_read_whole

# They hand on slices of tokens, in layouts too that have no token axes of their own, as [batch · heads, token, size].
_MOVES = frozenset("Reshape Transpose Unsqueeze Squeeze Expand Identity Cast Flatten Split".split())
_ENDLESS = 2**31 - 1


def reader_of_padding(
    value: ir.Value, inside: set[ir.Node], padding: Padding, *, chosen: bool = True
) -> ir.Node | None:
    """Who outside of `inside` learns what a value is at tokens of padding, but as an output's own; None for nobody.

    `chosen`: the place that stands for its row, the first or the last, is taken for a token.
    """
    seen, pending = {value}, [value]
    while pending:
        value = pending.pop()
        if is_nothing(value, padding):
            continue  # it is zero there by itself, as it is in a graph without padding
        for reader, index in value.uses():
            if is_read_whole(reader, index, padding.layout):
                if reader.op_type != "Reshape":
                    return reader  # a table of all tokens
                continue
            if reader in inside:
                continue
            if (weighed := _weighed(reader, index, padding)) is not None:
                onwards, other = weighed
                if other is not None:
                    return other
                pending.extend(each for each in onwards if each not in seen)
                seen.update(onwards)
                continue
            if _is_safe(reader, index, padding, chosen):
                continue
            if not (_hands_on(reader, index, padding) or is_per_token(reader, padding.layout)):
                return reader
            for made in reader.outputs:
                if made not in seen:
                    seen.add(made)
                    pending.append(made)
    return None


def _hands_on(node: ir.Node, index: int, padding: Padding) -> bool:
    """Whether a result is of the same slices, each on its own: moved, scaled by one number, or a product with what is
    the same for all tokens, as the table of relative positions is."""
    if node.op_type in _MOVES or (node.op_type == "Slice" and _takes_all(node)):
        return True
    layout, others = padding.layout, [value for i, value in enumerate(node.inputs) if i != index]
    if node.op_type in ("Mul", "Div"):
        return all(not layout.depends(value) and _is_one(layout.shape(value)) for value in others)
    return node.op_type == "MatMul" and index == 0 and layout.is_of_none(node.inputs[1])


def _takes_all(node: ir.Node) -> bool:
    """A Slice from the first to the last, as exporters write x[:]."""
    starts, ends = (integers(value) for value in node.inputs[1:3])
    steps = integers(node.inputs[4]) if len(node.inputs) > 4 else (1,)
    whole = starts is not None and not any(starts) and ends is not None and min(ends, default=0) >= _ENDLESS
    return whole and steps is not None and set(steps) == {1}


def _is_one(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and math.prod(shape) == 1


def _weighed(node: ir.Node, index: int, padding: Padding) -> tuple[list[ir.Value], ir.Node | None] | None:
    """What attention that hides padding makes of what it reads, and who reads its weights otherwise; None for a node
    that is no such attention, nor a part of one."""
    if node.op_type in ATTENTION and node in padding.hidden:
        # a decoder's queries are none of these tokens, and no row of what they get is of padding
        elsewhere = padding.layout.is_of_none(node.inputs[0]) and padding.layout.is_of_none(node.outputs[0])
        return [] if index and (elsewhere or node in padding.crossing) else list(node.outputs[:1]), None
    found = softmaxes(node, padding) if is_of_pairs(node, padding.layout) else {node} & padding.hidden
    if not found or is_masked(node, index, padding):
        return None
    if node.op_type == "MatMul" and index == 1 and found <= padding.crossing:
        return [], None  # keys of other tokens' queries
    read = [rows(each, padding.layout) for each in found]
    return [v for made, _ in read for v in made], next((other for _, other in read if other is not None), None)


def _is_safe(node: ir.Node, index: int, padding: Padding, chosen: bool) -> bool:
    layout = padding.layout
    if node.op_type in SIZES or (node.op_type == "CastLike" and index == 1):
        return True  # the size or the type alone
    if is_masked(node, index, padding):
        return True
    if node.op_type == "MatMul" and index == 1 and layout.is_of_pairs(node.inputs[0]):
        return are_weights(node.inputs[0], padding)  # of the values: a column of padding has no weight
    return chosen and (_is_one_place(node, index, layout) or _is_chosen_place(node, index, padding))


def _is_one_place(node: ir.Node, index: int, layout: Layout) -> bool:
    """The first token or the last, which stands for its row. Where that is padding, the source's own answer is of what
    stands at padding; of several places some are padding in rows that are not."""
    axes, rank = layout.axes(node.inputs[0]), len(layout.shape(node.inputs[0]) or (0,))
    if index != 0 or axes is None or layout.axes(node.outputs[0]) is not None:
        return False
    if node.op_type == "Slice" and is_standard(node) and len(node.inputs) > 3:
        starts, ends, sliced = (integers(value) for value in (*node.inputs[1:3], *node.inputs[3:4]))
        one = (starts == (0,) and ends == (1,)) or (starts == (-1,) and ends is not None and ends[0] >= _ENDLESS)
        return one and sliced is not None and [axis % rank for axis in sliced] == [axes.token]
    first_or_last = node.op_type == "Gather" and integers(node.inputs[1]) in ((0,), (-1,))
    return first_or_last and integer(node, "axis", 0) % rank == axes.token


def _is_chosen_place(node: ir.Node, index: int, padding: Padding) -> bool:
    """One place of each row, which the mask says: the last real one. What ids say, as the last that is not some number,
    may be a token of padding."""
    layout, places = padding.layout, node.inputs[1] if len(node.inputs) > 1 else None
    shape, batch = layout.shape(places), (layout.shape(padding.value) or (0,))[0]
    if index != 0 or shape is None or not layout.is_of_none(places) or not is_standard(node):
        return False
    if _inputs_of(places) != {padding.value}:
        return False
    axes = layout.axes(node.inputs[0])
    if node.op_type == "GatherElements":
        return axes == Axes(0, 1) and integer(node, "axis", 0) % len(shape) == 1 and shape[:2] == (batch, 1)
    if node.op_type == "GatherND":
        said = 1 if integer(node, "batch_dims", 0) else 2
        return axes == Axes(0, 1) and math.prod(shape) == batch * said and shape[-1] == said
    merged = axes is not None and axes.merged and axes.token == 0
    return node.op_type == "Gather" and merged and integer(node, "axis", 0) == 0 and math.prod(shape) == batch


def _inputs_of(value: ir.Value | None) -> set[ir.Value]:
    """Inputs of the model whose numbers, and not sizes alone, a value is made of; none where a body makes some of it,
    which may read others."""
    nodes = reached(makers([value]), made_of)
    if any(given.type in BODIES for node in nodes for given in node.attributes.values()):
        return set()
    read = (v for node in nodes if node.op_type not in SIZES for v in node.inputs)
    return {v for v in read if v is not None and v.is_graph_input() and not v.is_initializer()}


def made_of(node: ir.Node) -> list[ir.Node]:
    """What made the numbers that a node reads; a size is the same whatever stands at padding."""
    return [] if node.op_type in SIZES else makers(node.inputs)


def makers(values: Iterable[ir.Value | None]) -> list[ir.Node]:
    return [node for value in values if value is not None and (node := value.producer()) is not None]
