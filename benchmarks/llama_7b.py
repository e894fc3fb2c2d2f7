"""Diagnose a model of 7 billion parameters: `python benchmarks/llama_7b.py [--precision fp32|fp16] [--runs N]`.

The model is a Llama-shaped graph of 32 layers without weights (llama_graph.py): its data file is 27 GB of hole (13 GB
in fp16) in a temporary folder, takes no disk space and is deleted at the end. `diagnose` runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from process_cost import CommandFailedError, measure

TARGET_SECONDS, TARGET_MB = 8.0, 400.0
# in a process of its own: a child is charged with the memory its parent held when it started
WRITE = """
import sys, pathlib
from onnx import TensorProto
from llama_graph import Shape, write
kind = TensorProto.FLOAT16 if sys.argv[2] == "fp16" else TensorProto.FLOAT
print(write(pathlib.Path(sys.argv[1]), Shape(elem_type=kind))[1])
"""


def diagnosed(folder: Path, precision: str, runs: int) -> bool:
    """Write the graph, diagnose it and print what that took; whether both targets were met."""
    here = Path(__file__).parent
    command = [sys.executable, "-c", WRITE, str(folder), precision]
    parameters = int(subprocess.run(command, cwd=here, check=True, capture_output=True, text=True).stdout)
    model, data = folder / "llama.onnx", folder / "llama.onnx.data"
    report = folder / "report.json"
    cost = measure(
        [sys.executable, "-m", "onnxfix", "diagnose", str(model), "--engine", "forecast", "--format", "json",
         "-o", str(report)],
        runs, accepted=(0, 1),
    )  # fmt: skip
    told = json.loads(report.read_text(encoding="utf-8"))
    size = data.stat()
    met = cost.seconds <= TARGET_SECONDS and cost.resident_mb <= TARGET_MB
    placed = ", ".join(f"{count:,} on {name}" for name, count in told["placement"]["providers"].items())
    sys.stdout.write(
        f"llama, {precision}: {parameters / 1e9:.2f} billion parameters, {told['model']['nodes']:,} nodes, "
        f"{size.st_size / 1e9:.1f} GB of weights, {size.st_blocks * 512:,} bytes of them on disk\n"
        f"placement: {placed}, {told['placement']['memcpy']['total']} Memcpy"
        f"{', approximate' if told['placement']['approximate'] else ''}\n"
        f"diagnose: {cost.seconds:.2f} s ({cost.cpu_seconds:.2f} s of CPU), {cost.resident_mb:.0f} MB in the largest "
        f"process, {cost.tree_mb:.0f} MB in all\n"
        f"target: {TARGET_SECONDS:.0f} s and {TARGET_MB:.0f} MB: {'met' if met else 'missed'}\n"
    )
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["fp32", "fp16"], default="fp32")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is shown (default 3)")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="onnxfix-llama-") as folder:
            return 0 if diagnosed(Path(folder), given.precision, given.runs) else 1
    except (CommandFailedError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n{getattr(error, 'stderr', None) or ''}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
