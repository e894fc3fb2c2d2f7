"""What fp16 costs beside ONNX Runtime's converter: `python benchmarks/half_cost.py [FILE ...] [--verify]`.

Each model file is converted by `onnxfix repair --no-verify` and by `onnxruntime.transformers.float16` as its
documentation says (load, convert, save), in processes of their own, in turns. With `--verify` also by `onnxfix repair`
as it is without options, beside a session on the CPU provider that runs the source on 2,048 tokens, which is the least
that a comparison has to do. Without a FILE it takes ModernBERT-large as benchmarks/diagnose_cost.py does.

Ends with 0 when all targets are met, 1 when one is missed and 2 when something failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diagnose_cost import DEFAULT_CACHE, made
from process_cost import CommandFailedError, Cost, run

ONNXFIX = [sys.executable, "-m", "onnxfix", "repair", "--force"]
PEER = """
import sys, onnx
from onnxruntime.transformers import float16
model = float16.convert_float_to_float16(onnx.load(sys.argv[1]), keep_io_types=True)
onnx.save(model, sys.argv[2], save_as_external_data=True, location="peer.onnx.data")
"""
SESSION = """
import sys, numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
ones = np.ones((1, int(sys.argv[2])), dtype=np.int64)
session.run(None, {i.name: ones for i in session.get_inputs()})
"""
TARGET_TIME, TARGET_MEMORY, TARGET_SIZE = 0.15, 0.10, 0.51
TOKENS = "2048"


@dataclass(frozen=True)
class Row:
    """One file: the costs of all its runs, and bytes of the result over bytes of the source."""

    name: str
    ours: Cost
    peer: Cost
    size: float
    verified: Cost | None = None
    session: Cost | None = None

    @property
    def met(self) -> bool:
        within = self.verified is None or self.session is None or self.verified.resident_mb <= self.session.resident_mb
        time, memory = self.ours.seconds / self.peer.seconds, self.memory / self.peer.resident_mb
        return time <= TARGET_TIME and memory <= TARGET_MEMORY and self.size <= TARGET_SIZE and within

    @property
    def memory(self) -> float:
        """MB of the largest process, or of all together where that is more."""
        return max(self.ours.resident_mb, self.ours.tree_mb)


def measured(path: Path, runs: int, verify: bool, folder: Path) -> Row:
    """Convert in turns; the least time of each, so that what else the machine does counts as little as possible."""
    result, peer = folder / "ours.onnx", folder / "peer.onnx"
    ours, theirs = [], []
    for _ in range(runs):
        _forget(folder, "ours.onnx")  # removing 800 MB takes 0.7 s
        ours.append(run([*ONNXFIX, str(path), "-o", str(result), "--no-verify"]))
        _forget(folder, "peer.onnx")  # onnx appends to a data file that is there
        theirs.append(run([sys.executable, "-c", PEER, str(path), str(peer)]))
    watched = run([*ONNXFIX, str(path), "-o", str(result), "--no-verify"], sampled=True)
    best = min(ours, key=lambda cost: cost.seconds)
    cost = Cost(best.seconds, best.cpu_seconds, max(c.resident_mb for c in ours), watched.tree_mb)
    size = sum(f.stat().st_size for f in folder.glob("ours.onnx*")) / _source_bytes(path)
    row = Row(path.name, cost, min(theirs, key=lambda cost: cost.seconds), size)
    if not verify:
        return row
    verified = run([*ONNXFIX, str(path), "-o", str(result)])
    session = run([sys.executable, "-c", SESSION, str(path), TOKENS])
    return Row(row.name, row.ours, row.peer, row.size, verified, session)


def _forget(folder: Path, name: str) -> None:
    for file in folder.glob(f"{name}*"):
        file.unlink()


def _source_bytes(path: Path) -> int:
    return sum(f.stat().st_size for f in (path, path.with_name(path.name + ".data")) if f.exists())


def table(rows: Sequence[Row]) -> str:
    head = f"{'model':36}{'onnxfix':>16}{'onnxruntime':>17}{'time':>7}{'memory':>8}{'size':>7}  target\n"
    lines = []
    for row in rows:
        ours = f"{row.ours.seconds:6.1f} s {row.memory:5.0f} MB"
        peer = f"{row.peer.seconds:6.1f} s {row.peer.resident_mb:5.0f} MB"
        ratios = row.ours.seconds / row.peer.seconds, row.memory / row.peer.resident_mb
        line = f"{row.name:36}{ours:>16}{peer:>17}{ratios[0]:7.2f}{ratios[1]:8.3f}{row.size:7.3f}  "
        lines.append(line + ("met" if row.met else "missed"))
        if row.verified is not None and row.session is not None:
            lines.append(
                f"  with verification {row.verified.seconds:.0f} s and {row.verified.resident_mb:.0f} MB; the source's "
                f"own session on {TOKENS} tokens {row.session.seconds:.0f} s and {row.session.resident_mb:.0f} MB"
            )
    load = f"least of the runs; largest process, or all together where that is more; load {os.getloadavg()[0]:.1f}\n"
    targets = (
        f"targets: time {TARGET_TIME}, memory {TARGET_MEMORY} of onnxruntime's, size {TARGET_SIZE} of the source\n"
    )
    return head + "\n".join(lines) + "\n" + load + targets


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--verify", action="store_true")
    given = parser.parse_args()
    try:
        rows = []
        for path in given.files or made(DEFAULT_CACHE):
            with tempfile.TemporaryDirectory(prefix="half-cost-") as folder:
                rows.append(measured(path, given.runs, given.verify, Path(folder)))
    except CommandFailedError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(table(rows))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
