"""Reductions in half precision, as the operators that CUDA's kernels make of them: each result is rounded to half.

ONNX Runtime's kernels (providers/cuda/reduction) add up in fp32 and write the sum in half. ReduceMean then divides
that sum by half(n): beyond 65,504 the sum is infinite, and beyond 65,519 elements n is, which makes the mean 0 or NaN
(microsoft/onnxconverter-common#323). ReduceSumSquare squares in half first, ReduceLogSumExp takes every step in half,
and CumSum keeps its running sum in half. Sum adds one input after the other. A mean over axes in the middle goes
through cuDNN in fp32, but becomes one over the first axes with a batch of one: it is taken as summed in half, too.

Attention stands in `attention_steps`. Kernels that sum in fp32 and round once have no entry: Softmax,
LayerNormalization, MatMul, Conv, ReduceL1, ReduceL2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import attribute, integer, is_standard
from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.sites.constants import integers

from .attention_steps import attention_steps
from .insertion import Insertion

HALVES = ("tensor(float16)", "tensor(bfloat16)")
FLOAT = ir.DataType.FLOAT


def written_out(model: Model) -> None:
    """Replace each half reduction of a model by its steps, in place, in all graphs."""
    types = infer(model.ir)
    for graph in list(model.graphs()):
        for node in list(graph):
            make = _STEPS.get(node.op_type) if is_standard(node) else None
            kind = types.get(node.inputs[0]) if node.inputs else None
            if make is None or kind not in HALVES or integer(node, "noop_with_empty_axes", 0):
                continue
            steps = _Steps(node, model.opset, data_type(kind))
            made = make(steps)
            if made is not None:
                steps.add.replace(node.outputs[0], made)
                graph.remove(node)


class _Steps:
    """Steps of one node, in front of it."""

    def __init__(self, node: ir.Node, opset: int, half: ir.DataType) -> None:
        self.node, self.opset, self.half = node, opset, half
        self.add = Insertion(node, "steps")
        first = node.inputs[0]
        assert first is not None
        self.x = first
        self.keep = integer(node, "keepdims", 1)

    def reduce(self, op_type: str, since: int, value: ir.Value, keep: int) -> ir.Value:
        """A reduction over this node's axes, which the operator reads as an input from operator set `since` on."""
        written: Sequence[int] | None = attribute(self.node, "axes", None)
        given = self.node.inputs[1] if len(self.node.inputs) > 1 else None
        if self.opset < since:
            return self._node(op_type, value, keepdims=keep, **({} if written is None else {"axes": list(written)}))
        axes = self.add.integers(*written) if written is not None else given
        return self._node(op_type, value, *([] if axes is None else [axes]), keepdims=keep)

    def total(self, value: ir.Value) -> ir.Value:
        return self.reduce("ReduceSum", 13, value, self.keep)

    def mean(self) -> ir.Value:
        total = self.total(self.x)
        sizes = [self._node("Cast", self._node("Size", v), to=FLOAT) for v in (self.x, total)]
        count = self._node("Cast", self._node("Div", *sizes), to=self.half)
        return self._node("Div", total, count)

    def squares(self) -> ir.Value:
        return self.total(self._node("Mul", self.x, self.x))

    def log(self) -> ir.Value:
        return self._node("Log", self.total(self.x))

    def log_of_exponentials(self) -> ir.Value:
        # ReduceMax reads its axes as an input since operator set 18
        largest = self.reduce("ReduceMax", 18, self.x, 1)
        powers = self._node("Exp", self._node("Sub", self.x, largest))
        again = largest if self.keep else self.reduce("ReduceMax", 18, self.x, 0)
        return self._node("Add", self._node("Log", self.total(powers)), again)

    def one_by_one(self) -> ir.Value | None:
        inputs = [v for v in self.node.inputs if v is not None]
        made = inputs[0]
        for value in inputs[1:]:
            made = self._node("Add", made, value)
        return made if len(inputs) > 2 else None

    def attention(self) -> ir.Value | None:
        return attention_steps(self.node, self.add, self.half)

    def running(self) -> ir.Value | None:
        """A Scan along the axis; None where that is computed at run time."""
        axis = integers(self.node.inputs[1])
        if axis is None:
            return None
        zero = self.add.constant(np.zeros(1, self.half.numpy()), "zero")
        slice_ = self._node("Gather", self.x, self.add.constant(np.array(0, np.int64), "first"), axis=axis[0])
        scalar = self._node("Reshape", zero, self.add.constant(np.zeros(0, np.int64), "shape"))
        start = self._node("Expand", scalar, self._node("Shape", slice_))
        backwards = integer(self.node, "reverse", 0)
        _, sums = self.add.node(
            "Scan", start, self.x, outputs=2, body=self._step(), num_scan_inputs=1,
            scan_input_axes=[axis[0]], scan_output_axes=[axis[0]],
            scan_input_directions=[backwards], scan_output_directions=[backwards],
        )  # fmt: skip
        made: ir.Value = sums
        return made

    def _step(self) -> ir.Graph:
        """(sum so far, next) → (sum with it, what CumSum has at its place)."""
        names = [f"{self.add.prefix}/{name}" for name in ("before", "next")]
        before, following = (ir.Value(name=name, type=ir.TensorType(self.half)) for name in names)
        added = self.add.detached("Add", before, following)
        shown = self.add.detached("Identity", before if integer(self.node, "exclusive", 0) else added.outputs[0])
        for node in (added, shown):
            node.outputs[0].type = ir.TensorType(self.half)
        outputs = [added.outputs[0], shown.outputs[0]]
        return ir.Graph([before, following], outputs, nodes=[added, shown], name=f"{self.add.prefix}/step")

    def _node(self, op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        made: ir.Value = self.add.node(op_type, *inputs, **attributes)
        return made


_STEPS: dict[str, Callable[[_Steps], ir.Value | None]] = {
    "ReduceMean": _Steps.mean,
    "ReduceSumSquare": _Steps.squares,
    "ReduceLogSum": _Steps.log,
    "ReduceLogSumExp": _Steps.log_of_exponentials,
    "Sum": _Steps.one_by_one,
    "CumSum": _Steps.running,
    "Attention": _Steps.attention,
}
