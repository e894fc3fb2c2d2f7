"""The zoo written anew to be fast: `python tests/zoo/fastest.py [FOLDER] [--only NAME ...] [--target cuda]
[--lengths 1 2044]
[--packed-inputs]` makes what is missing and prints, for each member, products of real tokens alone, attentions in
blocks and row by row of those there are, and the largest error; for CUDA of the graph in fp32, and in fp16 which kernel
each attention gets and how many copies there are.

Errors are relative L2 over the tokens that are no padding, in ONNX Runtime without its own optimisations, with masks
that are full, right-padded, left-padded, holed and with a row that is all padding, at 1, 65, 129 and 300 tokens or as
asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.diagnose.run import diagnose
from onnxfix.eval.run.packed_runner import PackedRunner, Packer, is_from_the_left
from onnxfix.eval.run.runners import OrtRunner, RunFailure, Runner
from onnxfix.eval.run.session import on_disk
from onnxfix.flows.repair.attempts.packed import why_not
from onnxfix.flows.repair.fastest.kernels import kernels_in_words
from onnxfix.flows.repair.fastest.names import named
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.attention_kernels import SLOW
from onnxfix.nouns.target import Target
from onnxfix.surgery.recipes import Wish, recipe
from onnxfix.surgery.sites.tokens.packed import interface
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
    slow: bool = False

    @property
    def is_right(self) -> bool:
        return self.error <= 1e-4 and self.left == 0 and not self.slow


def measure(
    path: Path, architecture: Architecture, target: str = "cpu", lengths: Sequence[int] = LENGTHS, packed: bool = False
) -> Row:
    """Write a file anew, and compare it with itself, at each length that it takes; with `packed` inputs on masks that
    begin with tokens."""
    source = Model.open(path)
    wish = named("fastest", Wish(Target.resolve(target), "fp32" if target == "cpu" else "fp16", packed_inputs=packed))
    fast, outcome = recipe(replace(wish, precision="fp32"), source).apply(source)
    why = why_not(fast)
    worst = left = 0.0
    longest = 0
    with on_disk(source) as one, on_disk(fast) as other:
        runners: list[Runner] = [OrtRunner(path, level="none", threads=1) for path in (one, other)]
        if packed and (found_inputs := interface.find(fast)) is not None:
            runners[1] = PackedRunner(runners[1], Packer(found_inputs, "attention_mask", path.stem))
        for feed, valid in _feeds(lengths):
            if packed and not is_from_the_left(valid):
                continue
            try:
                wanted = runners[0].run(feed)["last_hidden_state"]
            except RunFailure:
                continue  # longer than the source takes
            longest = valid.shape[1]
            found = runners[1].run(feed)["last_hidden_state"]
            if valid.any():
                rest = wanted[valid]
                worst = max(worst, float(np.linalg.norm(found[valid] - rest) / np.linalg.norm(rest)))
            if not why:
                left = max(left, float(np.abs(found[~valid]).max(initial=0)))
    shorter = [] if longest == max(lengths) else [f"takes {longest} of {max(lengths)} tokens"]
    notes = (*outcome.notes, *filter(None, [why]), *shorter)
    if target == "cpu":
        return Row(path.stem, notes, worst, left)
    half, _ = recipe(wish, source, lambda model: forecast(model, wish.target)).apply(source)
    report = diagnose(half, wish.target)
    taken = [each.kernel for a in report.attentions for choice in a.choices.values() for each in choice.taken]
    copies = len(report.plan.copies)
    said = (*notes, *kernels_in_words(report), f"{copies} copies")
    return Row(path.stem, said, worst, left, bool(copies or not taken or SLOW.intersection(taken)))


def _feeds(lengths: Sequence[int]) -> Iterator[tuple[Mapping[str, Array], Array]]:
    """What to run, and which tokens count."""
    generator = np.random.default_rng(5)
    for length in lengths:
        empty = np.ones((3, length), np.int64)
        empty[1] = 0
        for mask in (*masks(length, generator), empty):
            yield {"input_ids": generator.integers(3, 120, (3, length)), "attention_mask": mask}, mask.astype(bool)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER)
    parser.add_argument("--only", nargs="*", choices=list(BY_NAME))
    parser.add_argument("--target", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--packed-inputs", action="store_true", help="of real tokens alone")
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS, help="tokens of rows, shortest first")
    given = parser.parse_args()
    texts = [a.name for a in ARCHITECTURES if a.small and a.kind == "text"]
    names = given.only or texts
    make(names, given.folder)
    wrong = 0
    for path in (given.folder / f"{name}-{exporter}.onnx" for name in names for exporter in EXPORTERS):
        if path.exists():
            row = measure(path, BY_NAME[path.stem.rpartition("-")[0]], given.target, given.lengths, given.packed_inputs)
            wrong += not row.is_right
            said = "" if row.is_right else f"  WRONG: {row.left:.1e} at padding{', slow or copied' * row.slow}"
            sys.stdout.write("\n    ".join([f"{row.name:32}{row.error:10.1e}{said}", *row.notes]) + "\n")
            sys.stdout.flush()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
