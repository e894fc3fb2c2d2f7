"""An older operator set → a newer one, for what is to be inserted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxfix.nouns.finding import Applicability
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.opset import raise_opset


@dataclass(frozen=True)
class RaiseOpset:
    """Write a model in operator set `least` where it has an older one.

    Static quantization needs 13: a DequantizeLinear of 10 knows no axis, and so no scale a column. The engine is onnx's
    own version converter.
    """

    name: ClassVar[str] = "raise-opset"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ()

    least: int = 13

    def apply(self, editor: Editor) -> None:
        raise_opset(editor, self.least, "static quantization")
