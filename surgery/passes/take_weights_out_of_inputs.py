"""Weights that are listed as graph inputs → constants, which optimisers, quantizers and conversions can work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.types.counts import plural
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites import default_inputs


@dataclass(frozen=True)
class TakeWeightsOutOfInputs:
    """Make weights constants where a file lists all of them as graph inputs.

    Files of IR version 3 have to, and `keep_initializers_as_inputs=True` still does. ONNX Runtime may not fold, fuse or
    pack such a weight, a quantizer sees none, and a conversion to half would cast it at every run and store it in fp32.
    The outputs are the same bits; what changes is that a caller can no longer feed a weight. Where only some weights
    of a file are inputs, somebody chose them, and they stay.
    """

    name: ClassVar[str] = "take-weights-out-of-inputs"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("W001",)

    def apply(self, editor: Editor) -> None:
        found = default_inputs.listed(editor.model)
        for value in found:
            editor.make_constant(value)
        if found:
            editor.model.ir.ir_version = max(editor.model.ir.ir_version or 0, default_inputs.CONSTANTS_SINCE)
            editor.notes.append(f"{plural(len(found), 'weight')} taken out of the inputs: no run can replace them now")
            return
        left = default_inputs.weights(editor.model)
        if left:
            editor.notes.append(
                f"{plural(len(left), 'weight')} left as they are: inputs of the graph as well, as not all weights are"
            )
