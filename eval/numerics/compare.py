"""Compare two runners output by output on the same feeds.

What a model makes of padding is nobody's business but the attention mask's: a query that may see no key at all averages
them evenly in fp32, where finfo.min swallows the scores, and not in half, where -65,504 does not. `valid_only` leaves
such positions out of the error; NaN and infinities count everywhere, since pooling multiplies them by zero and sums.

Draws, which are many and small, make one difference an output: their largest relative error, or the root mean square
of all. Of integers the error varies with the row, by its nature.

A mask may be an output, as that of a layer cut out of its model is: its "never" of -3.4e38 is a smaller number in half
precision, or -inf. With `masks` an entry that hides in both is no difference.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxfix.eval.inputs.feeds import CACHE_AXIS, CACHE_RANK, Feed
from onnxfix.eval.inputs.paddings import mask_name
from onnxfix.eval.run.runners import Runner
from onnxfix.nouns.comparison import Comparison, OutputDifference
from onnxfix.surgery.sites.half.half_types import LARGEST_SCALE

Array = np.ndarray[Any, Any]
# A drawn output counts as at least so much of its size in all draws: one number that happens to be near 0 has no
# relative error of its own.
LEAST_SIZE = 0.25
# What hides once -16,384 stands for it, with a score beside it; -3.4e38 and the like before that.
HIDES, NEVER = -8192.0, -LARGEST_SCALE


def compare(
    reference: Runner,
    candidate: Runner,
    feeds: Iterable[Feed],
    *,
    how: str = "",
    valid_only: bool = False,
    mean: bool = False,
    masks: bool = False,
    of_tokens: Container[str] = (),
    whole: Container[str] = (),
) -> Comparison:
    """Run both on every feed and measure every output of the reference, matched by name.

    An output the candidate lacks counts as a shape mismatch. `mean`: of draws the root mean square. `masks`: what hides
    in both is no difference. `of_tokens`: outputs [batch, sequence] that are one number a token: any others of that
    shape may be of a row, and are compared whole, as are those of `whole`, whose tokens the mask says nothing of.
    Raises what a runner raises (`RunFailure`).
    """
    every = list(feeds)
    differences: list[OutputDifference] = []
    for feed in (feed for feed in every if not feed.drawn):
        expected = reference.run(feed.arrays)
        actual = candidate.run(feed.arrays)
        mask = mask_of(feed) if valid_only else None
        differences.extend(_differences(feed, expected, actual, mask, masks, of_tokens, whole))
    differences.extend(_of_draws(reference, candidate, [feed for feed in every if feed.drawn], mean, masks))
    return Comparison(reference.name, candidate.name, tuple(differences), how)


def _differences(
    feed: Feed,
    expected: Mapping[str, Array],
    actual: Mapping[str, Array],
    mask: Array | None,
    masks: bool,
    of_tokens: Container[str],
    whole: Container[str],
) -> Iterator[OutputDifference]:
    for name, value in expected.items():
        rows, found = feed.rows.get(name), actual.get(name)
        if rows is None or found is None or found.shape != value.shape:
            valid = None if mask is None or name in whole else _of_output(mask, value, cached(feed))
            valid = valid if value.ndim > 2 or name in of_tokens else None
            yield difference(feed.name, name, value, found, valid, masks=masks, gold=feed.gold.get(name))
        elif rows.any():
            yield difference(feed.name, name, value[rows], found[rows], masks=masks)


def _of_draws(
    reference: Runner, candidate: Runner, draws: Sequence[Feed], mean: bool, masks: bool
) -> list[OutputDifference]:
    """One difference an output over all draws."""
    expected = [reference.run(feed.arrays) for feed in draws]
    actual = [candidate.run(feed.arrays) for feed in draws]
    found = []
    for name in expected[0] if expected else ():
        least = LEAST_SIZE * _size([answer[name] for answer in expected], masks)
        pairs = zip(draws, expected, actual, strict=True)
        each = [difference(f.name, name, e[name], a.get(name), least=least, masks=masks) for f, e, a in pairs]
        found.append(_joined(each, mean))
    return found


def _size(arrays: Sequence[Array], masks: bool) -> float:
    """The root mean square of the finite entries of numbers."""
    flat = [_as_float(array).ravel() for array in arrays if array.dtype.kind not in "OSU"]
    entries = np.concatenate(flat) if flat else np.zeros(0)
    entries = entries[np.isfinite(entries) & ~(masks & (entries <= NEVER))]
    return float(np.sqrt(np.mean(np.square(entries)))) if entries.size else 0.0


def _joined(each: Sequence[OutputDifference], mean: bool) -> OutputDifference:
    """The differences of an output on all draws as one, which speaks of the worst of them."""
    worst = max(each, key=lambda d: (bool(d.shape_mismatch), d.new_nonfinite, d.rel_l2))
    return replace(
        worst,
        draws=len(each),
        rel_l2=float(np.sqrt(np.mean(np.square([d.rel_l2 for d in each])))) if mean else worst.rel_l2,
        max_abs=max(d.max_abs for d in each),
        identical=all(d.identical for d in each),
        new_nonfinite=sum(d.new_nonfinite for d in each),
        compared=sum(d.compared for d in each),
        cosine=float(np.nanmean(cosines)) if not np.isnan(cosines := [d.cosine for d in each]).all() else math.nan,
        nan=sum(d.nan for d in each),
        argmax_agreement=_mean([d.argmax_agreement for d in each]),
        macro_f1=_mean([d.macro_f1 for d in each]),
        choices=sum((Counter(d.choices) for d in each), Counter()),
    )


def _mean(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return float(np.mean(known)) if known else None


def mask_of(feed: Feed) -> Array | None:
    """The attention mask of a feed, (batch, sequence), True where there is a token; of one that says which key a query
    sees, as a layer cut out of its model gets, True where there is any."""
    if name := mask_name(feed):
        return np.asarray(feed.arrays[name] != 0)
    seen = next((a for a in feed.arrays.values() if a.ndim == 4 and a.shape[1] == 1 and _is_of_keys(a)), None)
    if seen is None:
        return None
    visible: Array = np.asarray((seen if seen.dtype.kind == "b" else seen > NEVER)[:, 0].any(axis=-1))
    return visible


def _is_of_keys(array: Array) -> bool:
    """Booleans, or numbers of which each is nothing or hides."""
    if array.dtype.kind == "b":
        return True
    return array.dtype.kind == "f" and bool(((array == 0) | (array <= NEVER)).all()) and bool((array <= NEVER).any())


def cached(feed: Feed) -> int | None:
    """How many positions the keys and values of a decoder's cache have; None without one."""
    wide = [a for a in feed.arrays.values() if a.ndim == CACHE_RANK and a.dtype.kind == "f" and not _is_of_keys(a)]
    lengths = {array.shape[CACHE_AXIS] for array in wide}
    return lengths.pop() if len(wide) > 1 and len(lengths) == 1 else None


