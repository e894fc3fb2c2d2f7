"""Remedy: what to run for a graph that could be faster, by what is in it already."""

from __future__ import annotations

from onnxfix.nouns.rule import Subject
from onnxfix.nouns.types.type_strings import HALVES

FASTER = ("F002", "F003", "F004", "F005", "F006")
"""Notes on a graph that is right, and could be written to be faster."""

_BY_BATCH = frozenset({"DynamicQuantizeLinear", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"})


def optimize(subject: Subject) -> str:
    """`onnxfix optimize`, of the float original where numbers are rounded already: in half precision attention is not
    put together, and a scale that is taken from a batch is another one where its padding is left out."""
    if any(node.op_type in _BY_BATCH for node in subject.nodes):
        return "onnxfix optimize --int8 dynamic on the float original, which does both"
    if any(kind in HALVES for kind in subject.types.of.values()):
        if subject.target.provider.is_host:
            return "onnxfix optimize on the float original, which does both"
        return "onnxfix optimize --precision fp16 on the float original, which does both"
    return "onnxfix optimize"
