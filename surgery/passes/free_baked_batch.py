"""A batch baked into the graph → the batch of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.sizes import baked_sizes, freed_sizes
from onnxfix.surgery.sites.sizes.freed_sizes import TOLD, Edit, Number, Rows
from onnxfix.surgery.sites.sizes.probe import Axis


@dataclass(frozen=True)
class FreeBakedBatch:
    """Let a graph that is declared to take any batch, and takes the export's alone, take any.

    Numbers that are proven to be the batch become the size of the input, or -1 where one Reshape alone reads them; rows
    that are all the same become as many as there are. Proven: with another batch in their place every node fits and no
    Reshape mixes rows. At the baked batch no bit changes; other batches are verified row by row against it.
    """

    name: ClassVar[str] = "free-baked-batch"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("S003",)

    def apply(self, editor: Editor) -> None:
        for found in baked_sizes.find(editor.model.graph):
            edits = freed_sizes.find(editor.model.graph, found)
            if edits:
                _Freeing(editor, found.axis).run(edits)
                editor.notes.append(f"{found.axis.places[0][0].name}: a batch of {found.size} was baked in, any is now")


class _Freeing:
    def __init__(self, editor: Editor, axis: Axis) -> None:
        self.editor, self.axis = editor, axis
        first = next(iter(editor.model.graph))
        self.first = first
        self._of: dict[int, ir.Value] = {}

    def run(self, edits: Sequence[Edit]) -> None:
        for value in dict.fromkeys(edit.value for edit in edits):
            mine = [edit for edit in edits if edit.value is value]
            made = self._rows(mine[0]) if isinstance(mine[0], Rows) else self._vector(value, mine)
            producer = value.producer()
            self.editor.replace_uses(value, made)
            if producer is not None:
                self.editor.remove_dead(producer)
            elif not value.uses():
                self.editor.drop_initializer(value)

    def _vector(self, value: ir.Value, edits: Sequence[Edit]) -> ir.Value:
        """The constant with the batch, or multiples of it, for some of its elements."""
        tensor = constant_tensor(value)
        assert tensor is not None
        numbers = tensor.numpy()
        factors = {edit.index: edit.factor for edit in edits if isinstance(edit, Number)}
        if _inferable(value, numbers, factors):
            left = numbers.copy()
            left.reshape(-1)[next(iter(factors))] = -1
            return self._constant("sizes", left)
        parts: list[ir.Value] = []
        for index, number in enumerate(numbers.reshape(-1)):
            at = self._times(factors[index]) if index in factors else self._constant("size", np.array([number], np.int64))
            parts.append(at)
        whole = parts[0] if len(parts) == 1 else self._node("Concat", parts, {"axis": 0}, "sizes")
        if numbers.ndim != 1:
            whole = self._node("Reshape", [whole, self._constant("rank", np.array(numbers.shape, np.int64))], {}, "sizes")
        if numbers.dtype != np.int64:
            whole = self._node("Cast", [whole], {"to": int(ir.DataType.INT32)}, "sizes")
        return whole

    def _rows(self, edit: Rows) -> ir.Value:
        tensor = constant_tensor(edit.value)
        assert tensor is not None
        row = tensor.numpy().take([0], axis=edit.axis)
        one = self.editor.add_initializer(f"{edit.value.name}_row", ir.Tensor(row, dtype=tensor.dtype))
        if edit.broadcast:
            return one
        sizes = [self._constant("size", np.array([d], np.int64)) for d in row.shape]
        sizes[edit.axis] = self._times(1)
        shape = sizes[0] if len(sizes) == 1 else self._node("Concat", sizes, {"axis": 0}, "sizes")
        return self._node("Expand", [one, shape], {}, "rows")

    def _times(self, factor: int) -> ir.Value:
        """A vector of one: so many times the batch."""
        if factor not in self._of:
            if factor == 1:
                value, axis = self.axis.places[0]
                shape = self._node("Shape", [value], {}, "shape")
                where = self._constant("axis", np.array([axis], np.int64))
                self._of[1] = self._node("Gather", [shape, where], {"axis": 0}, "batch")
            else:
                times = self._constant("factor", np.array([factor], np.int64))
                self._of[factor] = self._node("Mul", [self._times(1), times], {}, "batch")
        return self._of[factor]

    def _constant(self, name: str, array: np.ndarray) -> ir.Value:
        return self.editor.add_initializer(name, ir.tensor(array))

    def _node(self, op_type: str, inputs: list[ir.Value], attributes: dict[str, float | str], name: str) -> ir.Value:
        """In front of the whole graph: the batch is known there."""
        made: ir.Value = self.editor.new_node(op_type, inputs, self.first, attributes=attributes, outputs=[name]).outputs[0]
        return made


def _inferable(value: ir.Value, numbers: np.ndarray, factors: dict[int, int]) -> bool:
    """Whether a Reshape can find the number out itself: all others are told."""
    told = numbers.reshape(-1)
    only = len(factors) == 1 and all(n > 0 for n in told)
    return only and all(use.node.op_type == "Reshape" and use.idx == TOLD["Reshape"] for use in value.uses())
