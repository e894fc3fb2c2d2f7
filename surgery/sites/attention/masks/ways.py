"""Ways in which numbers of a padding input may say what is real, held against what was computed of some."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.sites.constants import Array

from .computed import samples
from .computed.observed import Observed
from .mask import Shown, is_shown
from .seen import Fit

ALL: tuple[Shown, ...] = ("not 0", "above 0", "1")


def holds(way: Shown, made: Observed, found: Fit, numbers: Array) -> bool:
    """Whether these numbers [keys] show and hide in this way what `found` says of 0 and 1."""
    return _are_shown(made, found, numbers) if way == ALL[0] else _hides_others(made, found, is_shown(numbers, way))


def _as(made: Observed, real: Array) -> Observed:
    """The same with a padding of 0 and 1 in the place of numbers."""
    return replace(made, sample=samples.numbered(made.sample, real.astype(np.int64)))


def _are_shown(made: Observed, found: Fit, numbers: Array) -> bool:
    """Whether each number is as good as 1. Where tokens are counted, one of number 2 may count for two."""
    seen = made.seen[:, 0]
    return np.array_equal(seen, found.predicted(_as(made, numbers != 0))) or (
        found.positions == "count" and np.array_equal(seen, found.predicted(made))
    )


def _hides_others(made: Observed, found: Fit, real: Array) -> bool:
    """Whether what is not real is as padding: no real query sees it, and what it sees itself is no choice of keys."""
    seen, padding = made.seen[:, 0], _as(made, real)
    predicted = found.predicted(padding)
    alike = (seen == predicted).all(axis=-1)
    plain = seen.all(axis=-1) | ~seen.any(axis=-1) | (seen == found.predicted(_as(made, real | True))).all(axis=-1)
    return bool((alike | (plain & ~padding.valid)).all())


def apart(source: ir.Value, made: Observed, found: Fit, numbers: Array) -> str:
    """In words, where none does: two numbers that are told apart."""
    seen, all_seen = made.seen[:, 0], found.predicted(_as(made, numbers != 0))
    own = np.ones(len(made.rows), np.int64) if made.free else numbers[made.rows]
    if np.array_equal(seen, all_seen & (numbers[None, :] == own[:, None])):
        return f"separates the texts that {source.name} numbers"
    changed = np.argwhere(seen != all_seen)
    apart = [sorted((own[at].item(), numbers[key].item())) for _, at, key in changed.tolist()]
    apart += [[1, numbers.max().item()]]  # where others were hidden, and these are not
    one, other = next((pair for pair in apart if pair[0] != pair[1]), apart[0])
    return f"tells tokens of number {one:g} and {other:g} apart ({source.name})"
