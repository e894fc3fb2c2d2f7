"""Declared shapes that the graph contradicts → what it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxfix.nouns.finding import Applicability
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.sizes import declared_sizes


@dataclass(frozen=True)
class CorrectDeclaredShapes:
    """Declare each output, and each value inside, with the sizes that the graph makes.

    An axis that has one size whatever the inputs gets that size, one that follows an input's axis that axis' name, and
    any other is left open. No node changes: declarations decide what ONNX Runtime lets share memory, and what a reader
    of the file expects, and not what is computed.
    """

    name: ClassVar[str] = "correct-declared-shapes"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("S002",)

    def apply(self, editor: Editor) -> None:
        for wrong in declared_sizes.find(editor.model.graph):
            # a rank that differs says nothing of any axis
            editor.set_shape(wrong.value, wrong.found if wrong.axes else [None] * len(wrong.made[0]))
