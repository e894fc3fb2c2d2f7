"""fp32 → fp16 by a well-known converter, on a graph prepared so that its result loads and is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.nouns.site import Site
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery import graph_pass
from onnxfix.surgery.adoption import adopt
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.engines import FP16_LIBRARIES, prepared_fp16
from onnxfix.surgery.half.function_outline import DOMAIN
from onnxfix.surgery.half.function_return import return_from_functions
from onnxfix.surgery.passes.outline_fp32_islands import OutlineFp32Islands
from onnxfix.surgery.sites.half.half_plan import HalfOptions

# What protobuf serialises; onnxconverter-common infers shapes in memory.
PROTOBUF_LIMIT = 2**31 - 2**24


@dataclass(frozen=True)
class ConvertWithLibrary:
    """Convert a model to fp16 with onnxconverter-common or `onnxruntime.transformers.float16`.

    What must stay in fp32 is moved into functions first (`outline-fp32-islands`), the library converts the rest, and
    the functions are inlined again. Between fp32 nodes nothing is rounded: casts to fp16 or double and back are left
    out. Masking constants beyond 65,504 (`finfo.min`) become -65,504. The result is refused when a type conflict is
    left. For those who have to use that library: `convert-to-half` gives the same precision, in bf16 too and at any
    size (onnxconverter-common ends at 2 GB).

    Measure: bytes of weights.
    """

    name: ClassVar[str] = "convert-with-library"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    library: str
    target: Target
    options: HalfOptions = field(default_factory=HalfOptions)

    def apply(self, editor: Editor) -> None:
        self._refuse(editor.model)
        source = editor.model.clone()
        Editor(source, self.name).name_all()
        prepared = source.clone()
        outcome = graph_pass.run(OutlineFp32Islands(self.target, self.options), prepared)
        editor.notes.extend(outcome.notes)
        if not _convertible(prepared):
            editor.notes.append("nothing was converted: no fp32 value that could and may be half")
            return
        editor.name_all()  # as in the source
        with Scratch() as folder:
            result = self._convert(prepared, folder)
            return_from_functions(result, source, self.name)
            self._require_types(result)
            adopt(editor, result.ir, f"by {self.library}")
        editor.record("convert", Site(), f"to fp16 by {self.library}")

    def measure(self, model: Model) -> float:
        return float(model.weights_bytes)

    def _refuse(self, model: Model) -> None:
        if self.library not in FP16_LIBRARIES:
            raise OnnxfixError(f"unknown converter '{self.library}'", f"name one of {', '.join(FP16_LIBRARIES)}")
        if self.library == "onnxconverter-common" and model.weights_bytes > PROTOBUF_LIMIT:
            raise OnnxfixError(
                f"onnxconverter-common converts in memory, where protobuf ends at 2 GB; this model has "
                f"{model.weights_bytes / 1e9:.1f} GB of weights",
                f"use {arg('converter', 'onnxruntime')}, or leave it out",
            )

    def _convert(self, prepared: Model, folder: Path) -> Model:
        source = prepared.write(folder / "float.onnx")
        keep = self.options.io_types == "keep"
        result = Model.open(prepared_fp16(self.library, source, folder / "half.onnx", keep_io_types=keep))
        if result.external_files:
            # the files vanish with the folder
            ir.external_data.load_to_model(result.ir)
        return Model(result.ir, Path("half.onnx"))

    def _require_types(self, result: Model) -> None:
        conflicts = infer(result.ir).conflicts
        if conflicts:
            raise OnnxfixError(
                f"{self.library} leaves {plural(len(conflicts), 'type conflict')}, the first: {conflicts[0].message}",
                f"leave {arg('converter')} out",
            )


def _convertible(prepared: Model) -> bool:
    """Whether anything computes in fp32 outside the functions; casts to and from them do not count."""
    types = infer(prepared.ir)
    nodes = (n for n in prepared.graph if n.domain != DOMAIN and n.op_type not in ("CastLike", "Constant", "Identity"))
    return any(types.is_float32(value) for node in nodes for value in node.outputs)
