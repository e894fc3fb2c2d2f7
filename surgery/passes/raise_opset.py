"""An older operator set → a newer one, for what is to be inserted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.errors import OnnxfixError, one_line
from onnxfix.finding import Applicability
from onnxfix.surgery.adoption import adopt
from onnxfix.surgery.editor import Editor

NEXT = "export the model with a newer one: onnxfix export --opset 17"
LARGEST_BYTES = 1 << 30  # the converter takes one protobuf, which may not reach 2 GiB


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
        model = editor.model
        if model.opset >= self.least:
            return
        if model.weights_bytes > LARGEST_BYTES:
            raise OnnxfixError(f"{model.path} has operator set {model.opset}, and {self.least} is needed", NEXT)
        from onnx import version_converter

        editor.name_all()
        try:
            made = version_converter.convert_version(ir.to_proto(model.ir), self.least)
        except Exception as error:  # of C++, without a common type
            said = f"{model.path} cannot be raised to operator set {self.least}: {one_line(error)}"
            raise OnnxfixError(said, NEXT) from error
        adopt(editor, ir.from_proto(made), f"operator set {self.least}")
