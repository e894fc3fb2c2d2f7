"""CastLike → Cast to the type it names, which runtimes have kernels for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.shapes import cast_likes


@dataclass(frozen=True)
class CastLikeToCast:
    """Write the type of a `CastLike` into a `Cast`.

    `CastLike` has no kernel anywhere. ONNX Runtime inlines its body, a `Cast`, only after it has placed the nodes of a
    graph for the first time; until then a shape chain runs through it to every reader, which takes arithmetic on
    activations to the CPU. The result is the same `Cast`, saturation included. Casts of constants are left alone.
    """

    name: ClassVar[str] = "cast-like-to-cast"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("K006",)

    def apply(self, editor: Editor) -> None:
        for node, wanted in list(cast_likes.find(editor.model, infer(editor.model.ir))):
            saturate = node.attributes.get("saturate")
            editor.set_operator(node, "Cast", {"to": data_type(wanted)}, inputs=1)
            if isinstance(saturate, ir.Attr) and editor.model.opset >= 19:
                editor.set_attribute(node, saturate)