def valid(feed: Feed, output: Array) -> Array | None:
    """The positions of an output that are no padding, along its first axes; None where a feed has no mask."""
    mask = mask_of(feed)
    return None if mask is None else _of_output(mask, output, cached(feed))


def _of_output(mask: Array, output: Array, past: int | None) -> Array:
    """The mask of cache and tokens for an output that has the tokens alone, and for a cache behind its heads."""
    if past is None or not output.ndim or len(mask) != len(output):  # of queries and keys, and not of rows
        return mask
    if output.ndim == CACHE_RANK and output.shape[CACHE_AXIS] == mask.shape[1]:
        return np.broadcast_to(mask[:, None], output.shape[:-1])
    if output.ndim > 2 and output.shape[:2] == (len(mask), mask.shape[1] - past):
        return mask[:, past:]
    return mask


def difference(
    feed: str,
    output: str,
    reference: Array,
    candidate: Array | None,
    mask: Array | None = None,
    *,
    least: float = 0.0,
    masks: bool = False,
    gold: Array | None = None,
) -> OutputDifference:
    """Measure one output. `identical` wants equal dtype and values; NaN equals NaN, infinities by sign.

    `rel_l2` and `max_abs` are over entries finite in both; when the reference is all zeros `rel_l2` is the plain norm
    of the difference. Integers and booleans are measured the same way, in float64. With a `mask` of the output's
    first axes they are over its true positions. `least`: an entry's size that the reference counts as at least.
    `gold`: class numbers of the output's shape without its last axis, -1 for no label.
    """
    if candidate is None or candidate.shape != reference.shape:
        found = "no such output" if candidate is None else str(candidate.shape)
        text = f"reference {reference.shape}, candidate {found}"
        return OutputDifference(feed, output, reference.shape, math.nan, math.nan, False, 0, 0, shape_mismatch=text)
    if reference.dtype.kind in "OSU":
        expected, actual = _codes(reference, candidate)
    else:
        expected, actual = _as_float(reference), _as_float(candidate)
    finite = np.isfinite(expected)
    if masks:
        finite &= (expected > NEVER) | ~(actual <= HIDES)
    lost = int(np.count_nonzero(finite & ~np.isfinite(actual)))
    if mask is not None and reference.ndim >= mask.ndim and reference.shape[: mask.ndim] == mask.shape:
        finite &= mask.reshape(*mask.shape, *([1] * (reference.ndim - mask.ndim)))
    both = finite & np.isfinite(actual)
    delta = actual[both] - expected[both]
    scale = max(float(np.linalg.norm(expected[finite])), least * math.sqrt(np.count_nonzero(finite)))
    norm = float(np.linalg.norm(delta))
    wanted, chosen, known = _choices(expected, actual, both)
    return OutputDifference(
        feed=feed,
        output=output,
        shape=reference.shape,
        rel_l2=norm / scale if scale else norm,
        max_abs=float(np.max(np.abs(delta), initial=0.0)),
        identical=reference.dtype == candidate.dtype and _equal(reference, candidate),
        new_nonfinite=lost,
        compared=int(np.count_nonzero(both)),
        cosine=_cosine(expected[both], actual[both]),
        nan=int(np.count_nonzero(np.isnan(actual))),
        argmax_agreement=float((wanted == chosen).mean()) if len(wanted) else None,
        macro_f1=_macro_f1(wanted, chosen) if len(wanted) else None,
        choices=_counted(_labels(gold, known), wanted, chosen),
    )


