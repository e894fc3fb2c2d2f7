"""Loads what `--layout` writes in the libraries themselves, each in an environment of its own, and compares with torch:
`python tools/layouts.py [--only optimum] [--environments FOLDER] [--python python3.11]`.

Tiny checkpoints with random weights are exported, converted and optimized into the folders of optimum,
sentence-transformers and transformers.js, which load them by the very expressions that the commands printed; graphs for
transformers.js also run in onnxruntime-web's WebAssembly. Ends in a table, with 1 where anything differs. The
environments take some GB of disk and, with node and npm, a few minutes; `--environments` keeps them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from layout_checks import environments
from layout_checks.checkpoints import KINDS, PROMPT, TEXTS, Kind, expected, saved

import onnxfix
from onnxfix.export.spec import Task

HERE = Path(__file__).parent / "layout_checks"
LIBRARIES = ("optimum", "sentence-transformers", "transformers.js")
RESULT = "RESULT "
TASK: Task = "text-generation-with-past"
WEIGHTS = {"int8": "weight-only", "target": "cpu"}
HALF_WEIGHTS = {"int8": "weight-only", "bits": 4, "precision": "fp16", "max_error": 0.6}
VARIANTS: dict[str, tuple[Callable[..., Any], dict[str, Any], float]] = {
    "fp16": (onnxfix.repair, {"precision": "fp16"}, 5e-3),
    "int8": (onnxfix.repair, {"int8": "dynamic", "reduce_range": True, "max_error": 0.2}, 0.2),
    "8-bit weights": (onnxfix.repair, {**WEIGHTS}, 0.1),
    "4-bit weights": (onnxfix.repair, {**WEIGHTS, "bits": 4, "max_error": 0.6}, 0.6),
    "fp16, 4-bit weights": (onnxfix.repair, HALF_WEIGHTS, 0.6),
    "optimized": (onnxfix.optimize, {}, 1e-5),
}
"""What is made of an export, how, and the largest relative L2 error: random weights lose more of themselves in bits."""
EXPORTED = 1e-5
ALL = tuple(VARIANTS)


@dataclass(frozen=True)
class Made:
    """A folder that a command wrote, and the expression that it printed."""

    kind: Kind
    variant: str
    checkpoint: Path
    graph: Path
    load: str
    limit: float

    def job(self, found: dict[str, Any]) -> dict[str, Any]:
        texts = PROMPT if self.kind.decodes else TEXTS
        return {
            "load": self.load, "graph": str(self.graph), "checkpoint": str(self.checkpoint), "texts": texts,
            "expected": found,
        }  # fmt: skip


def wanted(library: str) -> list[tuple[Kind, tuple[str, ...]]]:
    """Kinds of checkpoints for a library, and what is made of the export of each."""
    if library == "sentence-transformers":
        return [(kind, ("fp16", "int8", "optimized")) for kind in KINDS if kind.pooling]
    plain = [kind for kind in KINDS if not kind.pooling]
    if library == "optimum":
        return [(kind, ("int8", "optimized") if kind.name in ("classes", "llama") else ()) for kind in plain]
    return [(kind, ALL if kind.name in ("classes", "llama") else ()) for kind in plain]


def made(library: Any, kind: Kind, variants: tuple[str, ...], folder: Path) -> Iterator[Made]:
    checkpoint = saved(kind, folder / kind.name)
    out = folder / f"{kind.name}-{library}"
    done = onnxfix.export(checkpoint, layout=library, output=out, task=TASK if kind.decodes else None)
    yield Made(kind, "export", checkpoint, done.path, done.loads, EXPORTED)
    for variant in variants:
        make, how, limit = VARIANTS[variant]
        # of optimum each result has a folder; transformers.js has one name for fp32, optimized or not
        apart = library == "optimum" or (library == "transformers.js" and variant == "optimized")
        into = folder / f"{out.name}-{variant.replace(' ', '-')}" if apart else out
        result = make(done.path, layout=library, output=into, **how)
        yield Made(kind, variant, checkpoint, result.output, result.outcome.notes[-1].partition(": ")[2], limit)


def answers(command: list[str], jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, check=False)
    lines = [line.removeprefix(RESULT) for line in done.stdout.splitlines() if line.startswith(RESULT)]
    if not lines:
        sys.exit(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
    return [json.loads(line) for line in lines]


def verdict(each: Made, found: dict[str, Any], torch: dict[str, Any]) -> tuple[str, bool]:
    if "error" in found:
        return found["error"], False
    numbers, right = np.array(found["numbers"]), np.array(found.get("expected", torch["numbers"]))
    if numbers.shape != right.shape:
        return f"{numbers.size} numbers and not {right.size}", False
    if each.variant == "optimized" and not each.kind.decodes and right.size == np.prod(torch["shape"]):
        # outputs at tokens of padding are 0, and stand for nothing
        real = np.array(torch["attention_mask"]).astype(bool)
        if len(torch["shape"]) >= 2 and tuple(torch["shape"][:2]) == real.shape:
            numbers, right = numbers.reshape(*real.shape, -1)[real], right.reshape(*real.shape, -1)[real]
    error = float(np.linalg.norm(numbers - right) / np.linalg.norm(right))
    said = f"relative L2 error {error:.1e}"
    if "generated" in found:
        same = found["generated"] == torch["generated"]
        said += ", the same tokens" if same else ", other tokens"
        return said, error <= each.limit and (same or each.limit > EXPORTED)
    return said, error <= each.limit


def run(library: str, folder: Path, places: Path, python: str) -> list[tuple[str, Made, str, bool]]:
    """A row for each folder and runtime: who loaded it, what, with what result."""
    every = [each for kind, variants in wanted(library) for each in made(library, kind, variants, folder)]
    torch = {each.kind.name: expected(each.kind, each.checkpoint) for each in every}
    jobs = [each.job(torch[each.kind.name]) for each in every]
    if library == "transformers.js":
        command = ["node", str(HERE / "in_node.mjs"), str(environments.node_modules(places))]
    else:
        worker = HERE / f"in_{library.replace('-', '_')}.py"
        command = [environments.interpreter(library, places, python), str(worker)]
    found = answers(command, jobs)
    times = len(found) // len(every)
    rows = [(each, result) for index, each in enumerate(every) for result in found[index * times : (index + 1) * times]]
    return [(result.get("by", library), each, *verdict(each, result, torch[each.kind.name])) for each, result in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=LIBRARIES)
    parser.add_argument("--environments", type=Path, help="where environments are kept; default: none are")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the environments")
    given = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="onnxfix-layouts-") as folder:
        places = (given.environments or Path(folder) / "environments").resolve()
        places.mkdir(parents=True, exist_ok=True)
        for library in given.only or LIBRARIES:
            (Path(folder) / library).mkdir()
            for by, each, said, sound in run(library, Path(folder) / library, places, given.python):
                failed |= not sound
                file = "/".join(each.graph.relative_to(folder).parts[2:])
                what = f"{each.kind.architecture}{f' ({each.kind.pooling})' if each.kind.pooling else ''}"
                mark = "" if sound else "  DIFFERS"
                sys.stdout.write(f"{by:27} {what:35} {each.variant:19} {file:28} {said}{mark}\n")
                sys.stdout.flush()
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
