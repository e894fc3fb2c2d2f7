"""Packed models: graphs that gather the real tokens of a batch by its mask, as pack-tokens writes them."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.input_roles import role
from onnxfix.nouns.types.operators import is_standard

from . import interface

# The mask in another type, of more rows, as a row, or as a comparison of itself with a number.
_COPIES = frozenset("Cast CastLike Expand Identity Reshape Flatten Squeeze Unsqueeze Equal Greater Not".split())
# Places of real tokens, in another order of axes or with one more behind them.
_PLACES = frozenset("Cast Identity Reshape Flatten Squeeze Unsqueeze Transpose Concat Slice Add".split())


def packs(model: Model) -> bool:
    """Whether places that the mask shows, found by NonZero, tell what is gathered, or its inputs are packed."""
    if interface.find(model) is not None:
        return True
    masks = [value for value in model.graph.inputs if role(value) == "mask"]
    found = (node for mask in masks for node in _readers(mask, _COPIES) if node.op_type == "NonZero")
    return any(_is_index(place, node) for shown in found for place, node in _uses(shown))


def _readers(value: ir.Value, through: frozenset[str]) -> Iterator[ir.Node]:
    seen, pending = {value}, [value]
    while pending:
        for node in pending.pop().consumers():
            if not is_standard(node):
                continue
            yield node
            for made in node.outputs if node.op_type in through else ():
                if made not in seen:
                    seen.add(made)
                    pending.append(made)


def _uses(shown: ir.Node) -> Iterator[tuple[ir.Value, ir.Node]]:
    """What reads the places, and by which of its inputs."""
    places = [shown.outputs[0], *(v for node in _readers(shown.outputs[0], _PLACES) if node.op_type in _PLACES
                                  for v in node.outputs)]  # fmt: skip
    return ((place, node) for place in places for node in place.consumers())


def _is_index(place: ir.Value, node: ir.Node) -> bool:
    return node.op_type in ("Gather", "GatherND") and len(node.inputs) > 1 and node.inputs[1] is place
