"""Numbers of shape arithmetic that a CUDA node reads → made on the device by Range or Pad: nothing is copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.runtime.kernels import KernelTable
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.shapes import host_values
from onnxfix.surgery.sites.shapes.host_values import HostValue

# A node that stays on the device uncovers the copy of a number for the next one behind it: a round for each.
ROUNDS = 8


@dataclass(frozen=True)
class MakeShapeValuesOnDevice:
    """Make small shape values on the device where CUDA nodes read them as data.

    ONNX Runtime computes `Shape -> Gather -> ...` on the host. Where a CUDA node reads the number as data, as the
    legacy exporter's attention mask does (`batch index x sequence length`), it is copied at every run: one Memcpy node,
    which also prevents CUDA graphs. `Range(n, n + 1, 1)` reads its arguments on the host and writes `[n]` on the
    device, and `Pad` does so with the number it pads with: readers get the number from there. An input that such a
    number drags to the host stays on the device in the same way. A rewrite that lowers neither the number of copies nor
    their bytes is not made.
    """

    plan: Callable[[Model], Plan]
    """What the target will do with a model."""
    table: KernelTable
    name: ClassVar[str] = "make-shape-values-on-device"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("K003",)

    def apply(self, editor: Editor) -> None:
        plan = self.plan(editor.model)
        for _ in range(ROUNDS):
            trial = editor.model.clone()
            if editor.model.opset < 11 or plan.load_error or not self._rewrite(Editor(trial, self.name), plan):
                return
            after = self.plan(trial)
            if after.load_error or _cost(after) >= _cost(plan):
                return
            self._rewrite(editor, plan)
            plan = after

    def _rewrite(self, editor: Editor, plan: Plan) -> bool:
        found = host_values.find(editor.model, plan, self.table, infer(editor.model.ir))
        for site in found:
            made = _on_device(editor, site)
            for node, index in site.readers:
                editor.replace_input(node, index, made)
        return bool(found)


def _cost(plan: Plan) -> tuple[int, int]:
    """Copies, then bytes: an input that is no longer dragged can leave behind the copy of one number, at first."""
    return len(plan.copies), sum(copy.nbytes or 0 for copy in plan.copies)


def _on_device(editor: Editor, site: HostValue) -> ir.Value:
    """The value on the device: each element by itself, joined, of the shape and type that the readers read."""
    step = _Chain(editor, site)
    made = [step.on_device(element) for element in step.elements()]
    value = made[0] if len(made) == 1 else step.add("Concat", made, axis=0)
    if site.length is None:
        value = step.add("Squeeze", [value])
    for cast in site.casts:
        value = step.add("Cast", [value], to=cast.attributes["to"].as_int())
    return value


class _Chain:
    """Nodes one behind the other, after the producer of a host value."""

    def __init__(self, editor: Editor, site: HostValue) -> None:
        producer = site.value.producer()
        assert producer is not None
        self.editor, self.site, self.last, self.like = editor, site, producer, producer
        self.dtype = data_type(site.type)

    def add(self, op_type: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
        name = f"{self.site.value.name}_{op_type.lower()}"
        node = self.editor.new_node(op_type, inputs, self.like, attributes=attributes, outputs=[name], after=self.last)
        self.last = node
        return node.outputs[0]

    def constant(self, numbers: int | list[int], dtype: ir.DataType = ir.DataType.INT64) -> ir.Value:
        """A scalar, or a vector for a list."""
        tensor = ir.Tensor(np.array(numbers, dtype=dtype.numpy()), dtype=dtype)
        return self.editor.add_initializer(f"{self.site.value.name}_constant", tensor, self.like.graph)

    def elements(self) -> list[ir.Value]:
        if self.site.length is None:
            return [self.site.value]
        positions = [self.constant(i) for i in range(self.site.length)]
        return [self.add("Gather", [self.site.value, position], axis=0) for position in positions]

    def on_device(self, scalar: ir.Value) -> ir.Value:
        """`[scalar]` on the device, whatever the number is: a float may be NaN or infinite."""
        if self.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            padded = self.add("Pad", [self.constant([0], self.dtype), self.constant([0, 1]), scalar])
            return self.add("Gather", [padded, self.constant([1])], axis=0)
        one = self.constant(1, self.dtype)
        return self.add("Range", [scalar, self.add("Add", [scalar, one]), one])
