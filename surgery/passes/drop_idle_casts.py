"""Casts that change nothing: to the type a value has already, or there and back without a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.editor import Editor

# Types whose every value the other holds exactly.
_WIDER = {
    "tensor(float16)": ("tensor(float)", "tensor(double)"),
    "tensor(bfloat16)": ("tensor(float)", "tensor(double)"),
    "tensor(float)": ("tensor(double)",),
    "tensor(int32)": ("tensor(int64)", "tensor(double)"),
    "tensor(bool)": ("tensor(int32)", "tensor(int64)", "tensor(float)", "tensor(float16)", "tensor(bfloat16)"),
}


@dataclass(frozen=True)
class DropIdleCasts:
    """Remove casts to the type a value already has, and pairs that widen a value and narrow it again.

    A conversion that retargets casts leaves some that do nothing, and `fp16 → fp32 → fp16` is two kernels and two
    trips through memory for no bit of difference. Pairs that narrow first are left: they round.
    """

    name: ClassVar[str] = "drop-idle-casts"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        types = infer(editor.model.ir)
        for node in list(editor.model.nodes()):
            if node.op_type != "Cast" or not is_standard(node) or node.graph is None:
                continue
            source = _equal(node, types)
            if source is not None and _replaceable(node, source):
                first = node.inputs[0].producer() if node.inputs[0] is not None else None
                editor.replace_uses(node.outputs[0], source)
                editor.remove(node)
                editor.remove_dead(first)


def _equal(node: ir.Node, types: ElementTypes) -> ir.Value | None:
    """The value that a cast's result equals in type and content, None when it makes a new one."""
    given = node.inputs[0]
    made = types.get(node.outputs[0])
    if given is None or made is None:
        return None
    if types.get(given) == made:
        return given
    producer = given.producer()
    if producer is None or producer.op_type != "Cast" or not is_standard(producer):
        return None
    origin = producer.inputs[0]
    narrow = types.get(origin)
    return origin if narrow == made and types.get(given) in _WIDER.get(narrow or "", ()) else None


def _replaceable(node: ir.Node, source: ir.Value) -> bool:
    """A graph output needs a node of its graph to make it, under a name that nothing else has."""
    if not node.outputs[0].is_graph_output():
        return True
    producer = source.producer()
    return producer is not None and producer.graph is node.graph and not source.is_graph_output()
