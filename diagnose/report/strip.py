"""The placement strip as data: one cell a node, rows by layer, and each copy beside the node that makes it necessary.

The page's script draws from this; names occur once, repeated texts (operators, reasons, scopes) by index, so that
10,000 nodes need about a megabyte.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_low
from typing import Literal

from onnxfix.nouns.plan import Copy, NodePlacement, Plan
from onnxfix.nouns.runtime.provider import placed_on
from onnxfix.nouns.site import layer_of
from onnxfix.render.words import duration, quantity, visible

from .places import NO_MODULE

NO_SCOPE = "(no scope)"
ROW = 200
"""Longest row of nodes without a scope: a graph that names no layers is cut into pieces to point at."""
SOURCES = 8
"""Original nodes named for one cell; constants folded into it can be dozens."""

Side = Literal["before", "after"]


@dataclass(frozen=True)
class LayerRow:
    """The nodes of one layer, as indices into the plan in graph order."""

    label: str
    nodes: tuple[int, ...]


def layer(scope: str) -> str:
    """The scope up to and including its first number: `model.layers.3.mlp.Wi` is of `model.layers.3`."""
    if scope in ("", NO_MODULE):
        return NO_SCOPE
    return visible(layer_of(scope))


def rows(nodes: tuple[NodePlacement, ...]) -> list[LayerRow]:
    """Rows by the median position of their nodes.

    By the first node layers would stand in a false order: ONNX Runtime sorts shape arithmetic of all layers to the
    front.
    """
    members: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        members.setdefault(layer(node.scope), []).append(index)
    found: list[LayerRow] = []
    for label, indices in members.items():
        if label != NO_SCOPE or len(indices) <= ROW:
            found.append(LayerRow(label, tuple(indices)))
            continue
        for start in range(0, len(indices), ROW):
            piece = tuple(indices[start : start + ROW])
            found.append(LayerRow(f"{label} {start + 1:,}–{start + len(piece):,}", piece))
    return sorted(found, key=lambda row: (median_low(row.nodes), row.nodes))


def anchor(copy: Copy, index_of: dict[str, int], exact: dict[tuple[str, str], int]) -> tuple[int, Side] | None:
    """Where a copy is drawn: at its cause, before a node that reads the value and after one that makes it."""
    if copy.cause_node in index_of:
        makes = copy.cause_node == copy.producer
        return exact.get(copy.cause_key, index_of[copy.cause_node]), "after" if makes else "before"
    reader = next((c for c in copy.consumers if c in index_of), None)
    if reader is not None:
        return index_of[reader], "before"
    return (index_of[copy.producer], "after") if copy.producer in index_of else None


class Texts:
    """A table of texts, each once."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def of(self, text: str) -> int:
        return self._index.setdefault(visible(text), len(self._index))

    def table(self) -> list[str]:
        return list(self._index)


def data(plan: Plan) -> dict[str, object]:
    """What the page's script draws, as JSON."""
    texts = Texts()
    index_of: dict[str, int] = {}
    exact: dict[tuple[str, str], int] = {}
    for index, node in enumerate(plan.nodes):
        index_of.setdefault(node.name, index)
        exact.setdefault(node.key, index)
    anchors = [anchor(copy, index_of, exact) for copy in plan.copies]
    return {
        "nodes": [_node(node, texts) for node in plan.nodes],
        "rows": [[row.label, list(row.nodes), _bytes(row, anchors, plan.copies)] for row in rows(plan.nodes)],
        "copies": [_copy(copy, at, texts) for copy, at in zip(plan.copies, anchors, strict=True)],
        "texts": texts.table(),
    }


def _bytes(row: LayerRow, anchors: list[tuple[int, Side] | None], copies: tuple[Copy, ...]) -> str:
    """What the copies drawn in a row move, as far as known."""
    members = set(row.nodes)
    here = [c.nbytes for c, at in zip(copies, anchors, strict=True) if at and at[0] in members]
    known = [size for size in here if size is not None]
    return quantity(sum(known)) if known else ""


def _node(node: NodePlacement, texts: Texts) -> list[object]:
    sources = [visible(s) for s in node.source if s != node.name]
    named = sources[:SOURCES] + ([f"and {len(sources) - SOURCES} more"] if len(sources) > SOURCES else [])
    return [
        visible(node.name),
        texts.of(node.op_type),
        texts.of(placed_on(node.provider).label),
        kind(node),
        texts.of(node.reason),
        texts.of("" if node.scope == NO_MODULE else node.scope),
        ", ".join(named),
    ]


def kind(node: NodePlacement) -> str:
    """The cell's class: the provider, `moved` when the host was a choice, `none` when nothing runs the node."""
    found = placed_on(node.provider)
    return "moved" if found.is_host and node.reason and not node.lacks_kernel else found.name


def _copy(copy: Copy, at: tuple[int, Side] | None, texts: Texts) -> list[object]:
    shape = " × ".join(map(str, copy.shape)) if copy.shape else ""
    size = "unknown" if copy.nbytes is None else quantity(copy.nbytes) + (f" ({shape})" if shape else "")
    growth = ", grows with batch and sequence" if copy.grows else ""
    return [
        visible(copy.value),
        "to host" if copy.direction == "to_host" else "from host",
        *(at or (-1, "before")),
        copy.severity,
        texts.of(copy.cause),
        texts.of(": ".join(part for part in (copy.scope.replace(NO_MODULE, ""), copy.call) if part)),
        size + growth,
        "" if copy.milliseconds is None else duration(copy.milliseconds),
        visible(copy.cause_node),
    ]
