"""Does `onnxfix optimize --measure` choose what the full table would: `python benchmarks/measured_choice.py MODEL...
[--rounds 9] [--int8 dynamic]`.

Without a MODEL the bundled classifier is exported. Each recipe of every model is written by `onnxfix repair --recipe`,
and runs in a process of its own, on one thread, in rounds one after the other; a time is the CPU seconds of that
process. The batch is of 8 rows, from a tenth of 512 tokens to all of them, or of as many as the model takes. A choice
is right where it is the fastest of the table, or slower by no more than was measured between rounds. Ends with 1 where
one is not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, get_args

import numpy as np
import onnxruntime

import onnxfix
from onnxfix.flows.repair.fastest.names import Name

RECIPES: tuple[Name, ...] = get_args(Name)
ROWS, LENGTHS = 8, (512, 256, 128, 64, 32)
LEAST_S = 0.3
"""Of CPU time a measurement: the clock of a process goes in steps."""
SOURCE = "as it is"
Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Row:
    """Median seconds of a batch, and half of what the middle of the rounds spreads over, by the median."""

    name: str
    seconds: float
    spread: float


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def batch(path: Path) -> Arrays:
    """Inputs of the longest rows that the model takes."""
    opened, reason = session(path), ""
    for length in LENGTHS:
        lengths = np.linspace(length / 10, length, ROWS).astype(np.int64)
        mask = (np.arange(length)[None] < lengths[:, None]).astype(np.int64)
        ids = np.random.default_rng(0).integers(1, 100, mask.shape)
        every = {i.name: mask if "mask" in i.name else np.zeros_like(ids) if "type" in i.name else ids
                 for i in opened.get_inputs()}  # fmt: skip
        if "position_ids" in every:
            every["position_ids"] = np.broadcast_to(np.arange(length), ids.shape)
        try:
            opened.run(None, every)
        except Exception as error:  # the runtime's own, of many types: more tokens than positions
            reason = str(error)
            continue
        return every
    raise SystemExit(f"{path} takes none of our batches: {reason[:200]}")


def worker(path: Path, feed: Path) -> None:
    """Run as often as each line of the input says, and answer with the CPU seconds that it took."""
    opened, arrays = session(path), dict(np.load(feed))
    opened.run(None, arrays)
    for line in sys.stdin:
        begun = time.process_time()
        for _ in range(int(line)):
            opened.run(None, arrays)
        sys.stdout.write(f"{time.process_time() - begun}\n")
        sys.stdout.flush()


class Timed:
    """One file in a process of its own."""

    def __init__(self, path: Path, feed: Path) -> None:
        command = [sys.executable, __file__, "--worker", str(path), str(feed)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.runs = max(1, round(LEAST_S / max(self.seconds(1), 1e-4)))

    def seconds(self, runs: int = 0) -> float:
        """Of one batch."""
        asked = runs or self.runs
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{asked}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline()) / asked

    def close(self) -> None:
        self.process.communicate()


def table(files: Mapping[str, Path], arrays: Arrays, rounds: int, folder: Path) -> list[Row]:
    """All files in turns, the fastest first."""
    feed = folder / "batch.npz"
    np.savez(feed, **arrays)  # type: ignore[arg-type]
    timed = {name: Timed(path, feed) for name, path in files.items()}
    found: dict[str, list[float]] = {name: [] for name in files}
    for number in range(rounds):
        for name in list(timed)[:: 1 if number % 2 else -1]:
            found[name].append(timed[name].seconds())
    for each in timed.values():
        each.close()
    rows = []
    for name, times in found.items():
        low, high = np.quantile(times, [0.25, 0.75])
        rows.append(Row(name, median(times), float(high - low) / 2 / median(times)))
    return sorted(rows, key=lambda row: row.seconds)


def judged(path: Path, int8: str | None, rounds: int, folder: Path) -> bool:
    """Print the table of a model and what was chosen; whether that is right."""
    files: dict[str, Path] = {SOURCE: path}
    common: dict[str, Any] = {"target": "cpu", "precision": None if int8 else "fp32", "int8": int8, "force": True}
    for name in RECIPES:
        files[name] = folder / f"{name}.onnx"
        onnxfix.repair(path, output=files[name], recipe=name, verify=False, **common)
    chosen = folder / "chosen.onnx"
    done = onnxfix.optimize(path, output=chosen, measure=True, **{**common, "precision": None})
    said = next(note for note in map(str, done.outcome.notes) if "the fastest first: " in note)
    arrays = batch(path)
    rows = table({**files, "the choice": chosen}, arrays, rounds, folder)
    by_name = {row.name: row for row in rows}
    size = "x".join(map(str, next(iter(arrays.values())).shape))
    say(f"\n{path.name}, {int8 or 'fp32'}, {size}\n{'':<14}{'seconds':>10}{'speed':>8}{'spread':>8}")
    for row in rows:
        say(f"{row.name:<14}{row.seconds:10.4f}{by_name[SOURCE].seconds / row.seconds:8.2f}{row.spread:8.1%}")
    best = next(row for row in rows if row.name != "the choice")
    slower = by_name["the choice"].seconds / best.seconds - 1
    noise = best.spread + by_name["the choice"].spread
    right = slower <= noise
    say(f"optimize --measure: {said}")
    say(f"slower than {best.name} by {slower:.1%}, noise {noise:.1%}: {'right' if right else 'WRONG'}")
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--int8", choices=("dynamic", "weight-only"))
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    right = []
    with tempfile.TemporaryDirectory() as name:
        models = list(asked.models)
        if not models:
            from onnxfix.eval import demo

            models.append(Path(name) / "bundled.onnx")
            onnxfix.export(demo.CHECKPOINT, output=models[0])
        for number, path in enumerate(models):
            (folder := Path(name) / str(number)).mkdir()
            right.append(judged(path, asked.int8, asked.rounds, folder))
    say(f"\n{sum(right)} of {len(right)} choices right")
    return 0 if all(right) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(main())
