"""Attentions that see a band of tokens: how far each reaches, whether it is written out, one operator, or packed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import onnx_ir as ir

from onnxfix.surgery.sites.attention.masks.mask import Mask
from onnxfix.surgery.sites.attention.masks.softmax_masks import SoftmaxMasks

from .padding import ATTENTION, added


def find(
    nodes: Iterable[ir.Node], written: Collection[ir.Node], masks: SoftmaxMasks
) -> Iterator[tuple[ir.Node, Mask, tuple[int, int]]]:
    """Those of `nodes` whose masks are bands, with the mask and its window; `written`: the Softmax nodes that are
    attention's."""
    for node in nodes:
        if node in written:
            mask = masks.of_softmax(node)
        elif node.op_type in ATTENTION and (value := added(node)) is not None:
            mask = masks.of_added(value)
        else:
            continue
        if isinstance(mask, Mask) and mask.window is not None:
            yield node, mask, mask.window
