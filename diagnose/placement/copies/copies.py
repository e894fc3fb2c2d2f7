"""Copies as the plan reports them: what moves, who makes and reads it, which node is to blame, how much it harms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxfix.diagnose.placement.copies.inserted_casts import PREFIX
from onnxfix.diagnose.placement.lookup import Lookup
from onnxfix.diagnose.placement.origins import Origins
from onnxfix.diagnose.placement.region import PlannedNode
from onnxfix.nouns.plan import Copy, Sizes
from onnxfix.nouns.site import call_of

from .causes import copy_cause
from .extent import Extent, extents
from .memcpy import Transfer


def copies(
    found: Sequence[Transfer],
    model: ir.Model,
    lookup: Lookup,
    scopes: Mapping[PlannedNode, str],
    origins: Origins,
    sizes: Sizes,
) -> tuple[Copy, ...]:
    """One Copy a transfer, in graph order."""
    known = extents(model, [t.value for t in found], lookup.types, origins, sizes)
    return tuple(_copy(t, known[t.value], lookup, scopes, origins) for t in found)


def _copy(
    transfer: Transfer, extent: Extent, lookup: Lookup, scopes: Mapping[PlannedNode, str], origins: Origins
) -> Copy:
    cause = copy_cause(transfer, lookup)
    original = origins.node(cause.node)
    return Copy(
        direction=transfer.direction,
        value=transfer.value.name or "",
        producer=label(transfer.producer) if transfer.producer else "",
        consumers=tuple(label(reader) for reader in dict.fromkeys(transfer.readers)),
        cause_node=label(cause.node),
        cause_op_type=cause.node.op_type,
        cause=cause.text,
        severity=extent.severity,
        scope=scopes.get(cause.node, ""),
        graph=transfer.region.graph.name or "",
        grows=extent.grows,
        shape=extent.shape,
        nbytes=extent.nbytes,
        milliseconds=extent.milliseconds,
        call=call_of(original) if original is not None else "",
        cause_output=output(cause.node),
    )


def label(node: PlannedNode) -> str:
    """The name of a node, or of its first output where it has none; for an inserted cast that of the node it is for."""
    node = node.inserted_for or node
    return node.name or output(node)


def output(node: PlannedNode) -> str:
    """The first output of a node as the file has it, for an inserted cast that of the node it is for.

    A node between such casts makes a value of another name from then on.
    """
    node = node.inserted_for or node
    name = next((v.name or "" for v in node.outputs_named()), "")
    return name.removeprefix(PREFIX) if node.widened else name
