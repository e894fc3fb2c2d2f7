"""An older operator set → a newer one, for what is to be inserted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.finding import Applicability
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.opset import raise_opset


@dataclass(frozen=True)
class RaiseOpset:
    """Write a model in operator set `least` where it has an older one.

    Static quantization needs 13: a DequantizeLinear of 10 knows no axis, and so no scale a column. Attention of rows
    whose lengths hide their padding needs 24. The engine is onnx's own version converter, which takes up to 2 GiB.
    `optional`: a model that it fails on stays as it is, and the report says why.
    """

    name: ClassVar[str] = "raise-opset"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ()

    least: int = 13
    why: str = "static quantization"
    optional: bool = False

    def apply(self, editor: Editor) -> None:
        try:
            raise_opset(editor, self.least, self.why)
        except OnnxfixError as error:
            if not self.optional:
                raise
            editor.notes.append(f"operator set {editor.model.opset} stays: {error.message}")
