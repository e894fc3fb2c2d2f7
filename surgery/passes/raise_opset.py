"""An older operator set → a newer one, for what is to be inserted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.opset import raise_opset
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore, sites
from onnxfix.surgery.sites.tokens import padding


@dataclass(frozen=True)
class RaiseOpset:
    """Write a model in operator set `least` where it has an older one.

    Static quantization needs 13: a DequantizeLinear of 10 knows no axis, and so no scale a column. What is written
    anew to be faster needs 15, in which Shape knows a start and an end, and attention of rows whose lengths hide their
    padding 24. The engine is onnx's own version converter, which takes up to 2 GiB.
    `needed`: only a model that it says so of, and one that the converter fails on stays as it is, with the reason in
    the report.
    """

    name: ClassVar[str] = "raise-opset"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ()

    least: int = 13
    why: str = "static quantization"
    needed: Callable[[Model], bool] | None = None

    def apply(self, editor: Editor) -> None:
        if self.needed is not None and (editor.model.opset >= self.least or not self.needed(editor.model)):
            return
        try:
            raise_opset(editor, self.least, self.why)
        except OnnxfixError as error:
            if self.needed is None:
                raise
            editor.notes.append(f"operator set {editor.model.opset} stays: {error.message}")


def has_attention(model: Model) -> bool:
    """Whether there is an attention to fuse, or a mask of padding."""
    return any(isinstance(site, AttentionCore) for site in sites(model)) or padding.find(model) is not None
