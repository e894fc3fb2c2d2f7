"""Data movement and casts around what stays in fp32: no trip to half and back, and casts of the smaller tensor."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.surgery.sites.constants import constant_tensor

# Shape-only operators: in whatever type their input is, so that they never need a cast of their own.
MOVEMENT = frozenset(
    "Reshape Transpose Unsqueeze Squeeze Expand Tile Slice Concat Split Gather Identity Flatten GatherElements "
    "GatherND DepthToSpace SpaceToDepth Pad".split()
)
# They hand on a part of a tensor, or more than it.
SHRINKING = frozenset({"Slice", "Gather", "GatherElements", "GatherND", "Split"})
GROWING = frozenset({"Expand", "Tile", "Pad"})
# They name the type that they make: what matters is who reads it.
NAMED = frozenset({"Cast", "CastLike", "ConstantOfShape"})


class Keeping(Protocol):
    """A plan, of which nodes stay in fp32 for which reason."""

    keep: dict[ir.Node, str]


Needs = Callable[[ir.Node, int], bool]
"""Whether a node that computes in half needs one of its inputs in fp32 all the same, as Resize does its scales."""


def close_casts(
    model: Model, types: ElementTypes, made: Keeping, exact: Collection[ir.Node], reason: str, needs: Needs
) -> None:
    """Casts to float that fp32 nodes read stay casts to fp32.

    `exact`: casts of integers and what moves them, of which one such reader is enough, or an output of the graph: half
    would round what it reads. Any other has to be read by fp32 nodes alone.
    """
    for node in reversed(list(model.nodes())):
        if node in made.keep or not (node in exact or node.op_type in NAMED):
            continue
        if not any(types.is_float32(v) for v in node.outputs):
            continue
        uses = [use for v in node.outputs for use in v.uses()]
        wide = [use.node in made.keep or needs(use.node, use.idx) for use in uses]
        wide += [True for v in node.outputs if v.is_graph_output()]
        if wide and (any(wide) if node in exact else all(wide)):
            made.keep[node] = reason if node in exact else "between two fp32 nodes"


def close_movement(model: Model, types: ElementTypes, made: Keeping, needs: Needs) -> None:
    """Data movement next to fp32 nodes: no cast to half and back around a Reshape, and casts of the smaller tensor."""
    pending = [n for n in model.nodes() if n.op_type in MOVEMENT]
    while pending:
        node = pending.pop()
        if node in made.keep:
            continue
        producers = [v.producer() for v in node.inputs if v is not None and _is_activation(v, types)]
        readers = [use.node for v in node.outputs for use in v.uses()]
        to_fp32 = all(use.node in made.keep or needs(use.node, use.idx) for v in node.outputs for use in v.uses())
        reason = _movement_reason(node, made, producers, readers, to_fp32)
        if reason:
            made.keep[node] = reason
            pending.extend(n for n in (*producers, *readers) if n is not None and n.op_type in MOVEMENT)


def _is_activation(value: ir.Value, types: ElementTypes) -> bool:
    return types.is_float32(value) and constant_tensor(value) is None


def _movement_reason(
    node: ir.Node, made: Keeping, producers: list[ir.Node | None], readers: list[ir.Node], to_fp32: bool
) -> str:
    """Why data movement should be in fp32, empty when it should be in half. A graph input, fp32, has no producer."""
    if not producers or not readers:
        return ""
    from_fp32 = all(n is None or n in made.keep for n in producers)
    if to_fp32 and (from_fp32 and any(n is not None for n in producers)):
        return "between two fp32 nodes"
    if from_fp32 and node.op_type in SHRINKING and not to_fp32:
        return "cast to half behind it, where the tensor is smaller"
    if to_fp32 and node.op_type in GROWING:
        return "cast to fp32 in front of it, where the tensor is smaller"
    return ""
