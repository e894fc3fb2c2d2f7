"""Model-local functions → their bodies, so that later passes see plain operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir.passes.common as common

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.types.inlining import inline
from onnxfix.surgery.adoption import adopt
from onnxfix.surgery.editor import Editor


@dataclass(frozen=True)
class InlineFunctions:
    """Replace every call of a model-local function by its body.

    ONNX Runtime inlines them itself when it loads a model, so nothing changes at run time. onnx-ir's own inliner does
    the work. The body of a function that imports another operator set than the model is read by the model's, as the
    runtime does.
    """

    name: ClassVar[str] = "inline-functions"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        if not editor.model.ir.functions:
            return
        editor.name_all()
        inlined = editor.model.ir.clone()
        inline(inlined)
        common.RemoveUnusedFunctionsPass()(inlined)  # type: ignore[no-untyped-call]
        adopt(editor, inlined, "function body")
