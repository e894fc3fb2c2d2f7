"""Floating point or integer operations of all products of a graph, and how many of them are on quantized numbers.

Bodies of control flow count once: how often a loop runs is not in the file.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxfix.nouns.plan import Flops, Sizes
from onnxfix.surgery.sites.shapes.product_operations import is_product, operations

from .known_shapes import shapes_at


def flops(model: ir.Model, sizes: Sizes, recorded: Mapping[str, ir.Shape]) -> Flops | None:
    """The operations of one run at `sizes`, None where the shape of a product is not known.

    `recorded`: shapes that the file states, by name.
    """
    nodes = [n for n in model.graph.all_nodes() if is_product(n)]
    if not nodes:
        return Flops(0, 0)
    shapes = shapes_at(model, sizes, recorded)
    total = quantized = 0
    for node in nodes:
        found = operations(node, shapes)
        if found is None:
            return None
        total, quantized = total + sum(found), quantized + found[1]
    return Flops(total, quantized)
