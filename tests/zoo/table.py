"""The zoo's table: `python tests/zoo/table.py [FOLDER] [--only NAME ...]` makes what is missing and prints, for each
member, its copies before and after repair, and where the forecast and the real runtime differ.

The real runtime plans with stub CUDA libraries (see tests/oracle); differences are counted over every node's provider
and every copied value, of the export and of both repaired models.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "tools")]

from oracle.compare import differences
from oracle.runtime import Oracle

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.target import Target
from onnxfix.surgery.recipes import Wish, recipe
from zoo.architectures import ARCHITECTURES, BY_NAME, EXPORTERS
from zoo.make import DEFAULT_FOLDER, make


@dataclass(frozen=True)
class Row:
    """One member. `copies` and `differences` are of the export, its fp32 repair and its fp16 conversion."""

    name: str
    nodes: int
    copies: tuple[int, int, int]
    differences: tuple[str, ...]
    errors: tuple[str, ...] = ()


def measure(path: Path, oracle: Oracle) -> Row:
    """Plan, repair twice, and compare each of the three with the runtime."""
    target = Target.resolve("cuda")

    def plan(changed: Model) -> Plan:
        return forecast(changed, target)

    model = Model.open(path)
    copies, found, errors = [], [], []
    nodes = 0
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("", "fp32", "fp16"):
            file, current = path, model
            if precision:
                steps = recipe(Wish(target, precision), model, plan)
                current, _ = steps.apply(model)
                file = current.save(Path(folder) / f"{precision}.onnx")
                current = Model.open(file)
            planned = plan(current)
            nodes = nodes or len(planned.nodes)
            copies.append(len(planned.copies))
            errors += [f"{precision}: {planned.load_error}"] if planned.load_error else []
            found += [f"{precision or 'export'}: {d}" for d in differences(planned, oracle.plan(file))]
    return Row(path.stem, nodes, (copies[0], copies[1], copies[2]), tuple(found), tuple(errors))


def rows(folder: Path, names: list[str]) -> Iterator[Row | str]:
    """A row for each member there is, and a line for each that its exporter fails at."""
    oracle = Oracle()
    for name in names:
        for exporter in EXPORTERS:
            path = folder / f"{name}-{exporter}.onnx"
            failed = path.with_suffix(".failed")
            if path.exists():
                yield measure(path, oracle)
            elif failed.exists():
                yield f"{path.stem:32} not exported: {failed.read_text(encoding='utf-8').strip()[:80]}"
    oracle.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER)
    parser.add_argument("--only", nargs="*", choices=list(BY_NAME))
    parser.add_argument("--size", choices=["small", "full"], default="full")
    parser.add_argument("--made", action="store_true", help="take what is there and make nothing")
    given = parser.parse_args()
    names = given.only or [a.name for a in ARCHITECTURES if a.small or given.size == "full"]
    if not given.made:
        make(names, given.folder)
    sys.stdout.write(f"\n{'member':32}{'nodes':>7}  copies: export, fp32, fp16   differences to the runtime\n")
    bad = members = 0
    for row in rows(given.folder, names):
        if isinstance(row, str):
            sys.stdout.write(row + "\n")
            continue
        members += 1
        bad += bool(row.differences or row.errors or row.copies[1] or row.copies[2])
        counts = "".join(f"{c:8}" for c in row.copies)
        sys.stdout.write(f"{row.name:32}{row.nodes:7}{counts}{len(row.differences):12}\n")
        for line in (*row.differences[:4], *row.errors):
            sys.stdout.write(f"    {line[:200]}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{members} members, {bad} with a difference, an error or a copy after repair\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
