"""The axes of a mask, brought to [batch, heads, queries, keys]."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.surgery.sites.constants import Array
from onnxfix.surgery.sites.shapes.product_operations import Shape

from ..mask import NotComputedError, RefusedError

RANK = 4


def four(made: Array, batch: int, rank: int | None, node: ir.Node | None) -> Array:
    """[batch or 1, heads or 1, queries or 1, keys or 1] of a mask for scores of this rank, 4 where that is open. Raises
    RefusedError of the node where it has another batch."""
    if made.ndim > RANK:  # heads that share their keys in an axis of their own
        made = made.reshape(made.shape[0], -1, *made.shape[-2:])
    elif rank == 3 and made.ndim == 3 and made.shape[0] % batch == 0:  # heads in one axis with the batch
        made = made.reshape(batch, -1, *made.shape[1:])
    elif rank == 2 and made.ndim == 2:  # tokens that are pooled
        made = made[:, None, None]
    made = made.reshape((1,) * (RANK - made.ndim) + made.shape) if made.ndim < RANK else made
    if made.shape[0] not in (1, batch):
        raise RefusedError(node, f"is no mask of [batch, heads, queries, keys]: {list(made.shape)}")
    return made


def sides(made: Array, shape: Shape | None, node: ir.Node | None) -> tuple[int, int]:
    """Numbers of queries and keys, 1 where neither the mask nor the scores, of this shape, tell. Raises
    NotComputedError of the node where they do not go together."""
    own = (made.shape[2], made.shape[3])
    scores = (1, *shape)[-2:] if shape is not None and len(shape) != 2 else (1, *(shape or (1,))[-1:])
    if any(1 not in (a, b) and a != b for a, b in zip(own, scores, strict=True)):
        raise NotComputedError(node, f"is for {own[1]} keys where there are {scores[1]}")
    return max(own[0], scores[0]), max(own[1], scores[1])
