"""Attention of new tokens over a cache: keys and values that the model is given, with new ones behind them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.surgery.sites.layouts.ground import Ground, grounds
from onnxfix.surgery.sites.layouts.layout import Layout
from onnxfix.surgery.sites.layouts.views import stages

from . import attention_cores
from .attention_cores import AttentionCore, crosses
from .caches import AXIS, appended
from .masks.mask import Mask
from .masks.softmax_masks import SoftmaxMasks
from .refusal import Refusal, UnreadableError
from .written_out.operands import Operand, placed
from .written_out.score_terms import MASKED


@dataclass(frozen=True)
class Cache:
    """`past`, an input of the graph, and what is `new` are in one behind the other in `present`."""

    past: ir.Value
    new: Operand
    present: ir.Value


@dataclass(frozen=True)
class CachedAttention:
    """Causal attention: a query sees the keys up to its own, of these the last `window` (0: all), and none that
    `padding` [batch, positions] holds a 0 for, or where it is `inverted` no 0. `sizes`: batch, past and new positions
    in trials; attentions with the same have the same lengths. `as_added`: what is added to scores says all of that, and
    more, as a bias by distance, or a window beyond the keys that were tried; then it is read no further."""

    core: AttentionCore
    keys: Cache
    values: Cache
    padding: ir.Value | None
    inverted: bool
    window: int
    sizes: tuple[tuple[int, ...], ...]
    as_added: bool = False


def sites(model: Model) -> Iterator[CachedAttention | Refusal]:
    """Each attention of the main graph over a cache, in graph order, or the reason against reading it as causal."""
    cores = [site for site in attention_cores.sites(model) if isinstance(site, AttentionCore)]
    cores = [core for core in cores if core.softmax.graph is model.graph and appended(core.key.value) is not None]
    known, masks = (grounds(model), SoftmaxMasks(model)) if cores else ((), None)
    for core in cores:
        try:
            assert masks is not None
            yield _read(core, masks, known)
        except UnreadableError as error:
            yield Refusal(core.softmax, error.node, error.reason)


def _read(core: AttentionCore, masks: SoftmaxMasks, known: tuple[Ground, ...]) -> CachedAttention:
    found = masks.of_softmax(core.softmax)
    if not isinstance(found, Mask):
        raise UnreadableError(found.node or core.softmax, found.reason)
    if core.guarded and crosses(core):
        raise UnreadableError(core.softmax, "has rows without a key, which are zeros, and need not be padding")
    as_added = core.covered and (found.untried is not None or found.bias is not None)
    window = _window(core.softmax, found, as_added)
    _check_heads(core)
    keys, values = (_cache(core, operand, known) for operand in (core.key, core.value))
    sizes = tuple(_sizes(core, keys, values, ground) for ground in known)
    padding = None if as_added else found.padding
    return CachedAttention(core, keys, values, padding, found.inverted, window, sizes, as_added)


def _window(softmax: ir.Node, mask: Mask, as_added: bool) -> int:
    """How many keys a query sees, itself among them; 0 for all before it. Raises UnreadableError for other masks."""
    if mask.untried is not None and not as_added:
        raise UnreadableError(softmax, f"may hide keys {mask.untried:,} places away, more than were tried")
    if not mask.causal or (mask.bias is not None and not as_added):
        raise UnreadableError(softmax, f"has a mask that is not causal alone: {mask}")
    if mask.positions != "index":
        raise UnreadableError(softmax, f"counts distances by {mask.positions} and not by place in the cache")
    if mask.hidden is None or mask.hidden > MASKED:
        raise UnreadableError(softmax, "hides keys by a number that still counts")
    if mask.padding is not None and not mask.padding.is_graph_input():
        raise UnreadableError(softmax, "hides padding by what is no input of the model")
    left = mask.band[0] if mask.band is not None else None
    return 0 if left is None else left + 1


def _check_heads(core: AttentionCore) -> None:
    parts = (core.query, core.key, core.value)
    if len({part.size for part in parts}) > 1:
        raise UnreadableError(core.softmax, "has values of another size than keys")
    if core.query.heads != core.heads or core.key.heads * core.key.repeats != core.heads:
        raise UnreadableError(core.softmax, "has heads that are not whole groups")


def _cache(core: AttentionCore, operand: Operand, known: tuple[Ground, ...]) -> Cache:
    both = appended(operand.value)
    if both is None or operand.perm != (0, AXIS, 1, 3) or operand.start is not None:
        raise UnreadableError(core.softmax, "has values that are no cache as its keys are")
    past, new = both
    found = [_new(new, ground, core.softmax) for ground in known]
    if any(each != found[0] for each in found) or found[0].heads != operand.heads:
        raise UnreadableError(core.softmax, "has new keys or values in no layout of batch, positions and heads")
    return Cache(past, found[0], operand.value)


def _new(value: ir.Value, ground: Ground, softmax: ir.Node) -> Operand:
    def laid(layout: Layout) -> Layout | None:
        return layout.transposed([0, AXIS, 1, 3])

    path = [stage for stage in stages(value, ground) if stage.factor == 1]
    read = placed(path, laid, ground, softmax)
    if read is None or read.operand.repeats > 1:
        raise UnreadableError(value.producer() or softmax, "makes new keys or values that are repeated, or not apart")
    return read.operand


def _sizes(core: AttentionCore, keys: Cache, values: Cache, ground: Ground) -> tuple[int, ...]:
    """Batch, past, new positions; as many as there are queries. Raises UnreadableError."""
    shapes = [ground.shape(value) for value in (keys.past, values.past, keys.present, values.present)]
    scores = ground.shape(core.softmax.inputs[0])
    past, other, whole, same = shapes
    if past is None or whole is None or scores is None or past[AXIS] + scores[-2] != whole[AXIS]:
        raise UnreadableError(core.softmax, "has another number of queries than of new keys")
    if past[:3] != (other or ())[:3] or whole[:3] != (same or ())[:3] or past[0] != whole[0]:
        raise UnreadableError(core.softmax, "has values of other lengths than keys")
    return past[0], past[AXIS], scores[-2]
