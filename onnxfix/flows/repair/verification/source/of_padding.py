"""What is compared of padding: which outputs have a number for each token, and which made-up paddings mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model, tensors

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.eval.run.runners import Recorded

LARGEST_MASK = 1 << 22
"""Entries of a constant that is looked through for -inf: a causal mask of 2,048 tokens."""


def of_tokens(feeds: Sequence[Feed], reference: Recorded) -> frozenset[str]:
    """Outputs of one number a token: [batch, sequence] on every feed, and these of two lengths at least."""
    from onnxfix.eval.numerics.compare import mask_of

    lengths: dict[str, set[int]] = {}
    others: set[str] = set()
    for feed in feeds:
        mask = mask_of(feed)
        for name, array in reference.run(feed.arrays).items() if mask is not None else ():
            if mask is not None and array.shape == mask.shape:
                lengths.setdefault(name, set()).add(array.shape[-1])
            else:
                others.add(name)
    return frozenset(name for name, found in lengths.items() if len(found) > 1) - others


def is_left_out(feeds: Sequence[Feed], reference: Recorded, tokens: frozenset[str]) -> bool:
    """Whether a feed has padding, and an output something to say of it."""
    from onnxfix.eval.numerics.compare import mask_of

    masks = [(feed, mask_of(feed)) for feed in feeds]
    return any(
        array.shape[:2] == mask.shape and (array.ndim > 2 or name in tokens)
        for feed, mask in masks
        if mask is not None and not mask.all()
        for name, array in reference.run(feed.arrays).items()
    )


def with_a_meaning(model: Model, feeds: list[Feed]) -> list[Feed]:
    """Without made-up paddings on which the source makes NaN inside: where -inf hides keys and padding is at the left
    of a causal mask, rows see nothing, and a maximum of what is not hidden makes a number of such a row yet."""
    from onnxfix.eval.inputs.paddings import OTHERS

    if not any(feed.name in OTHERS for feed in feeds) or not _hides_by_infinity(model):
        return feeds
    return [feed for feed in feeds if feed.name not in OTHERS or not first_nan(model, feed)]


def _hides_by_infinity(model: Model) -> bool:
    """In a number of its own, or in a mask of all places; weights of other shapes are not read."""
    floats = (t for t in tensors(model.ir) if t.dtype.is_floating_point() and t.size <= LARGEST_MASK and _may_mask(t))
    return any(bool(np.isneginf(t.numpy().astype(np.float32)).any()) for t in floats)


def _may_mask(tensor: ir.TensorProtocol) -> bool:
    shape = tensor.shape.numpy()
    return tensor.size == 1 or (len(shape) > 1 and shape[-1] == shape[-2])


def first_nan(model: Model, feed: Feed) -> str:
    """The first node that makes NaN on a feed, empty where none does or it cannot be told."""
    from onnxfix.eval.numerics import not_a_number

    try:
        site = not_a_number.first(model, feed)
    except OnnxfixError:  # operators without a kernel, or a graph that is too large with all that is counted
        return ""
    return str(site) if site else ""
