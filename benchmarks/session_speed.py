"""What sorting by length is worth: `python benchmarks/session_speed.py [MODEL ...] [--rows 512] [--rounds 5]`.

Texts of the bundled data in a shuffled order, tokenised before, by `onnxfix.Session` and by ONNX Runtime alone on
batches of a fixed number of rows, each padded to its longest: as they come, and sorted by length by hand. All in turns,
in one process; a time is that of all rows. Without a MODEL it is the bundled one, exported, and the same with its
tokens packed (pass pack-tokens). Ends with 0 when the session is faster than batches as they come on every model, else
with 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

import onnxfix
from onnxfix.eval.demo import CHECKPOINT, HOLDOUT
from onnxfix.eval.inputs.text_workload import load_workload
from onnxfix.eval.inputs.workload import Workload, bucketed, with_defaults
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.export.run import export
from onnxfix.export.spec import ExportSpec
from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.pack_tokens import PackTokens

Answers = dict[str, np.ndarray]
"""Output name → [rows, …]."""


def bundled(folder: Path) -> list[Path]:
    """The bundled model's export, and the same with its tokens packed."""
    plain, packed = folder / "model.onnx", folder / "model.packed.onnx"
    export(ExportSpec(CHECKPOINT, plain, exporter="legacy"))
    model = Model.open(plain)
    graph_pass.run(PackTokens(), model)
    model.save(packed)
    return [plain, packed]


def workload(rows: int) -> Workload:
    texts = pl.read_parquet(HOLDOUT).head(rows).sample(fraction=1.0, shuffle=True, seed=0)
    return load_workload(texts, checkpoint=CHECKPOINT)


def fixed(runner: OrtRunner, rows: Workload, size: int) -> Callable[[], Answers]:
    """Batches of `size` rows, as they stand in the workload."""
    names = {each.name for each in runner.session.get_inputs()}
    batches = [{n: a for n, a in batch.arrays.items() if n in names} for batch in rows.batches(size)]

    def call() -> Answers:
        found = [runner.run(batch) for batch in batches]
        return {name: np.concatenate([each[name] for each in found]) for name in runner.output_names}

    return call


def measured(path: Path, rows: Workload, given: argparse.Namespace) -> tuple[dict[str, list[float]], float]:
    """Seconds of every round by the name of the way, and the largest difference of a result."""
    session = onnxfix.Session(path, threads=given.threads)
    runner = OrtRunner(path, threads=given.threads)
    ids = [row["input_ids"] for row in rows.rows]
    ordered = with_defaults(bucketed(rows), session.run_tokens(ids[:1]))
    ways: dict[str, Callable[[], Answers]] = {"Session": lambda: session.run_tokens(ids)}  # type: ignore[dict-item,return-value]
    for size in given.batch:
        ways[f"{size} rows, padded"] = fixed(runner, rows, size)
        ways[f"{size} rows, sorted"] = fixed(runner, ordered, size)
    answers = {name: call() for name, call in ways.items()}
    alike = [name for name in ways if "sorted" not in name]  # the others are in another order
    worst = max(
        float(np.abs(answers[name][output] - answers["Session"][output]).max())
        for name in alike for output in answers["Session"]
    )  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(given.rounds):
        names = list(ways)
        for name in [*names[number % len(names) :], *names[: number % len(names)]]:
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    session.close()
    runner.close()
    return seconds, worst


def times(seconds: dict[str, list[float]], name: str) -> float:
    """The session's speed by that of another way, the median over rounds."""
    return median(theirs / ours for theirs, ours in zip(seconds[name], seconds["Session"], strict=True))


def table(seconds: dict[str, list[float]], rows: int) -> str:
    width = max(map(len, seconds))
    lines = [f"{'':{width}}{'ms a row':>10}{'least':>8}{'Session is':>12}"]
    for name, found in seconds.items():
        middle, least = (1000 * seconds_a_run / rows for seconds_a_run in (median(found), min(found)))
        lines.append(f"{name:{width}}{middle:10.2f}{least:8.2f}{times(seconds, name):10.2f} x")
    return "\n".join(lines)


def main(typed: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, help="that take the bundled tokenizer's ids")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="default: the runtime's own choice")
    given = parser.parse_args(typed)
    if min(given.rows, given.rounds, *given.batch) < 1:
        parser.error("--rows, --batch and --rounds are 1 or more")
    rows = workload(given.rows)
    lengths = [len(row["input_ids"]) for row in rows.rows]
    ends = []
    with tempfile.TemporaryDirectory(prefix="session-speed-") as folder:
        for path in given.models or bundled(Path(folder)):
            seconds, worst = measured(path, rows, given)
            met = all(times(seconds, name) > 1 for name in seconds if name.endswith("padded"))
            ends.append(not met)
            sys.stdout.write(f"{path.name}\n{table(seconds, len(lengths))}\n")
            said = "met" if met else "missed"
            sys.stdout.write(f"largest difference of a result: {worst:.1e}; faster than padded batches: {said}\n\n")
    counted = f"{len(lengths)} rows of {min(lengths)} to {max(lengths)} tokens, {sum(lengths):,} in all"
    sys.stdout.write(f"{counted}; {given.rounds} rounds; load {os.getloadavg()[0]:.1f}\n")
    return int(any(ends))


if __name__ == "__main__":
    sys.exit(main())
