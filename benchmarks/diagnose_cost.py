"""What `onnxfix diagnose` costs beside a real session: `python benchmarks/diagnose_cost.py [FOLDER] [--runs N]`.

ModernBERT-large (28 layers, 395 million parameters, 1.58 GB in fp32, random weights) exported three ways: by torch's
dynamo exporter without and with its optimizer, with the weights in a file beside the graph, and by the TorchScript one
with the weights inside the model file. Each is diagnosed in a process of its own, and opened in a process of its own
by an onnxruntime session on the CPU provider, the one that every machine has; a session on a GPU loads CUDA as well.
Copies are counted before and after repair, whose result is neither verified nor written here. Models that are not in
FOLDER are made by tests/zoo/make.py, one at a time (9 GB of memory, about two minutes each).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from process_cost import CommandFailedError, Cost, measure

MAKE = Path(__file__).parents[1] / "tests" / "zoo" / "make.py"
DEFAULT_FOLDER = Path(tempfile.gettempdir()) / "onnxfix-zoo"
MODEL = "modernbert-large"
EXPORTERS = {
    "unoptimized": "dynamo optimize=False, external weights",
    "dynamo": "dynamo, external weights",
    "legacy": "legacy, inline weights",
}
TARGET_SECONDS, TARGET_MB = 2.5, 250.0
ONNXFIX = [sys.executable, "-m", "onnxfix"]
SESSION = "import sys, onnxruntime; onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
REPAIR = """
import sys, pathlib
from onnxfix.flows.repair import repair
from onnxfix.surgery.recipes import Wish
from onnxfix.target import Target
wish = Wish(Target.resolve("cuda"), sys.argv[2])
print(len(repair(pathlib.Path(sys.argv[1]), wish, check=False, dry_run=True).after.plan.copies))
"""
FINDINGS = (0, 1)  # diagnose ends with 1 when it found something


@dataclass(frozen=True)
class Row:
    """One export: what diagnosing and what loading it costs, and its copies before and after repair by precision."""

    export: str
    megabytes: float
    diagnose: Cost
    session: Cost
    copies: tuple[int, ...]


def made(folder: Path) -> dict[str, Path]:
    """The exports by exporter, made when absent. Raises CommandFailedError with the exporter's reason."""
    paths = {exporter: folder / f"{MODEL}-{exporter}.onnx" for exporter in EXPORTERS}
    if not all(path.exists() for path in paths.values()):
        command = [sys.executable, str(MAKE), "--only", MODEL, "--out", str(folder)]
        subprocess.run(command, check=True)  # its progress is worth seeing
    for exporter, path in paths.items():
        if not path.exists():
            failed = path.with_suffix(".failed")
            why = failed.read_text(encoding="utf-8").strip() if failed.exists() else "no file was written"
            raise CommandFailedError(f"{path.name} was not exported by {exporter}: {why}")
    return paths


def measured(export: str, path: Path, runs: int, precisions: list[str]) -> Row:
    """Diagnose, load and repair one file."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [*ONNXFIX, "diagnose", str(path), "--engine", "forecast", "--format", "json", "-o", str(report)]
        cost = measure(command, runs, FINDINGS)
        copies = [int(json.loads(report.read_text(encoding="utf-8"))["placement"]["memcpy"]["total"])]
    copies += [_copies_after(path, precision) for precision in precisions]
    session = measure([sys.executable, "-c", SESSION, str(path)], max(1, runs // 2))
    data = path.with_name(path.name + ".data")
    size = sum(file.stat().st_size for file in (path, data) if file.exists())
    return Row(export, size / 1e6, cost, session, tuple(copies))


def _copies_after(path: Path, precision: str) -> int:
    command = [sys.executable, "-c", REPAIR, str(path), precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailedError(f"repair of {path.name} to {precision} failed: {done.stderr.strip()[-400:]}")
    return int(done.stdout)


def lines(rows: Iterator[Row], precisions: list[str]) -> Iterator[str]:
    after = "".join(f"{'after ' + p:>12}" for p in precisions)
    yield f"{'':40}{'':>6}  {'onnxfix diagnose':^29}  {'session on CPU':^15}"
    costs = f"{'s':>6}{'CPU s':>7}{'largest':>9}{'all':>7}  {'s':>6}{'largest':>9}"
    yield f"{MODEL:40}{'MB':>6}  {costs}  {'copies':>6}{after}"
    for row in rows:
        cost, session = row.diagnose, row.session
        repaired = "".join(f"{count:>12}" for count in row.copies[1:])
        yield (
            f"{row.export:40}{row.megabytes:6.0f}  {cost.seconds:6.2f}{cost.cpu_seconds:7.2f}{cost.resident_mb:9.0f}"
            f"{cost.tree_mb:7.0f}  {session.seconds:6.2f}{session.resident_mb:9.0f}  {row.copies[0]:6}{repaired}"
        )
    yield "largest: MB resident at the peak of the largest process; all: of all its processes together (Pss, sampled)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER)
    parser.add_argument("--runs", type=int, default=5, help="of diagnose, the median of which is shown (default 5)")
    parser.add_argument("--precision", nargs="*", default=["fp32", "fp16"], choices=["fp32", "fp16"])
    given = parser.parse_args()
    missed = []

    def rows() -> Iterator[Row]:
        for exporter, path in made(given.folder).items():
            row = measured(EXPORTERS[exporter], path, given.runs, given.precision)
            if row.diagnose.seconds > TARGET_SECONDS or row.diagnose.resident_mb > TARGET_MB:
                missed.append(exporter)
            yield row

    try:
        for line in lines(rows(), given.precision):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    except (CommandFailedError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    verdict = f"missed by {', '.join(missed)}" if missed else "met by all"
    load = os.getloadavg()[0]
    sys.stdout.write(f"target of diagnose: {TARGET_SECONDS} s and {TARGET_MB:.0f} MB: {verdict} (load {load:.1f})\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
