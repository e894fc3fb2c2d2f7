"""Normalisations written out by other operators → those that ONNX Runtime puts together into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.half import norms
from onnxfix.surgery.sites.half.norms import is_number, unfusable


@dataclass(frozen=True)
class CanonicalizeNorms:
    """Write the square of a norm as Pow, and the division by its root as Div.

    ONNX Runtime computes `x / Sqrt(ReduceMean(Pow(x, 2)) + epsilon) · weight` in one operator, and LayerNorm likewise.
    Its fusions (layer_norm_fusion.cc, 1.31.1) know that form and `x · Div(1, Sqrt(…))`; they do not know `x · x` for
    the square, nor `Reciprocal`, which torch's dynamo exporter makes of every rsqrt: each RMSNorm of a Llama, Qwen,
    Gemma, T5 or EuroBERT stays seven nodes that each read and write all activations. A Qwen3 of 768 channels, 8 rows
    of 128 tokens on one core: 1.12 times as fast with int8 linears; in fp32 rounds differ by more than that gains.

    The numbers are the same up to the last bit of a quotient. Norms in fp32 alone: in half they are to be kept in fp32
    first.

    Measure: norms in fp32 with a square or a root that is not known.
    """

    name: ClassVar[str] = "canonicalize-norms"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ("F006",)

    def apply(self, editor: Editor) -> None:
        types = infer(editor.model.ir)
        done = 0
        for site in list(norms.find(editor.model)):
            odd = unfusable(site, types)
            for node in odd:
                _write_anew(editor, node)
            done += bool(odd)
        if done:
            editor.notes.append(f"{plural(done, 'norm')} as ONNX Runtime puts together")

    def measure(self, model: Model) -> float:
        types = infer(model.ir)
        return float(sum(bool(unfusable(site, types)) for site in norms.find(model)))


def _write_anew(editor: Editor, node: ir.Node) -> None:
    if node.op_type == "Mul":
        editor.set_operator(node, "Pow", {}, inputs=2)
        editor.replace_input(node, 1, editor.add_initializer("two", ir.tensor(np.float32(2))))
        return
    result = node.outputs[0]
    divides = node.op_type == "Reciprocal" or is_number(node.inputs[1], -0.5)
    root = result
    if node.op_type == "Reciprocal":
        assert node.inputs[0] is not None
        root = node.inputs[0]
    else:
        exponent = node.inputs[1]
        editor.set_operator(node, "Sqrt", {}, inputs=1)
        if exponent is not None and exponent.is_initializer() and not exponent.uses():
            editor.drop_initializer(exponent)
    for reader in result.consumers() if divides else ():
        whole = next(value for value in reader.inputs if value is not result)
        editor.set_operator(reader, "Div", {}, inputs=2)
        editor.replace_input(reader, 0, whole)
        editor.replace_input(reader, 1, root)
    editor.remove_dead(node)
