"""Einsum with a constant weight → MatMul, which quantizers and fusions know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.int8.quantizer import ALL, Selection
from onnxfix.surgery.sites.constants import constant_tensor, mover
from onnxfix.surgery.sites.linear import einsums, linears
from onnxfix.surgery.sites.linear.einsums import REST, EinsumLinear


@dataclass(frozen=True)
class EinsumToMatMul:
    """Write linear layers that are an Einsum as MatMul.

    Projections of attention are written as `bsd,dhk->bshk` and `bshk,hkd->bsd` by JAX and by hand-written torch. No
    quantizer knows Einsum, and skips them without a word. The weight becomes a matrix [summed, added], and the
    activation is transposed and reshaped where its summed axes are several or not the last. An Einsum with a matrix of
    its own for each head, or one whose rank the graph does not tell where it would matter, stays.

    Measure: linears that are an Einsum.
    """

    name: ClassVar[str] = "einsum-to-matmul"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    selection: Selection = ALL

    def apply(self, editor: Editor) -> None:
        for linear in self.selection.of(linears.find(editor.model), editor.model):
            found = einsums.find(linear.node)
            if found is None:
                continue
            sizes = _sizes(found)
            if not found.is_matrix or sizes is None or not _is_told(found):
                editor.notes.append(f"{label(found.node)} stays an Einsum: {found.node.attributes['equation'].value}")
                continue
            _Rewriting(editor, found, sizes).run()

    def measure(self, model: Model) -> float:
        return float(sum(x.node.op_type == "Einsum" for x in linears.find(model)))


def _sizes(found: EinsumLinear) -> dict[str, int] | None:
    """Length of each axis of the weight as it is read."""
    tensor = constant_tensor(found.weight.source)
    assert tensor is not None
    array = np.broadcast_to(np.zeros((), np.int8), tensor.shape.numpy())
    for node in found.weight.path:
        move = mover(node)
        if move is None:
            return None
        array = array if node.op_type == "Cast" else move(array)
    return dict(zip(found.stored, array.shape, strict=True)) if array.ndim == len(found.stored) else None


def _is_told(found: EinsumLinear) -> bool:
    """Whether no axis behind `...` has to be counted: it is the first, and nothing is moved or reshaped."""
    if REST not in (*found.given, *found.made):
        return True
    plain = len(found.summed) == len(found.added) == 1
    return (
        plain
        and found.given == (*found.kept, *found.summed)
        and found.made == (*found.kept, *found.added)
        and found.given[0] == REST
    )


class _Rewriting:
    def __init__(self, editor: Editor, found: EinsumLinear, sizes: dict[str, int]) -> None:
        self.editor, self.found, self.sizes, self.node = editor, found, sizes, found.node

    def run(self) -> None:
        found, node = self.found, self.node
        activation, weight = node.inputs[1 - found.index], node.inputs[found.index]
        assert activation is not None and weight is not None
        inner, outer = self._size(found.summed), self._size(found.added)
        left = self._moved(activation, found.given, (*found.kept, *found.summed))
        if len(found.summed) > 1:
            left = self._reshaped(left, [*([0] * len(found.kept)), inner])
        right = self._moved(weight, found.stored, (*found.summed, *found.added))
        if len(found.stored) > 2:
            right = self._reshaped(right, [inner, outer])
        self.editor.set_operator(node, "MatMul", {}, inputs=2)
        self.editor.replace_input(node, 0, left)
        self.editor.replace_input(node, 1, right)
        now, last = (*found.kept, *found.added), node
        if len(found.added) > 1:
            shape = [*([0] * len(found.kept)), *(self.sizes[x] for x in found.added)]
            last = self._behind(last, "Reshape", self._constant(shape))
        if now != found.made:
            last = self._behind(last, "Transpose")
            self.editor.set_attribute(last, ir.AttrInt64s("perm", [now.index(x) for x in found.made]))

    def _size(self, labels: Sequence[str]) -> int:
        return int(np.prod([self.sizes[x] for x in labels], dtype=np.int64))

    def _moved(self, value: ir.Value, labels: Sequence[str], wanted: Sequence[str]) -> ir.Value:
        if tuple(labels) == tuple(wanted):
            return value
        perm = ir.AttrInt64s("perm", [labels.index(x) for x in wanted])
        made = self.editor.new_node("Transpose", [value], self.node, outputs=[f"{value.name}_turned"])
        self.editor.set_attribute(made, perm)
        made.outputs[0].type = value.type
        return made.outputs[0]

    def _reshaped(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        outputs = [f"{value.name}_matrix"]
        made = self.editor.new_node("Reshape", [value, self._constant(shape)], self.node, outputs=outputs)
        made.outputs[0].type = value.type
        return made.outputs[0]

    def _constant(self, shape: Sequence[int]) -> ir.Value:
        tensor = ir.Tensor(np.array(shape, dtype=np.int64))
        return self.editor.add_initializer(f"{self.node.outputs[0].name}_shape", tensor)

    def _behind(self, last: ir.Node, op_type: str, *more: ir.Value) -> ir.Node:
        """Let all that read a node read it reshaped or transposed."""
        output = last.outputs[0]
        outputs = [f"{output.name}_{op_type.lower()}"]
        made = self.editor.new_node(op_type, [None, *more], self.node, outputs=outputs, after=last)
        made.outputs[0].type, made.outputs[0].shape = output.type, output.shape
        output.shape = None
        self.editor.replace_uses(output, made.outputs[0])
        self.editor.replace_input(made, 0, output)
        return made
