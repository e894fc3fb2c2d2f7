"""Probe: each variant alone in its process: does it load, what memory does it take, what does it answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxfix.eval.figures.metrics import LogitDifference
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.inputs.workload import Arrays, Batch, Workload
from onnxfix.nouns.errors import spoken

from .progress import Progress, stretch
from .store import Store
from .trial import Answers, Difference, Trial
from .worker import Settings, VariantFailure, Worker


class Probe:
    """Probes the variants of one bench, the reference before all others, whose outputs `store` keeps.

    The reference is the first that works of: torch fp32, any torch, the first in order. Outputs are matched by name, by
    position where the names differ.
    """

    def __init__(
        self, workload: Workload, batches: Sequence[Batch], timed: Mapping[Point, Sequence[Batch]], settings: Settings
    ) -> None:
        self._workload, self._batches, self._settings = workload, batches, settings
        first, *others = timed
        # memory is stated for the first point; at the data's own lengths its longest rows may be in no timed batch
        self._first = _largest([*timed[first], *(batches if first.length is None else ())])
        sizes = {point: _largest(timed[point]) for point in others}
        self._point = max(sizes, key=lambda point: sizes[point].entries, default=None)
        self._most = sizes[self._point] if self._point is not None else self._first

    def run(self, trials: Sequence[Trial], store: Store, progress: Progress) -> None:
        """Fill in `opened`, `memory` and `answers`, or `failure`; what `store` knows already is not run again."""
        names = _output_names(trials, self._workload)
        reference = _Reference()
        for trial in sorted(trials, key=lambda t: t.variant.engine.rank):
            with stretch(progress, 1 + len(self._batches), trial.name) as tick:
                if not self._known(trial, reference, store):
                    if not reference.name:
                        store.drop_reference()
                    trial.failure = spoken(trial.variant.failure, self._settings.voice)
                    if not trial.failure:
                        tick(f"load {trial.name}")
                        self._measure(trial, names, reference, store, tick)
                    store.save(trial)
                if trial.answers and not reference.name:
                    reference = _Reference(trial.name, trial.variant.fingerprint())

    def _known(self, trial: Trial, reference: _Reference, store: Store) -> bool:
        """Whether all of the variant is known, against this reference. A failure is not: its cause may be gone."""
        if not store.load(trial):
            return False
        wanted = reference.fingerprint or trial.variant.fingerprint()
        if not trial.failure and trial.answers and trial.answers.reference_fingerprint == wanted:
            return True
        trial.forget()
        return False

    def _measure(self, trial: Trial, names: Sequence[str], reference: _Reference, store: Store, tick: Progress) -> None:
        worker: Worker | None = None
        step = "does not load"
        try:
            worker = Worker(trial.variant, self._settings)
            worker.ready()
            trial.opened = worker.open()
            step = "does not run"
            worker.warm(self._first.arrays)
            trial.memory = worker.memory()
            trial.answers = self._answers(trial, worker, names, reference, store, tick)
            self._reach(trial, worker)
        except (VariantFailure, ValueError) as failure:
            trial.failure = f"{step if isinstance(failure, VariantFailure) else 'wrong output'}: {failure}"
        finally:
            if worker is not None:
                worker.close()

    def _reach(self, trial: Trial, worker: Worker) -> None:
        """Whether the largest batch of the sweep can be run; a variant that cannot is timed at the other points."""
        assert trial.memory is not None
        try:
            if self._point is not None:
                worker.run(self._most.arrays)
            trial.memory = replace(trial.memory, largest_rss=worker.memory().peak_rss)
        except VariantFailure as failure:
            if self._point is not None:
                trial.missing[self._point] = f"does not run: {failure}"

    def _answers(
        self, trial: Trial, worker: Worker, names: Sequence[str], reference: _Reference, store: Store, tick: Progress
    ) -> Answers:
        names = names or list(store.reference(0) or ())
        differences: dict[str, LogitDifference] = {}
        heads: dict[str, list[NDArray[np.float32]]] = {}
        done = 0
        for number, batch in enumerate(self._batches):
            tick(f"outputs of {trial.name}")
            outputs = _renamed(worker.run(batch.arrays), names)
            if not reference.name:
                store.save_reference(number, outputs)
            expected = store.reference(number) if reference.name else outputs
            for name, array in (expected or {}).items():
                if name not in outputs:
                    raise VariantFailure(f"has no output '{name}' (its outputs: {', '.join(outputs)})")
                if array.dtype.kind == "f":
                    difference = differences.setdefault(name, LogitDifference())
                    difference.add(_unpadded(array, batch), _unpadded(outputs[name], batch))
            for name, array in outputs.items():
                if name in self._workload.gold and self._workload.gold[name].ndim == 2:
                    array = self._workload.labelled(name, array, done)
                elif not _is_head(name, array, self._workload, batch):
                    continue
                heads.setdefault(name, []).append(array.astype(np.float32))
            done += batch.rows
        return Answers(
            reference.name or trial.name,
            {name: np.concatenate(kept) for name, kept in heads.items()},
            {name: Difference(d.rel_l2, d.max_abs, d.nonfinite_rows) for name, d in differences.items()},
            reference.fingerprint or trial.variant.fingerprint(),
        )


@dataclass(frozen=True)
class _Reference:
    """The variant that others are compared with; no name before one worked."""

    name: str = ""
    fingerprint: str = ""


def _largest(batches: Sequence[Batch]) -> Batch:
    return max(batches, key=lambda batch: batch.entries)


def _output_names(trials: Sequence[Trial], workload: Workload) -> list[str]:
    """Output names of the first ONNX file that has all labelled heads: a torch module may not name its outputs."""
    heads = {*workload.classes, *workload.gold}
    if not heads:
        return []
    files = (trial.variant.file_outputs() for trial in trials)
    return next((names for names in files if heads <= set(names)), [])


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
