"""Quality of variants over the whole workload: logits against a reference, classes against gold labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .measure import Progress, Trial
from .metrics import Classes, LogitDifference
from .worker import VariantFailure
from .workload import Arrays, Batch, Workload


@dataclass
class Quality:
    """One variant's answers. `logits` maps an output to its difference from the reference variant."""

    reference: str
    logits: dict[str, LogitDifference] = field(default_factory=dict)
    _classes: dict[str, list[Classes]] = field(default_factory=dict)

    def predictions(self) -> dict[str, Classes]:
        """Head → predicted class numbers, shape (rows,)."""
        return {head: np.concatenate(parts) for head, parts in self._classes.items()}

    def add(self, outputs: Arrays, expected: Arrays, batch: Batch, heads: Sequence[str]) -> None:
        for name, array in expected.items():
            if name not in outputs:
                raise VariantFailure(f"has no output '{name}' (its outputs: {', '.join(outputs)})")
            if array.dtype.kind == "f":
                difference = self.logits.setdefault(name, LogitDifference())
                difference.add(_unpadded(array, batch), _unpadded(outputs[name], batch))
        for head in heads:
            self._classes.setdefault(head, []).append(np.argmax(outputs[head], axis=1).astype(np.int64))


def measure_quality(trials: Sequence[Trial], workload: Workload, batches: Sequence[Batch], progress: Progress) -> None:
    """Run every live trial on every batch and set its `quality`.

    The reference is the first live one of: torch fp32, any torch, the first in order. Should it fail half way, all is
    measured again against the next. Outputs are matched by name, by position where the names differ.
    """
    while live := [trial for trial in trials if trial.alive]:
        reference, names = reference_trial(live), _names(live, workload)
        for trial in live:
            trial.quality = Quality(reference.variant.name)
        for number, batch in enumerate(batches):
            progress(f"outputs of batch {number + 1} of {len(batches)}")
            _compare(reference, [trial for trial in live if trial.alive], names, workload, batch)
            if not reference.alive:
                break
        if reference.alive:
            return


def reference_trial(live: Sequence[Trial]) -> Trial:
    """Torch fp32 before any other torch before the rest; the order given decides among equals."""
    return min(live, key=lambda t: (not t.variant.is_fp32_torch, t.variant.kind != "torch"))


def _names(live: Sequence[Trial], workload: Workload) -> list[str]:
    """Output names of the first variant that has all labelled heads: a torch module may not name its outputs."""
    named = [trial.opened.output_names for trial in live if trial.opened]
    heads = {*workload.classes, *workload.gold}
    return next((names for names in named if heads <= set(names)), named[0])


def _compare(reference: Trial, live: Sequence[Trial], names: Sequence[str], workload: Workload, batch: Batch) -> None:
    expected: Arrays = {}
    heads: list[str] = []
    for trial in sorted(live, key=lambda t: t is not reference):
        try:
            assert trial.worker is not None and trial.quality is not None
            outputs = _renamed(trial.worker.run(batch.arrays), names)
            if trial is reference:
                expected, heads = outputs, [n for n, a in outputs.items() if _is_head(n, a, workload, batch)]
            trial.quality.add(outputs, expected, batch, heads)
        except (VariantFailure, ValueError) as failure:
            trial.fail(
                f"does not run: {failure}" if isinstance(failure, VariantFailure) else f"wrong output: {failure}"
            )
        if not reference.alive:
            return


def _is_head(name: str, array: NDArray[Any], workload: Workload, batch: Batch) -> bool:
    """(rows, classes ≥ 2) and known to hold logits; the largest entry of an embedding says nothing."""
    known = name in workload.classes or name in workload.gold or "logit" in name
    return known and array.ndim == 2 and array.shape[0] == batch.rows and array.shape[1] > 1


def _renamed(outputs: Arrays, names: Sequence[str]) -> Arrays:
    """By position, where names differ and the number is the same."""
    if set(outputs) >= set(names) or len(outputs) != len(names):
        return outputs
    return dict(zip(names, outputs.values(), strict=True))


def _unpadded(array: NDArray[Any], batch: Batch) -> NDArray[Any]:
    """Outputs a token without those of padding, which runtimes may fill as they like; others as they are."""
    mask = batch.arrays.get("attention_mask")
    if mask is None or mask.ndim != 2 or array.shape[:2] != mask.shape:
        return array
    kept: NDArray[Any] = array[mask != 0]
    return kept
