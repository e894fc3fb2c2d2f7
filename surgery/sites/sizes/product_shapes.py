"""Shapes of what products make, from the shapes of their operands, all of them numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, integer
from onnxfix.surgery.sites.shapes.product_operations import CONVOLUTIONS, MATRICES, OPERANDS, Shape, turned

Numbers = np.ndarray[Any, Any]
Rule = Callable[[ir.Node, Sequence[Shape | None], Sequence[Numbers | None]], Shape | None]


def wholes(node: ir.Node, name: str) -> tuple[int, ...] | None:
    return tuple(node.attributes[name].as_ints()) if name in node.attributes else None


def _matmul(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    a, b = (shapes[i] for i in MATRICES[node.op_type])
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        return None
    a, b = turned(a, integer(node, "transA", 0)), turned(b, integer(node, "transB", 0))
    return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])


def _gemm(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    a, b = (shapes[i] for i in OPERANDS[node.op_type])
    if a is None or b is None:
        return None
    return turned(a, integer(node, "transA", 0))[0], turned(b, integer(node, "transB", 0))[1]


def _packed(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    return None if shapes[0] is None else (*shapes[0][:-1], integer(node, "N", 0))


def _conv(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    x, w = (shapes[i] for i in CONVOLUTIONS[node.op_type])
    if x is None or w is None:
        return None
    axes = len(x) - 2
    strides, dilations = (wholes(node, name) or (1,) * axes for name in ("strides", "dilations"))
    if "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string().startswith("SAME"):
        return (x[0], w[0], *(-(-size // step) for size, step in zip(x[2:], strides, strict=True)))
    pads = wholes(node, "pads") or (0,) * 2 * axes
    spans = [(kernel - 1) * wide + 1 for kernel, wide in zip(w[2:], dilations, strict=True)]
    room = [x[2 + i] + pads[i] + pads[axes + i] - spans[i] for i in range(axes)]
    return (x[0], w[0], *(free // step + 1 for free, step in zip(room, strides, strict=True)))


def _einsum(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    """With every label written out, the result's among them."""
    given, arrow, result = str(attribute(node, "equation", "")).replace(" ", "").partition("->")
    terms = given.split(",")
    if not arrow or "." in given or len(terms) != len(shapes):
        return None
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        if shape is None or len(term) != len(shape):
            return None
        sizes |= {label: max(size, sizes.get(label, 1)) for label, size in zip(term, shape, strict=True)}
    return tuple(sizes[label] for label in result)


PRODUCTS: dict[str, Rule] = {
    **dict.fromkeys(MATRICES, _matmul),
    **dict.fromkeys(CONVOLUTIONS, _conv),
    **dict.fromkeys(("Gemm", "QGemm"), _gemm),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4"), _packed),
    "Einsum": _einsum,
}
