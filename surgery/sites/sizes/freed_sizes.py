"""The constants that bake a batch into a graph, where it is proven that each of them is the batch.

Proven means: with a size of no meaning in their place the whole graph fits it, at two such sizes, and every Reshape
keeps rows together; at the baked size nothing changes. A number is followed from the node that refuses a size: those
that the node is told, and those of what makes rows from nothing in front of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.shapes.product_operations import Shape

from .baked_sizes import Baked
from .probe import Overrides, Probe, probe
from .product_shapes import Numbers
from .row_order import mixed
from .shape_rules import BROADCAST

_TRIALS = (1009, 1013)
"""Sizes of no meaning: primes that no axis of a model has as a factor."""
_MOST_WALKS = 300
_NEARBY = 200
# Operators that are told sizes, by the input that tells them; and what only hands such numbers on.
TOLD = {"Reshape": 1, "Expand": 1, "Tile": 1, "ConstantOfShape": 0, "Split": 1, "Range": 1, "Slice": 2}
_HANDED_ON = ("Concat", "Unsqueeze", "Squeeze", "Cast", "Identity", "Where", "Equal", "Mul")
_MAKES_ROWS = ("Expand", "Tile", "ConstantOfShape", "Range", "Slice")
_LARGEST_ROWS = 1 << 22


@dataclass(frozen=True)
class Number:
    """An element of an integer constant: `factor` times the size."""

    value: ir.Value
    index: int
    factor: int


@dataclass(frozen=True)
class Rows:
    """A constant that holds one and the same slice for each row of `axis`; `broadcast`: one will do for its readers."""

    value: ir.Value
    axis: int
    broadcast: bool


Edit = Number | Rows


def find(graph: ir.Graph, baked: Baked) -> tuple[Edit, ...]:
    """What must follow the axis for it to be free, in no particular order; empty where that is not proven."""
    if any(axis for _, axis in baked.axis.places) or "Loop" in {node.op_type for node in graph}:
        return ()
    search = _Search(graph, baked)
    found = search.solve(())
    return found if found and search.holds(found, _TRIALS[1]) else ()


class _Search:
    def __init__(self, graph: ir.Graph, baked: Baked) -> None:
        self.graph, self.baked, self.walks = graph, baked, 0

    def solve(self, edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
        """More edits until nothing refuses the trial size; empty where none is found."""
        at = self._at(edits, _TRIALS[0])
        if not at.misfits:
            return edits if self._kept(at, _TRIALS[0]) else ()
        node = at.misfits[0].node
        if self.walks > _MOST_WALKS:
            return ()
        for edit in self._told(node, edits):
            tried = self._at((*edits, edit), _TRIALS[0])
            settled = not any(missed.node is node for missed in tried.misfits)
            together = mixed(self.graph, tried.shapes, _TRIALS[0]) is None
            if settled and together and (found := self.solve((*edits, edit))):
                return found
        for edit in self._makers(node, edits):
            if found := self.solve((*edits, edit)):
                return found
        return ()

    def holds(self, edits: tuple[Edit, ...], size: int) -> bool:
        at = self._at(edits, size)
        return not at.misfits and self._kept(at, size)

    def _kept(self, at: Probe, size: int) -> bool:
        """Whether rows stay together, and outputs have as many as they declare."""
        if mixed(self.graph, at.shapes, size) is not None:
            return False
        for value in self.graph.outputs:
            declared = value.shape if value.shape is not None else ()
            for said, made in zip(declared, at.shapes.get(value, ()), strict=False):
                if isinstance(said, ir.SymbolicDim) and said.value == self.baked.axis.name and made != size:
                    return False
        return True

    def _at(self, edits: tuple[Edit, ...], size: int) -> Probe:
        self.walks += 1
        return probe(self.graph, {**self.baked.sizes, self.baked.axis.name: size}, _overrides(edits, size))

    def _told(self, node: ir.Node, edits: tuple[Edit, ...]) -> Iterator[Edit]:
        """What the node itself is told, the size before its multiples, and rows that stand beside it."""
        index = TOLD.get(node.op_type)
        if index is not None and index < len(node.inputs):
            yield from self._numbers(node.inputs[index], edits)
        for value in node.inputs:
            yield from self._rows(value, edits)

    def _makers(self, node: ir.Node, edits: tuple[Edit, ...]) -> Iterator[Edit]:
        """What makes rows in front of a node, the nearest first."""
        pending = [v.producer() for v in node.inputs if v is not None]
        seen: set[ir.Node] = set()
        while pending and len(seen) < _NEARBY:
            maker = pending.pop(0)
            if maker is None or maker in seen:
                continue
            seen.add(maker)
            if maker.op_type in _MAKES_ROWS:
                yield from self._numbers(maker.inputs[TOLD[maker.op_type]], edits)
            for value in maker.inputs:
                yield from self._rows(value, edits)
                pending.append(value.producer() if value is not None else None)

    def _numbers(self, value: ir.Value | None, edits: tuple[Edit, ...]) -> list[Edit]:
        """Elements of the constants behind a value that hold the size, or a multiple of it."""
        known = {(e.value, e.index) for e in edits if isinstance(e, Number)}
        found = []
        for constant in _constants_behind(value):
            tensor = constant_tensor(constant)
            assert tensor is not None
            for index, number in enumerate(tensor.numpy().reshape(-1)):
                if number > 0 and number % self.baked.size == 0 and (constant, index) not in known:
                    found.append(Number(constant, index, int(number) // self.baked.size))
        return [*sorted(found, key=lambda e: e.factor != 1)]

    def _rows(self, value: ir.Value | None, edits: tuple[Edit, ...]) -> Iterator[Edit]:
        tensor = constant_tensor(value)
        if value is None or tensor is None or not 0 < tensor.nbytes <= _LARGEST_ROWS or self.baked.size == 1:
            return
        if any(e.value is value for e in edits) or value.is_graph_output():
            return
        for axis, size in enumerate(tensor.shape.numpy()):
            if size == self.baked.size and _alike(tensor, axis):
                yield Rows(value, axis, all(n.op_type in BROADCAST for n in value.consumers()))


def _alike(tensor: ir.TensorProtocol, axis: int) -> bool:
    array = tensor.numpy()
    first = array.take([0], axis=axis)
    return bool((array == first).all())


def _constants_behind(value: ir.Value | None) -> Iterator[ir.Value]:
    """Integer constants that a node is told sizes by, through what hands numbers on, which nothing else reads."""
    if value is None:
        return
    tensor = constant_tensor(value)
    if tensor is not None:
        if tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32) and tensor.size <= 64 and _tells_sizes(value):
            yield value
        return
    node = value.producer()
    if node is not None and node.op_type in _HANDED_ON:
        for behind in node.inputs[:1] if node.op_type in ("Unsqueeze", "Squeeze") else node.inputs:
            yield from _constants_behind(behind)


def _tells_sizes(value: ir.Value) -> bool:
    """Whether all that becomes of a constant are sizes: an axis or an index of the same number is none."""
    if value.is_graph_output():
        return False
    for node, index in ((use.node, use.idx) for use in value.uses()):
        if TOLD.get(node.op_type) == index:
            continue
        first = index == 0 or node.op_type not in ("Unsqueeze", "Squeeze")
        if node.op_type not in _HANDED_ON or not first or not all(map(_tells_sizes, node.outputs)):
            return False
    return True


def _overrides(edits: tuple[Edit, ...], size: int) -> Overrides:
    shapes: dict[ir.Value, Shape] = {}
    numbers: dict[ir.Value, Numbers] = {}
    for edit in edits:
        tensor = constant_tensor(edit.value)
        assert tensor is not None
        shape = tuple(tensor.shape.numpy())
        if isinstance(edit, Rows):
            shapes[edit.value] = (*shape[: edit.axis], 1 if edit.broadcast else size, *shape[edit.axis + 1 :])
            continue
        changed = numbers.setdefault(edit.value, np.array(tensor.numpy(), np.int64))
        # broken files bake numbers near the largest of all
        changed.reshape(-1)[edit.index] = min(edit.factor * size, np.iinfo(np.int64).max)
        shapes[edit.value] = shape
    return shapes, numbers
