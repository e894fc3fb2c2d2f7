"""Remove value_info entries of initializers, which quantizers leave stale and shape inference then trips over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxfix.nouns.finding import Applicability
from onnxfix.surgery.editor import Editor


@dataclass(frozen=True)
class DropInitializerValueInfo:
    """Drop the declared type and shape of every initializer: the weight itself states both.

    The dynamo exporter writes them. ONNX Runtime's `quantize_dynamic` turns `Gemm(transB=1)` into `MatMul` with a
    transposed weight and leaves the old entry, after which shape inference sees two shapes for one name:
    "(1024) vs (7)". Initializers that are inputs (defaults) or outputs of a graph keep theirs, which the specification
    requires.
    """

    name: ClassVar[str] = "drop-initializer-value-info"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("S001",)

    def apply(self, editor: Editor) -> None:
        for graph in editor.model.graphs():
            for value in graph.initializers.values():
                editor.drop_declaration(value)