def _cosine(expected: Array, actual: Array) -> float:
    norms = float(np.linalg.norm(expected)) * float(np.linalg.norm(actual))
    return float(np.dot(expected, actual)) / norms if norms else math.nan


def _choices(expected: Array, actual: Array, both: Array) -> tuple[Array, Array, Array]:
    """Largest entry of the last axis in each row that is finite in both, and compared, of the reference and of the
    candidate; and which rows these are. None of an output that has no rows of two entries or more."""
    if expected.ndim < 2 or expected.shape[-1] < 2 or not expected.size:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, np.zeros(expected.shape[:-1], np.bool_)
    whole: Array = np.asarray(both.all(axis=-1))
    return expected.argmax(axis=-1)[whole], actual.argmax(axis=-1)[whole], whole


def _labels(gold: Array | None, rows: Array) -> Array:
    known = gold is not None and gold.shape == rows.shape
    return gold[rows] if gold is not None and known else np.full(np.count_nonzero(rows), -1)


def _counted(*columns: Array) -> dict[tuple[int, int, int], int]:
    """How often each row of three columns occurs."""
    found, counts = np.unique(np.stack(columns), axis=1, return_counts=True)
    return {(int(a), int(b), int(c)): int(n) for a, b, c, n in zip(*found, counts, strict=True)}


def _macro_f1(wanted: Array, found: Array) -> float:
    classes = np.unique(wanted)
    hits = [np.count_nonzero((wanted == c) & (found == c)) for c in classes]
    sizes = [np.count_nonzero(wanted == c) + np.count_nonzero(found == c) for c in classes]
    return float(np.mean([2 * hit / size for hit, size in zip(hits, sizes, strict=True)]))


def _codes(reference: Array, candidate: Array) -> tuple[Array, Array]:
    """Strings as numbers, the same for the same string: a different one is all the difference that there is."""
    both = np.concatenate([np.ravel(reference), np.ravel(candidate)]).astype(str)
    numbers = np.unique(both, return_inverse=True)[1].astype(np.float64)
    return numbers[: reference.size].reshape(reference.shape), numbers[reference.size :].reshape(candidate.shape)


def _as_float(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind != "c" else np.abs(array).astype(np.float64)


def _equal(reference: Array, candidate: Array) -> bool:
    if reference.dtype.kind in "biuSUO":  # exact kinds: float64 would merge int64 values beyond 2**53
        return bool(np.array_equal(reference, candidate))
    return bool(np.array_equal(_as_float(reference), _as_float(candidate), equal_nan=True))
