"""Runs commands on mutants and counts what came of them: `python -m fuzz.campaign -n 20000 --seed 1`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.mutations import mutated, parses
from fuzz.seeds import seeds

WORKER = "fuzz.worker"
DEADLINE_S = 60.0
MOST_BYTES = 2 << 30
DIAGNOSE = ("diagnose", "{}", "--format", "json")
REPAIRS = (
    ("repair", "{}", "--precision", "fp32", "--no-verify", "--dry-run", "--format", "json"),
    ("repair", "{}", "--precision", "fp16", "--dry-run", "--format", "json"),
    ("diagnose", "{}", "--target", "cpu"),
    ("diff", "{}", "{}", "--format", "json"),
)
OFTEN = 20
"""One in so many inputs is repaired, or diagnosed for another target, besides."""


@dataclass
class Result:
    """Counts by outcome, and what is wrong by what it is, with one input for each."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: dict[str, int] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        return not self.wrong

    def table(self) -> str:
        lines = [f"{count:8,}  {outcome}" for outcome, count in sorted(self.counts.items())]
        lines += [f"{count:8,}  {what}  (input {self.examples[what]})" for what, count in self.wrong.most_common()]
        return "\n".join(lines)


class Worker:
    """The process; started anew after a crash, a hang and one that took too much memory."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, arguments: list[str], deadline_s: float = DEADLINE_S) -> dict[str, str]:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(arguments) + "\n")
        process.stdin.flush()
        until = time.monotonic() + deadline_s
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            while not waiting.select(1.0):
                if time.monotonic() > until:
                    self.close()
                    return {"outcome": "hang", "what": f"{arguments[0]} did not end within {deadline_s:g} s"}
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self.close()
            return {"outcome": "crash", "what": f"{arguments[0]} ended with {code}"}
        found: dict[str, str] = json.loads(line)
        if int(found["peak"]) > MOST_BYTES:
            self.close()
            return {"outcome": "over 2 GB", "what": f"{arguments[0]} held {int(found['peak']):,} bytes"}
        return found

    def close(self) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            path = os.pathsep.join(filter(None, sys.path))
            self._process = subprocess.Popen(
                [sys.executable, "-m", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                text=True,
                start_new_session=True,
            )
        return self._process


def inputs(count: int, seed: int, export: bool = False) -> Iterator[tuple[int, bytes]]:
    """Mutants that parse, and some that do not, each from its number and the seed alone."""
    models = seeds(export)
    for number in range(count):
        yield number, one(number, seed, models)


def one(number: int, seed: int, models: list[bytes]) -> bytes:
    """The mutant of a number."""
    rng = random.Random(seed * 1_000_003 + number)
    return mutated(rng.choice(models), rng, models)


def run(count: int, seed: int, export: bool = False, every: int = 0, often: int = OFTEN) -> Result:
    """Diagnose every input, and repair one in `often`. `every`: print the counts after so many inputs."""
    result, worker = Result(), Worker()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "model.onnx"
        for number, data in inputs(count, seed, export):
            path.write_bytes(data)
            commands = [DIAGNOSE, *([REPAIRS[number // often % len(REPAIRS)]] if number % often == 0 else ())]
            for command in commands:
                found = worker.ask([part.format(path) for part in command])
                _count(result, command, found, number, data)
            if every and (number + 1) % every == 0:
                print(f"after {number + 1:,} inputs of seed {seed}\n{result.table()}", flush=True)  # noqa: T201
    worker.close()
    return result


def _count(result: Result, command: tuple[str, ...], found: dict[str, str], number: int, data: bytes) -> None:
    outcome = found["outcome"]
    whole = "" if parses(data) else ", no model"
    result.counts[f"{command[0]}: {outcome}{whole if outcome.startswith('exit') else ''}"] += 1
    if not outcome.startswith("exit"):
        what = f"{outcome}: {re.sub(r'[0-9]{5,}|/tmp/[^ ]*', '…', found['what'])[:160]}"
        result.wrong[what] += 1
        result.examples.setdefault(what, number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--often", type=int, default=OFTEN, help="repair one in so many")
    parser.add_argument("--keep", type=int, help="write the input of this number to the current folder, and no more")
    given = parser.parse_args()
    if given.keep is not None:
        Path(f"fuzz-{given.seed}-{given.keep}.onnx").write_bytes(one(given.keep, given.seed, seeds(True)))
        return
    result = run(given.n, given.seed, export=True, every=500, often=given.often)
    print(f"{given.n:,} inputs of seed {given.seed}\n{result.table()}")  # noqa: T201
    sys.exit(0 if result.is_sound else 1)


if __name__ == "__main__":
    main()
