"""Packed inputs: a result that takes tokens one behind the other, held against a source that takes batches of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.surgery.sites.tokens.packed import interface, packing
from onnxfix.surgery.sites.tokens.packed.packing import Packing

from .verification import Verification
from .words import in_figures

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.eval.run.packed_runner import Real
    from onnxfix.eval.run.runners import Array, Runner


def verified(site: Packing | None, result: Model, held: Verification) -> tuple[tuple[Comparison, ...], str]:
    """What `result` errs by, which has such inputs where a graph packs tokens at `site`, also in words: on those feeds
    of a verification whose rows have their tokens in front. Raises OnnxfixError."""
    found = interface.find(result)
    mask = packing.given(site.mask) if site is not None else None
    assert site is not None and mask is not None and found is not None, "attempts.packed has required it"
    name = str(mask.name)
    feeds = [feed for feed in (*held.feeds, *held.draws) if _is_packable(feed, name, site)]
    if not feeds:
        raise OnnxfixError(
            f"{arg('packed_inputs', True)}: no feed has rows that begin with their first token",
            f"give such with {arg('feeds', 'FILE.npz')}; nothing was written",
        )

    def of_rows(runner: Runner) -> Runner:
        from onnxfix.eval.run.packed_runner import PackedRunner, Packer

        return PackedRunner(runner, Packer(found, name, runner.name, lambda array: _real(array, site)))

    with held.presented(of_rows, feeds):
        compared = (*((held.emulated(result),) if held.check.half else ()), *held.on_cpu(result))
    wrong = next((comparison for comparison in compared if not held.check.allows(comparison)), None)
    if wrong is not None:
        raise OnnxfixError(
            f"with packed inputs the model differs from the source by {in_figures(wrong, held.check.metric)}",
            f"nothing was written; please report this, and leave out {arg('packed_inputs')}",
        )
    return compared, f"; with packed inputs on {plural(len(feeds), 'feed')} of these{_words(compared)}"


def _is_packable(feed: Feed, mask: str, site: Packing) -> bool:
    from onnxfix.eval.run.packed_runner import is_from_the_left

    return mask in feed.arrays and is_from_the_left(_real(feed.arrays[mask], site))


def _real(array: Array, site: Packing) -> Real:
    if site.shown == "not 0":
        return np.asarray(array != 0)
    return np.asarray(array == 1 if site.shown == "1" else array > 0)


def _words(comparisons: Sequence[Comparison]) -> str:
    if all(comparison.identical for comparison in comparisons):
        return ", identical"
    return f" by at most {max(comparison.rel_l2 for comparison in comparisons):.1e}"
