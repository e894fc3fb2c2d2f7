"""What `onnxfix diagnose` costs beside a real session: `python benchmarks/diagnose_cost.py [FILE ...] [--runs N]`.

Each model file is diagnosed in a process of its own, and opened in a process of its own by an onnxruntime session on
the CPU provider, the one that a machine without a GPU has; a session on a GPU loads CUDA as well. Copies are counted
before repair and in the file that `onnxfix repair --no-verify` writes into a temporary folder.

Without a FILE it takes ModernBERT-large (28 layers, 395 million parameters, 1.58 GB in fp32, random weights) exported
three ways: by torch's dynamo exporter without and with its optimizer, with the weights in a file beside the graph, and
by the TorchScript one with the weights inside the model file. What is not in the cache folder is made there by
tests/zoo/make.py, in a process each (9 GB of memory, about two minutes). Ends with 0 when all targets are met, 1 when
one is missed and 2 when something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from process_cost import CommandFailedError, Cost, measure

MAKE = Path(__file__).parents[1] / "tests" / "zoo" / "make.py"
DEFAULT_CACHE = Path(tempfile.gettempdir()) / "onnxfix-zoo"
MODEL = "modernbert-large"
EXPORTERS = ("unoptimized", "dynamo", "legacy")
TARGET_SECONDS, TARGET_MB = 2.5, 250.0
ONNXFIX = [sys.executable, "-m", "onnxfix"]
SESSION = "import sys, onnxruntime; onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
FINDINGS = (0, 1)  # both commands end with 1 when something is left to be found
NOTE = (
    "session: onnxruntime.InferenceSession on the CPU provider, which a machine without a GPU has\n"
    "least, median: seconds on the clock, CPU: the median of what all its processes computed\n"
    "largest: MB resident at the peak of the largest process; all: of all its processes together (Pss, sampled)\n"
)


@dataclass(frozen=True)
class Row:
    """One file: what diagnosing and what loading it costs, and its copies before and after repair by precision."""

    name: str
    megabytes: float
    diagnose: Cost
    session: Cost
    copies: tuple[int, ...]

    @property
    def met(self) -> bool:
        """Whether the median time and all the memory are within the targets."""
        cost = self.diagnose
        return cost.seconds <= TARGET_SECONDS and max(cost.resident_mb, cost.tree_mb) <= TARGET_MB


def made(folder: Path) -> list[Path]:
    """The three exports, made when absent. Raises CommandFailedError with the exporter's reason."""
    paths = [folder / f"{MODEL}-{exporter}.onnx" for exporter in EXPORTERS]
    if not all(path.exists() for path in paths):
        command = [sys.executable, str(MAKE), "--only", MODEL, "--out", str(folder)]
        subprocess.run(command, check=True)  # its progress is worth seeing
    for path in paths:
        if not path.exists():
            failed = path.with_suffix(".failed")
            why = failed.read_text(encoding="utf-8").strip() if failed.exists() else "no file was written"
            raise CommandFailedError(f"{path.name} was not exported: {why}")
    return paths


def measured(path: Path, runs: int, precisions: Sequence[str]) -> Row:
    """Diagnose, load and repair one file."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        cost = measure(_diagnose(path, report), runs, FINDINGS)
        told = json.loads(report.read_text(encoding="utf-8"))
    session = measure([sys.executable, "-c", SESSION, str(path)], runs // 2 + 1)
    before = int(told["placement"]["memcpy"]["total"])
    after = (_copies_after(path, precision) for precision in precisions)
    return Row(path.name, told["model"]["weights_bytes"] / 1e6, cost, session, (before, *after))


def _diagnose(path: Path, report: Path) -> list[str]:
    return [*ONNXFIX, "diagnose", str(path), "--engine", "forecast", "--format", "json", "-o", str(report)]


def _copies_after(path: Path, precision: str) -> int:
    """Copies in the repaired file: what was written is diagnosed, not what repair says of it."""
    with tempfile.TemporaryDirectory(prefix="onnxfix-repaired-") as folder:
        repaired, report = Path(folder) / "repaired.onnx", Path(folder) / "report.json"
        wish = ["--target", "cuda", "--precision", precision, "--no-verify"]
        for command in ([*ONNXFIX, "repair", str(path), *wish, "-o", str(repaired)], _diagnose(repaired, report)):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode not in FINDINGS:
                raise CommandFailedError(f"repair of {path.name} to {precision} failed: {done.stderr.strip()[-400:]}")
        return int(json.loads(report.read_text(encoding="utf-8"))["placement"]["memcpy"]["total"])


def lines(rows: Iterator[Row], precisions: Sequence[str], width: int) -> Iterator[str]:
    """The table, a line as soon as it is measured; `width` is that of the first column."""
    after = "".join(f"{'after ' + p:>12}" for p in precisions)
    columns = f"{'least':>7}{'median':>8}{'CPU':>7}{'largest':>9}{'all':>6}  {'least':>7}{'median':>8}{'largest':>9}"
    yield f"{'':{width}}{'':>8}  {'onnxfix diagnose':^37}  {'session on CPU':^24}"
    yield f"{'model':{width}}{'MB':>8}  {columns}  {'copies':>6}{after}  target"
    for row in rows:
        cost, session = row.diagnose, row.session
        repaired = "".join(f"{count:>12}" for count in row.copies[1:])
        yield (
            f"{row.name:{width}}{row.megabytes:8.0f}  {cost.least_seconds:7.2f}{cost.seconds:8.2f}"
            f"{cost.cpu_seconds:7.2f}{cost.resident_mb:9.0f}{cost.tree_mb:6.0f}  {session.least_seconds:7.2f}"
            f"{session.seconds:8.2f}{session.resident_mb:9.0f}  {row.copies[0]:6}{repaired}  "
            f"{'met' if row.met else 'missed'}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help=f"of the exports (default {DEFAULT_CACHE})")
    parser.add_argument("--runs", type=int, default=5, help="of diagnose, and half as many of the session (default 5)")
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=["fp32", "fp16"], help="to repair to")
    given = parser.parse_args()
    absent = [str(path) for path in given.files if not path.is_file()]
    if given.runs < 1 or absent:
        parser.error(f"no such file: {', '.join(absent)}" if absent else "--runs is 1 or more")
    rows: list[Row] = []

    def measuring(files: Sequence[Path]) -> Iterator[Row]:
        for path in files:
            rows.append(measured(path, given.runs, given.precision))
            yield rows[-1]

    try:
        files = given.files or made(given.cache)
        for line in lines(measuring(files), given.precision, max(len(path.name) for path in files)):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    except (CommandFailedError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    load = os.getloadavg()[0]
    sys.stdout.write(f"{NOTE}target: {TARGET_SECONDS} s (median) and {TARGET_MB:.0f} MB (all); load {load:.1f}\n")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
