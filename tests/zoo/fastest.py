"""The zoo written anew to be fast: `python tests/zoo/fastest.py [FOLDER] [--only NAME ...]` makes what is missing and
prints, for each member, products of real tokens alone, attentions in blocks and row by row of those there are, and the
largest error.

Errors are relative L2 over the tokens that are no padding, in ONNX Runtime without its own optimisations, with masks
that are full, right-padded, left-padded, holed and with a row that is all padding, at 1, 65, 129 and 300 tokens.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from onnxfix.eval.run.runners import OrtRunner
from onnxfix.eval.run.session import on_disk
from onnxfix.flows.repair.attempts.packed import why_not
from onnxfix.flows.repair.fastest.names import named
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery.recipes import Wish, recipe
from zoo.architectures import ARCHITECTURES, BY_NAME, EXPORTERS, Architecture
from zoo.make import DEFAULT_FOLDER, make
from zoo.recognition import masks

LENGTHS = (1, 65, 129, 300)
Array = np.ndarray


@dataclass(frozen=True)
class Row:
    """One member: what its passes said, the largest error, and an output of padding that is not 0."""

    name: str
    notes: tuple[str, ...]
    error: float
    left: float

    @property
    def is_right(self) -> bool:
        return self.error <= 1e-4 and self.left == 0


def measure(path: Path, architecture: Architecture) -> Row:
    """Write a file anew, and compare it with itself."""
    source = Model.open(path)
    wish = named("fastest", Wish(Target.resolve("cpu"), "fp32"))
    fast, outcome = recipe(wish, source).apply(source)
    why = why_not(fast)
    worst = left = 0.0
    with on_disk(source) as one, on_disk(fast) as other:
        runners = [OrtRunner(path, level="none", threads=1) for path in (one, other)]
        for feed, valid in _feeds(architecture):
            wanted, found = (runner.run(feed)["last_hidden_state"] for runner in runners)
            if valid.any():
                rest = wanted[valid]
                worst = max(worst, float(np.linalg.norm(found[valid] - rest) / np.linalg.norm(rest)))
            if not why:
                left = max(left, float(np.abs(found[~valid]).max(initial=0)))
    return Row(path.stem, (*outcome.notes, *filter(None, [why])), worst, left)


def _feeds(architecture: Architecture) -> Iterator[tuple[Mapping[str, Array], Array]]:
    """What to run, and which tokens count."""
    generator = np.random.default_rng(5)
    for length in LENGTHS:
        empty = np.ones((3, length), np.int64)
        empty[1] = 0
        for mask in (*masks(length, generator), empty):
            yield {"input_ids": generator.integers(3, 120, (3, length)), "attention_mask": mask}, mask.astype(bool)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER)
    parser.add_argument("--only", nargs="*", choices=list(BY_NAME))
    given = parser.parse_args()
    texts = [a.name for a in ARCHITECTURES if a.small and a.kind == "text"]
    names = given.only or texts
    make(names, given.folder)
    wrong = 0
    for path in (given.folder / f"{name}-{exporter}.onnx" for name in names for exporter in EXPORTERS):
        if path.exists():
            row = measure(path, BY_NAME[path.stem.rpartition("-")[0]])
            wrong += not row.is_right
            said = "" if row.is_right else f"  WRONG: {row.left:.1e} at padding"
            sys.stdout.write("\n    ".join([f"{row.name:32}{row.error:10.1e}{said}", *row.notes]) + "\n")
            sys.stdout.flush()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
