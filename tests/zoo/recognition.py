"""What is read in the zoo: `python tests/zoo/recognition.py [FOLDER] [--only NAME ...]` makes what is missing and
prints, for each member, attentions and rotations that are fused of those there are, and the largest error.

Errors are relative L2 over the tokens that are no padding, in ONNX Runtime without its own optimisations, with masks
that are full, right-padded, left-padded and holed, at 1, 17, 65 and 300 tokens.
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
from onnxfix.nouns.model import Model
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.fuse_rotary_embedding import FuseRotaryEmbedding
from onnxfix.surgery.passes.inline_functions import InlineFunctions
from onnxfix.surgery.recipe import Recipe
from zoo.architectures import ARCHITECTURES, BY_NAME, EXPORTERS, Architecture
from zoo.make import DEFAULT_FOLDER, make

LENGTHS = (1, 17, 65, 300)
Array = np.ndarray
ATTENTION = ("Attention", "MultiHeadAttention")


@dataclass(frozen=True)
class Row:
    """One member. `attentions` and `rotations`: fused, and there before; `refusals` in words."""

    name: str
    attentions: tuple[int, int]
    rotations: int
    error: float
    refusals: tuple[str, ...]


def measure(path: Path, architecture: Architecture) -> Row:
    """Fuse a file in both ways, and compare it with itself."""
    source, _ = Recipe((InlineFunctions(),)).apply(Model.open(path))
    fused, outcome = Recipe((FuseRotaryEmbedding(), FuseAttention())).apply(source)
    before, after = ([node.op_type for node in model.graph] for model in (source, fused))
    count = sum(after.count(kind) for kind in ATTENTION)
    return Row(path.stem, (count, before.count("Softmax")), after.count("RotaryEmbedding"),
               _error(source, fused, architecture),
               tuple(note for note in outcome.notes if " as written, " in note))  # fmt: skip


def _error(source: Model, fused: Model, architecture: Architecture) -> float:
    worst = 0.0
    with on_disk(source) as one, on_disk(fused) as other:
        runners = [OrtRunner(path, level="none", threads=1) for path in (one, other)]
        for feed, valid in _feeds(architecture):
            expected, found = (runner.run(feed)["last_hidden_state"][valid] for runner in runners)
            worst = max(worst, float(np.linalg.norm(found - expected) / np.linalg.norm(expected)))
    return worst


def _feeds(architecture: Architecture) -> Iterator[tuple[Mapping[str, Array], Array | slice]]:
    """What to run, and which tokens count."""
    generator = np.random.default_rng(5)
    if architecture.kind != "text":
        sizes = {name: value.shape for name, value in architecture.inputs().items()}
        yield {name: generator.normal(size=(3, *s[1:])).astype(np.float32) for name, s in sizes.items()}, slice(None)
        return
    for length in LENGTHS:
        for mask in masks(length, generator):
            yield (
                {"input_ids": generator.integers(3, 120, (3, length)), "attention_mask": mask},
                mask.astype(bool),
            )


def masks(length: int, generator: np.random.Generator) -> Iterator[Array]:
    """Full, right-padded, left-padded and with holes; no row is empty, and the first tokens of a holed one are there,
    since a causal model's first token sees nothing else."""
    full = np.ones((3, length), np.int64)
    right, left = full.copy(), full.copy()
    right[1, max(1, length // 2) :] = 0
    left[1, : length // 2] = 0
    left[2, : length // 3] = 0
    holed = (generator.random((3, length)) < 0.6).astype(np.int64)
    holed[:, 0] = 1
    yield from (full, right, left, holed)


def line(row: Row) -> str:
    fused, there = row.attentions
    words = f"{row.name:32}{fused} of {there} attentions{row.rotations:4} rotations{row.error:10.1e}"
    return "\n    ".join([words, *row.refusals])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER)
    parser.add_argument("--only", nargs="*", choices=list(BY_NAME))
    given = parser.parse_args()
    names = given.only or [a.name for a in ARCHITECTURES if a.small]
    make(names, given.folder)
    for path in (given.folder / f"{name}-{exporter}.onnx" for name in names for exporter in EXPORTERS):
        if path.exists():
            sys.stdout.write(line(measure(path, BY_NAME[path.stem.rpartition("-")[0]])) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
