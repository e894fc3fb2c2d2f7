"""Store: what a bench has measured so far, one file a variant, so that an interrupted one goes on where it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxfix.eval.figures.metrics import NO_LABEL
from onnxfix.eval.inputs.workload import Arrays, Workload
from onnxfix.eval.run.machine import machine
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import staged

from .course import Course
from .trial import Trial
from .variant import Variant

FOLDER = "parts"
# At most this much of the reference's outputs is kept: all of a classifier's, the first batches of a language model's.
KEPT_BYTES = 512_000_000


class Store:
    """Files in `folder`/parts. `settings`: what figures depend on beside the variant, as JSON.

    With `resume` those of a bench of the same settings are taken up; else they are removed. Raises OnnxfixError when
    they are of a bench of other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, resume: bool = False) -> None:
        self.folder = folder / FOLDER
        record = self.folder / "bench.json"
        text = json.dumps(settings, indent=1, sort_keys=True)
        if resume and record.exists():
            if differing := _differing(json.loads(record.read_text(encoding="utf-8")), json.loads(text)):
                raise OnnxfixError(
                    f"the bench in {folder} was started with another {differing}",
                    f"leave {arg('resume')} out, or give another {arg('output')}",
                )
            return
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            record.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OnnxfixError(
                f"cannot write to {folder}: {error.strerror}", f"give another {arg('output')}"
            ) from error

    def load(self, trial: Trial) -> bool:
        """Fill in what is known of the trial's variant; False where nothing is, or the file changed since."""
        path = self._path(trial.variant)
        if not path.exists():
            return False
        with np.load(path) as stored:
            record = json.loads(str(stored["record"]))
            heads = {name.removeprefix("head:"): stored[name] for name in stored if name.startswith("head:")}
        if record["fingerprint"] != trial.variant.fingerprint():
            return False
        trial.restore(record["trial"], heads)
        return True

    def save(self, trial: Trial) -> None:
        record = {"variant": trial.name, "fingerprint": trial.variant.fingerprint(), "trial": trial.as_dict()}
        heads = trial.answers.heads if trial.answers else {}
        arrays: dict[str, Any] = {f"head:{name}": logits for name, logits in heads.items()}
        self._write(self._path(trial.variant), arrays | {"record": np.array(json.dumps(record))})

    def save_reference(self, batch: int, outputs: Arrays) -> None:
        """Outputs of the reference on one batch, while there is room for them."""
        used = sum(path.stat().st_size for path in self.folder.glob("reference.*.npz"))
        if batch == 0 or used + sum(array.nbytes for array in outputs.values()) <= KEPT_BYTES:
            self._write(self._reference(batch), {f"output:{name}": array for name, array in outputs.items()})

    def reference(self, batch: int) -> Arrays | None:
        """Outputs of the reference in their order; None where they were not kept."""
        path = self._reference(batch)
        if not path.exists():
            return None
        with np.load(path) as stored:
            return {name.removeprefix("output:"): stored[name] for name in stored}

    def drop_reference(self) -> None:
        for path in self.folder.glob("reference.*.npz"):
            path.unlink()

    def _reference(self, batch: int) -> Path:
        return self.folder / f"reference.{batch}.npz"

    def _path(self, variant: Variant) -> Path:
        return self.folder / f"{hashlib.sha256(variant.name.encode()).hexdigest()[:16]}.npz"

    def _write(self, path: Path, arrays: Mapping[str, Any]) -> None:
        with staged(self.folder) as stage:
            with (stage / path.name).open("wb") as file:
                np.savez(file, **arrays)
            (stage / path.name).replace(path)


def settings(workload: Workload, course: Course) -> dict[str, Any]:
    """What the figures of a bench depend on beside its variants."""
    digest = hashlib.sha256(f"{workload.description} {dict(workload.padding)} {workload.pad_left}".encode())
    for batch in (*workload.rows, *(fixed.arrays for fixed in workload.fixed)):
        for name, array in batch.items():
            digest.update(name.encode() + str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    for gold in workload.gold.values():  # which tokens have labels decides which logits are kept
        digest.update((gold != NO_LABEL).tobytes() if gold.ndim == 2 else b"")
    return {
        "data": digest.hexdigest(),
        "batch and length": [str(point) for point in course.points],
        "number of rounds": course.rounds,
        "provider": course.provider,
        "number of threads": course.threads,
        "baseline": course.baseline,
        "labels": sorted(workload.gold),
        "machine or version of a package": machine(course.provider),
    }


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return next((name for name in now if before.get(name) != now[name]), "")
