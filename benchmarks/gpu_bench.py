"""What a GPU makes of every variant: `python benchmarks/gpu_bench.py [CHECKPOINT] [--minutes 8] [--output FOLDER]`.

ModernBERT-large with random weights, for time and memory, and the bundled classifier, for F1, through `onnxfix bench`:
first the rows of the report that gave up on ONNX (`--sweep seed`), then, while minutes are left, what onnxfix repair
makes (`--sweep repaired`). Every ONNX file's placement is forecast and asked of the real session. Writes
<output>/<gpu>.md. What was begun in the cache folder is taken up again by the next call.

Needs a CUDA device and Python with torch, transformers and this project; no network. Ends with 0, with 1 when a
repaired file copies between device and host or a forecast is not what the session does, and with 2 when nothing was
measured.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ONNXFIX = [sys.executable, "-m", "onnxfix"]
DEFAULT_CACHE = Path(tempfile.gettempdir()) / "onnxfix-gpu-bench"
SWEEPS = ("seed", "repaired")
LARGE = """
import sys, torch, transformers
torch.manual_seed(0)
# the published ModernBERT-large
config = transformers.ModernBertConfig(
    hidden_size=1024, num_hidden_layers=28, intermediate_size=2624, num_attention_heads=16, num_labels=8
)
transformers.ModernBertForSequenceClassification(config).save_pretrained(sys.argv[1])
"""
TITLES = "variant|size MB|ms/sample|× torch bf16|95 %|VRAM MB|rel. L2|result"
PLACES = "file|Memcpy forecast|Memcpy measured|on CUDA|on CPU|forecast is what the session does"


@dataclass(frozen=True)
class Placed:
    """Placement of one file: copies as forecast and as the session makes them, and every difference between the two."""

    name: str
    forecast: int
    measured: int
    providers: dict[str, int]
    differences: tuple[str, ...]


def checkpoint(cache: Path) -> Path:
    """The folder of a ModernBERT-large with random weights, made when absent."""
    folder = cache / "modernbert-large"
    if not (folder / "model.safetensors").is_file():
        subprocess.run([sys.executable, "-c", LARGE, str(folder)], check=True)
    return folder


def bench(folder: Path, sweeps: Sequence[str], options: Sequence[str], seconds: float) -> dict[str, Any] | None:
    """The summary of a bench, begun or taken up in `folder`; None where the time did not suffice."""
    asked = [word for sweep in sweeps for word in ("--sweep", sweep)]
    command = [*ONNXFIX, "bench", *asked, *options, "--resume", "-o", str(folder)]
    path = folder / "summary.json"
    path.unlink(missing_ok=True)  # what stands there afterwards is of this call
    # a session of its own, so that what it started ends with it
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as child:
        try:
            child.wait(timeout=max(seconds, 1.0))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            return None
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def placements(folder: Path, provider: str) -> list[Placed]:
    """Of every file that the bench made and the runtime loads, what is forecast against what the session does."""
    found = []
    for path in sorted(folder.glob("*.onnx")):
        plans = [_plan(path, engine, provider) for engine in ("forecast", "measured")]
        if plans[0] and plans[1] and plans[1]["nodes"]:
            counts: dict[str, int] = {}
            for node in plans[1]["nodes"]:
                counts[node["provider"]] = counts.get(node["provider"], 0) + 1
            copies = [plan["memcpy"]["total"] for plan in plans]
            found.append(Placed(path.stem, copies[0], copies[1], counts, tuple(map(str, plans[1]["differences"]))))
    return found


def _plan(path: Path, engine: str, provider: str) -> dict[str, Any]:
    done = subprocess.run(
        [*ONNXFIX, "diagnose", str(path), "--engine", engine, "--target", provider, "--format", "json"],
        capture_output=True,
        text=True,
    )
    plan: dict[str, Any] = json.loads(done.stdout)["placement"] if done.returncode in (0, 1) else {}
    return plan


def document(device: str, benches: dict[str, dict[str, Any]], placed: Sequence[Placed]) -> str:
    """The page that is kept: a table a model, then placement. Times are of this device: compare the ratios."""
    parts = [f"# {device}", "Written by `make gpu-bench`. Ratios are of the same rounds; intervals are bootstrapped."]
    for title, summary in benches.items():
        method = summary["method"]
        parts += [
            f"## {title}",
            f"{method['workload']}; {method['rounds']} rounds, {method['provider']}.",
            _rows(summary),
        ]
    if placed:
        lines = [PLACES.split("|")]
        for each in placed:
            cuda, cpu = (each.providers.get(f"{name}ExecutionProvider", 0) for name in ("CUDA", "CPU"))
            said = "yes" if not each.differences else f"no: {len(each.differences)} differences"
            lines.append([each.name, str(each.forecast), str(each.measured), str(cuda), str(cpu), said])
        parts += ["## Placement", _table(lines)]
    machine = next(iter(benches.values()))["machine"]
    parts += ["## Machine", "\n".join(f"- {name}: {value}" for name, value in machine.items())]
    return "\n\n".join(parts) + "\n"


def _rows(summary: dict[str, Any]) -> str:
    heads = summary["heads"]
    lines = [[*TITLES.split("|")[:-1], *(f"{head} F1" for head in heads), "result"]]
    for row in summary["rows"]:
        ratios = [row["ratio_low"], row["ratio_high"]]
        between = "-" if None in ratios else f"{ratios[0]:.2f} … {ratios[1]:.2f}"
        error = "-" if row["rel_l2_logits"] is None else f"{row['rel_l2_logits']:.1e}"
        figures = [_figure(row["size_mb"], 0), _figure(row["ms_per_sample"], 3), _figure(row["ratio"], 2), between]
        scores = [_figure(row.get(f"f1_{head}"), 4) for head in heads]
        lines.append([row["variant"], *figures, _figure(row["vram_mb"], 0), error, *scores, row["result"]])
    return _table(lines)


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _table(lines: list[list[str]]) -> str:
    rows = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def measured(args: argparse.Namespace) -> tuple[dict[str, dict[str, Any]], list[Placed]]:
    """Benches by title and the placements, as far as the minutes reach."""
    end, benches = time.monotonic() + 60 * args.minutes, {}
    source = args.checkpoint or checkpoint(args.cache)
    small = ["--rounds", str(args.rounds), "--provider", args.provider, "--no-verify"]
    large = ["--batch", str(args.batch), "--seq", str(args.tokens), "--limit", str(args.batch), *small]
    large += ["--max-length", str(args.tokens), "--checkpoint", str(source)]
    folder = f"large-{args.batch}x{args.tokens}"
    titles = {f"{source.resolve().name}, {args.batch} × {args.tokens} tokens": (folder, large)}
    titles["The bundled classifier"] = ("bundled", small)
    for count in range(1, len(SWEEPS) + 1):
        for title, (name, options) in titles.items():
            if found := bench(args.cache / name, SWEEPS[:count], options, end - time.monotonic()):
                benches[title] = found
    if time.monotonic() >= end:
        return benches, []
    return benches, placements(args.cache / folder / "models", args.provider)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path, help="default: ModernBERT-large with random weights")
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=64, help="as in the report")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--provider", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the script out")
    args = parser.parse_args()
    device = _device(args.provider)
    if not device:
        sys.stderr.write("gpu_bench: no CUDA device that ONNX Runtime can use; run it where nvidia-smi lists one\n")
        return 2
    args.cache.mkdir(parents=True, exist_ok=True)
    benches, placed = measured(args)
    if not benches:
        sys.stderr.write(f"gpu_bench: nothing was measured within {args.minutes:g} minutes; call it again\n")
        return 2
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.md"
    stage = path.with_suffix(".part")
    stage.write_text(document(device, benches, placed), encoding="utf-8")
    stage.replace(path)
    sys.stdout.write(path.read_text(encoding="utf-8"))
    return 1 if any(_is_bad(each) for each in placed) else 0


def _is_bad(placed: Placed) -> bool:
    """A forecast that was wrong, or a copy that is left in a file of onnxfix repair."""
    repaired = ".precision-" in placed.name or "weight-only" in placed.name
    return bool(placed.differences) or (repaired and placed.measured > 0)


def _device(provider: str) -> str:
    """The GPU's name; empty without one."""
    if provider == "cpu":
        return "CPU trial"
    from onnxfix.eval.run.machine import has_cuda

    if not has_cuda():
        return ""
    import torch

    return str(torch.cuda.get_device_name(0))


if __name__ == "__main__":
    sys.exit(main())
