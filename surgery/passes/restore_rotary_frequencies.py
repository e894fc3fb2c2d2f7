"""Rotary frequencies that were rounded to half → the fp32 numbers they were rounded from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.attention import frequencies, rotary
from onnxfix.surgery.sites.constants import constant_tensor


@dataclass(frozen=True)
class RestoreRotaryFrequencies:
    """Give rotary angles the inverse frequencies that a conversion to half took from them.

    A frequency rounded to fp16 is off by up to 5e-4 of itself, which at position 4,099 is an angle off by 0.086 in its
    cosine, however exactly the angle is computed from it. The numbers follow a formula of theta, head size and a few
    scaling parameters (RoPE, linear, Llama 3, YaRN); the one that gives every stored number after rounding is taken,
    and what can still be off is reported. Where none fits, the numbers stay, and that is reported too.

    Measure: tables of rounded frequencies.
    """

    name: ClassVar[str] = "restore-rotary-frequencies"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    thetas: tuple[float, ...] = ()
    """What the checkpoint's config says."""

    def apply(self, editor: Editor) -> None:
        for value, array, kind in _tables(editor.model):
            found = frequencies.recover(array, kind, self.thetas)
            if not found.formula:
                editor.notes.append(
                    f"rotary frequencies {value.name} are rounded to {kind} and fit no known formula: each may be off "
                    f"by {found.residual:.1e} of itself"
                )
                continue
            editor.notes.append(
                f"rotary frequencies {value.name} restored: {found.formula}; each within {found.residual:.1e} of itself"
            )
            _replace(editor, value, found.frequencies)

    def measure(self, model: Model) -> float:
        return float(len(_tables(model)))


def _tables(model: Model) -> list[tuple[ir.Value, np.ndarray, np.dtype[np.generic]]]:
    """fp32 constants of rotary angles whose every number is one of half precision: value, content, half type."""
    found: dict[ir.Value, tuple[np.ndarray, np.dtype[np.generic]]] = {}
    for site in rotary.find(model, infer(model.ir)):
        for value in site.constants:
            tensor = constant_tensor(value)
            if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size < 4:
                continue
            array = tensor.numpy()
            kind = frequencies.rounded_to(array)
            if kind is not None:
                found[value] = (array, kind)
    return [(value, array, kind) for value, (array, kind) in found.items()]


def _replace(editor: Editor, value: ir.Value, array: np.ndarray) -> None:
    tensor = ir.Tensor(array, name=value.name)
    producer = value.producer()
    if producer is None:
        editor.replace_tensor(value, tensor, "frequencies as before rounding")
    else:
        editor.set_operator(producer, "Constant", {"value": tensor}, inputs=0)
