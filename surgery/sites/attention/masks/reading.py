"""What a mask means, by computing it: its cone is cut out and run on paddings and lengths that tell masks apart.

Exporters write one mask in dozens of ways (Where, Expand, And, Range, CumSum, Trilu, GatherND, ScatterND, Slices of a
stored triangle), so that no pattern would know them all. A meaning is given where every entry that was computed has
it, and refused with the first entry that has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.input_roles import role

from . import biases, numbers, rows
from .computed import lengths
from .computed.observed import Observed
from .computed.observing import Observer
from .mask import Bias, Mask, Positions, RefusedError
from .seen import Contradiction, Fit, fit


def read(observer: Observer) -> Mask:
    """The meaning. Raises RefusedError where it has none of those that kernels have."""
    padding = _padding(observer)
    padded = padding is not None
    observed = lengths.observed(observer, padded)
    if padded and not observer.inverted and _shows_nothing(observed):
        return read(replace(observer, inverted=True))
    _require_same_gain(observer, observed)
    found, bias = _fitted(observer, observed, padded)
    sides = (found.interval.left, found.interval.right)
    reach = max((abs(side) for side in sides if side), default=0)
    if reach:  # once more well beyond it, where holes tell indices from counts
        observed += lengths.beyond(observer, padded, reach, observed)
        found, bias = _fitted(observer, observed, padded)
        sides = (found.interval.left, found.interval.right)
    if any(each.free for each in observed) and sides != (None, None):
        raise RefusedError(observer.node, "limits distances of queries that are other tokens than the keys")
    if any(side is not None and side < 0 for side in sides):
        raise RefusedError(observer.node, "hides from queries their own key")
    shown = numbers.shown(observer, observed, found) if padded else "not 0"
    causal = sides[1] == 0
    longest = max(each.sample.mask.shape[1] for each in observed)
    return Mask(
        padding=padding if found.padded else None,
        inverted=found.padded and observer.inverted,
        shown=shown if found.padded else "not 0",
        causal=causal,
        band=None if sides[0] is None and (causal or sides[1] is None) else sides,
        bias=bias,
        positions=found.positions,
        hidden=rows.hidden(observed),
        empty_row=rows.empty(observed, observer),
        padded_rows=rows.padded(observed, found),
        sources=observer.cone.sources,
        longest=longest if bias is None or bias.relative else min(longest, biases.LARGEST_TABLE),
        untried=lengths.untried(observer, longest, None not in sides or bias is not None),
    )


def _shows_nothing(observed: Sequence[Observed]) -> bool:
    """Whether nobody sees anything where nothing is padding."""
    full = [each for each in observed if each.sample.mask.all()]
    return bool(full) and not any(each.seen.any() for each in full)


def _padding(observer: Observer) -> ir.Value | None:
    given = [value for value in observer.cone.sources if role(value) != "position"]
    if len(given) > 1:
        names = " and ".join(sorted(str(value.name) for value in given))
        raise RefusedError(observer.node, f"is made of two inputs, {names}")
    return given[0] if given else None


def _fitted(observer: Observer, observed: Sequence[Observed], padded: bool) -> tuple[Fit, Bias | None]:
    """The first way that explains every entry; the first entry that the first way does not, where none does."""
    ways: list[tuple[bool, Positions]] = [(padded, "index")]
    ways += [(True, "count"), (False, "index")] if padded else []
    if any(role(value) == "position" for value in observer.cone.sources):
        ways.append((padded, "input"))
    first: Contradiction | None = None
    for with_padding, positions in ways:
        found = fit(observed, with_padding, positions)
        bias = biases.fit(observed, found) if found.wrong is None else found.wrong
        if not isinstance(bias, Contradiction):
            return found, bias
        first = first or bias
    raise RefusedError(observer.node, f"is no padding, causal mask, band or bias by position: {first}")


def _require_same_gain(observer: Observer, observed: Sequence[Observed]) -> None:
    """Scores that are seen must all be changed alike by the path."""
    for each in rows.small(observed) if observer.cone.leaves else ():
        seen = np.broadcast_to(each.seen, each.scores.shape) & each.valid[:, None, :, None]
        gained = (observer.run(each.sample, 1.0)[0][seen] - each.scores[seen]).astype(np.float64)
        rounding = 4 * observer.precision * np.abs(each.scores[seen], dtype=np.float64).max(initial=1.0)
        if gained.size and (not gained.any() or np.ptp(gained) > 1e-3 * np.abs(gained).max() + rounding):
            raise RefusedError(observer.node, "changes some of the scores that are seen, and others not")
