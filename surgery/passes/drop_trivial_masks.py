"""Masks that hide nothing, or what lies ahead alone → no mask, and an attribute that says causal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.attention.masks.mask import Mask
from onnxfix.surgery.sites.attention.masks.softmax_masks import SoftmaxMasks
from onnxfix.surgery.sites.layouts.ground import Ground, grounds
from onnxfix.surgery.sites.tokens.padding import ADDED, added

OPERANDS = 3


@dataclass(frozen=True)
class DropTrivialMasks:
    """Leave a mask out of `Attention` where nothing is hidden by it, or only keys behind their query.

    Exporters write masks of ones for images, and a triangle for text that is read from left to right. ONNX Runtime's
    CUDA provider has no flash kernel for an attention with a mask, and leaves one of 17 keys to the kernel that keeps
    all scores in memory; causal attention is an attribute. What a mask means is read by computing it.

    Measure: attentions whose mask is none, or a triangle.
    """

    name: ClassVar[str] = "drop-trivial-masks"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        found = _found(editor.model)
        for node, mask in found:
            value, place = node.inputs[OPERANDS], OPERANDS
            editor.replace_input(node, place, None)
            editor.remove_dead(value.producer() if value is not None else None)
            if value is not None and value.is_initializer() and not value.uses() and not value.is_graph_output():
                editor.drop_initializer(value)
            if mask.causal:
                editor.set_attribute(node, ir.AttrInt64("is_causal", 1))
        if found:
            editor.notes.append(f"{plural(len(found), 'attention')} without a mask, which hid nothing or what is ahead")

    def measure(self, model: Model) -> float:
        return float(len(_found(model)))


def _found(model: Model) -> list[tuple[ir.Node, Mask]]:
    nodes = [
        node for node in model.graph
        if node.op_type == "Attention" and is_standard(node) and len(node.inputs) > OPERANDS
        and node.inputs[ADDED["Attention"]] is not None and all(v is None for v in node.inputs[OPERANDS + 1 :])
        and not integer(node, "is_causal", 0)
    ]  # fmt: skip
    if not nodes:
        return []
    masks, known = SoftmaxMasks(model), grounds(model)
    read = [(node, masks.of_value(value)) for node in nodes if (value := added(node)) is not None]
    return [(node, mask) for node, mask in read if isinstance(mask, Mask) and _is_trivial(node, mask, known)]


def _is_trivial(node: ir.Node, mask: Mask, known: tuple[Ground, Ground]) -> bool:
    if mask.padding is not None or mask.bias is not None or mask.band is not None or mask.untried is not None:
        return False
    if mask.positions == "input":  # before by a caller's numbers, which may begin anew
        return False
    return not mask.causal or all(_is_square(node, ground) for ground in known)


def _is_square(node: ir.Node, ground: Ground) -> bool:
    """As many keys as queries: the operator counts both from the first, and a mask both from the last."""
    query, key = (ground.shape(value) for value in node.inputs[:2])
    return query is not None and key is not None and len(query) == len(key) > 2 and query[-2] == key[-2]
