"""Diagnose a model of 7 billion parameters: `python benchmarks/llama_7b.py [--dtype fp32|fp16] [--layers 32 ...]`.

The model is a Llama-shaped graph of 32 layers without weights (llama_graph.py): its data file is 27 GB of hole (13 GB
in fp16) in a temporary folder, takes no disk space and is deleted at the end. `diagnose` runs in a process of its own.
Ends with 0 when both targets are met, 1 when one is missed and 2 when something failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from process_cost import CommandFailedError, Cost, measure

TARGET_SECONDS, TARGET_MB = 8.0, 400.0
SIZES = {"layers": 32, "hidden": 4096, "intermediate": 11008, "heads": 32, "vocabulary": 32000}
# in a process of its own: a child is charged with the memory its parent held when it started
WRITE = """
import json, sys, pathlib
from onnx import TensorProto
from llama_graph import Shape, write
kind = TensorProto.FLOAT16 if sys.argv[2] == "fp16" else TensorProto.FLOAT
print(write(pathlib.Path(sys.argv[1]), Shape(elem_type=kind, **json.loads(sys.argv[3])))[1])
"""


def written(folder: Path, dtype: str, shape: dict[str, int | str]) -> int:
    """Write `llama.onnx` and its hole into a folder; the number of parameters."""
    command = [sys.executable, "-c", WRITE, str(folder), dtype, json.dumps(shape)]
    here = Path(__file__).parent
    return int(subprocess.run(command, cwd=here, check=True, capture_output=True, text=True).stdout)


def diagnosed(model: Path, runs: int) -> tuple[Cost, dict[str, dict[str, object]]]:
    """What diagnosing a file costs, and the report. Findings (exit code 1) are no failure."""
    command = [sys.executable, "-m", "onnxfix", "diagnose", str(model), "--engine", "forecast", "--format", "json"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        cost = measure([*command, "-o", str(report)], runs, accepted=(0, 1))
        return cost, json.loads(report.read_text(encoding="utf-8"))


def show(dtype: str, parameters: int, data: Path, cost: Cost, told: dict[str, dict[str, object]]) -> bool:
    """Print what diagnosing took; whether both targets were met."""
    size, placement = data.stat(), told["placement"]
    met = cost.seconds <= TARGET_SECONDS and max(cost.resident_mb, cost.tree_mb) <= TARGET_MB
    providers, memcpy = placement["providers"], placement["memcpy"]
    assert isinstance(providers, dict) and isinstance(memcpy, dict)
    placed = ", ".join(f"{count:,} on {name}" for name, count in providers.items())
    sys.stdout.write(
        f"llama, {dtype}: {parameters / 1e9:.2f} billion parameters, {told['model']['nodes']:,} nodes, "
        f"{size.st_size / 1e9:.1f} GB of weights, {size.st_blocks * 512:,} bytes of them on disk\n"
        f"placement: {placed}, {memcpy['total']} copies{', approximate' if placement['approximate'] else ''}; "
        f"exit code {cost.exit_code}\n"
        f"diagnose: {cost.least_seconds:.2f} s at best, {cost.seconds:.2f} s median ({cost.cpu_seconds:.2f} s of CPU)\n"
        f"memory: {cost.resident_mb:.0f} MB in the largest process, {cost.child_mb:.0f} MB in the one it starts, "
        f"{cost.tree_mb:.0f} MB in all\n"
        f"target: {TARGET_SECONDS:.0f} s (median) and {TARGET_MB:.0f} MB (in all): {'met' if met else 'missed'}\n"
    )
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=["fp32", "fp16"], default="fp32")
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"(default {default})")
    parser.add_argument("--exporter", choices=["legacy", "dynamo"], default="legacy", help="whose graph (see the text)")
    parser.add_argument("--runs", type=int, default=5, help="minimum and median of these are shown (default 5)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write the model here and leave it")
    given = parser.parse_args()
    shape = {name: getattr(given, name) for name in (*SIZES, "exporter")}
    if given.runs < 1 or min(given.__dict__[name] for name in SIZES) < 1 or given.hidden % (2 * given.heads):
        parser.error("sizes and --runs are 1 or more, and --hidden is a multiple of twice --heads")
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
        if any((given.keep / name).exists() for name in ("llama.onnx", "llama.onnx.data")):
            parser.error(f"{given.keep} holds a llama.onnx: name another folder")
    kept = given.keep and contextlib.nullcontext(str(given.keep.resolve()))
    try:
        with kept or tempfile.TemporaryDirectory(prefix="onnxfix-llama-") as folder:
            parameters = written(Path(folder), given.dtype, shape)
            cost, told = diagnosed(Path(folder) / "llama.onnx", given.runs)
            return 0 if show(given.dtype, parameters, Path(folder) / "llama.onnx.data", cost, told) else 1
    except (CommandFailedError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n{getattr(error, 'stderr', None) or ''}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
