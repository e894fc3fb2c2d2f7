"""CastLike of values computed at run time, with the type that each makes."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import constant_tensor


def find(model: Model, types: ElementTypes) -> Iterator[tuple[ir.Node, str]]:
    """Each node with the type string of its second input, in graph order; nodes of unknown type are left out.

    Constants are left out too: integers are folded elsewhere, and a float scale that becomes a plain Cast is folded and
    fused by ONNX Runtime, which moves the last bits of the result.
    """
    for node in model.nodes():
        if node.op_type != "CastLike" or not is_standard(node) or _is_constant(node):
            continue
        wanted = types.get(node.inputs[1]) or ""
        if wanted.startswith("tensor("):
            yield node, wanted


def _is_constant(node: ir.Node) -> bool:
    return constant_tensor(node.inputs[0]) is not None
