"""An older operator set → a newer one, for what is to be inserted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.finding import Applicability
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.opset import raise_opset
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore, sites


@dataclass(frozen=True)
class RaiseOpset:
    """Write a model in operator set `least` where it has an older one.

    Static quantization needs 13: a DequantizeLinear of 10 knows no axis, and so no scale a column. Attention of rows
    whose lengths hide their padding needs 24. The engine is onnx's own version converter, which takes up to 2 GiB.
    `for_attention`: only a model with an attention to fuse, and one that the converter fails on stays as it is, with
    the reason in the report.
    """

    name: ClassVar[str] = "raise-opset"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ()

    least: int = 13
    why: str = "static quantization"
    for_attention: bool = False

    def apply(self, editor: Editor) -> None:
        if self.for_attention and not any(isinstance(site, AttentionCore) for site in sites(editor.model)):
            return
        try:
            raise_opset(editor, self.least, self.why)
        except OnnxfixError as error:
            if not self.for_attention:
                raise
            editor.notes.append(f"operator set {editor.model.opset} stays: {error.message}")
