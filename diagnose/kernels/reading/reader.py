"""What a node of attention is given, and the sizes that the graph tells at two sets of sizes."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, is_standard
from onnxfix.surgery.sites.layouts.ground import Ground
from onnxfix.surgery.sites.shapes.product_operations import Shape


class Reader:
    """One node at two sets of sizes: what is the same at both is fixed, all else changes from run to run."""

    def __init__(self, node: ir.Node, grounds: tuple[Ground, Ground]) -> None:
        self.node, self.grounds = node, grounds

    def given(self, place: int) -> ir.Value | None:
        """An input, None where it is left out."""
        return self.node.inputs[place] if place < len(self.node.inputs) else None

    def has(self, *places: int) -> bool:
        return any(self.given(place) is not None for place in places)

    def makes(self, *places: int) -> bool:
        outputs = self.node.outputs
        return any(place < len(outputs) and bool(outputs[place].name) for place in places)

    def number(self, name: str, default: Any = 0) -> Any:
        return attribute(self.node, name, default)

    def shapes(self, place: int) -> tuple[Shape | None, Shape | None]:
        value = self.given(place)
        first, second = (ground.shape(value) for ground in self.grounds)
        return first, second

    def rank(self, place: int) -> int | None:
        value, (first, _) = self.given(place), self.shapes(place)
        if first is not None:
            return len(first)
        return None if value is None or value.shape is None else len(value.shape)

    def fixed(self, place: int, axis: int) -> int | None:
        """The length of an axis that no run changes."""
        first, second = self.shapes(place)
        if first is not None and second is not None and -len(first) <= axis < len(first) and len(first) == len(second):
            return first[axis] if first[axis] == second[axis] else None
        value = self.given(place)
        stated = None if value is None or value.shape is None else tuple(value.shape)
        if stated is None or not -len(stated) <= axis < len(stated):
            return None
        length = stated[axis]
        return length if isinstance(length, int) and length >= 0 else None

    def alike(self, one: tuple[int, int], other: tuple[int, int]) -> bool | None:
        """Whether two axes (place, axis) have one length in every run; None where nothing tells."""
        known = []
        for turn in (0, 1):
            sizes = [self._at(place, axis, turn) for place, axis in (one, other)]
            if None in sizes:
                return None
            known.append(sizes[0] == sizes[1])
        return all(known)

    def lengths(self, place: int, axis: int) -> tuple[int | None, int | None]:
        """Of an axis, at both sets of sizes."""
        return self._at(place, axis, 0), self._at(place, axis, 1)

    def _at(self, place: int, axis: int, turn: int) -> int | None:
        shape = self.shapes(place)[turn]
        if shape is None and axis >= 0:
            shape = self._of_indices(place, turn)
        return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None

    def _of_indices(self, place: int, turn: int) -> Shape | None:
        """The first axes of what is gathered from rows whose number nothing tells, as of packed tokens."""
        value = self.given(place)
        node = value.producer() if value is not None else None
        if node is None or node.op_type != "Gather" or not is_standard(node) or attribute(node, "axis", 0) != 0:
            return None
        return self.grounds[turn].shape(node.inputs[1])
