"""Weights that are stored twice → one, read through a Transpose where the second was transposed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites import equal_weights


@dataclass(frozen=True)
class StoreWeightsOnce:
    """Keep one of two matrices that hold the same numbers, also transposed.

    Exporters that fold constants store the table of a tied output layer a second time, transposed, and buffers of each
    layer (causal masks) as often as there are layers. All readers now read one; through a `Transpose` where they read
    it transposed, which ONNX Runtime evaluates while it loads. No output changes by a bit.
    """

    name: ClassVar[str] = "store-weights-once"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("W003",)

    def apply(self, editor: Editor) -> None:
        turned: dict[tuple[ir.Value, ir.Graph | None], ir.Value] = {}
        for twin in equal_weights.find(editor.model):
            graph = twin.again.graph if isinstance(twin.again.graph, ir.Graph) else None
            value = twin.first
            if twin.again.uses() and twin.turned:
                key = (twin.first, graph)
                if key not in turned:
                    turned[key] = _transposed(editor, twin.first, twin.again, graph)
                value = turned[key]
            if twin.again.uses():
                editor.replace_uses(twin.again, value)
            editor.drop_initializer(twin.again)


def _transposed(editor: Editor, first: ir.Value, again: ir.Value, graph: ir.Graph | None) -> ir.Value:
    like = again.consumers()[0]
    node = editor.new_node("Transpose", [first], like, outputs=[f"{again.name}_turned"], graph=graph)
    node.outputs[0].type, node.outputs[0].shape = again.type, again.shape
    return node.outputs[0]
