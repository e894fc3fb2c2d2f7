"""How fast int8 is on a CPU: `python benchmarks/int8_speed.py [CHECKPOINT] [--batch 8] [--tokens 128] [--rounds 10]`.

Torch, ONNX Runtime and OpenVINO on one model, in fp32 or bf16 and with its linears in int8 by `onnxfix repair`, by
ONNX Runtime's own quantizer and by torchao. Everything is loaded at once, each in a process of its own, warmed up, and
then timed in rounds in turns by the bench of `onnxfix bench`; what is not installed is a row that says so.

Without a CHECKPOINT it is a sequence classifier with the config of ModernBERT-base (150 million parameters, random
weights). What is not in the cache folder is made there: the checkpoint, and its exports by torch's TorchScript and
dynamo exporters (about two minutes each); what is quantized is made anew in each run. Ends with 0 when int8 dynamic is
within its target on both exports, 1 when not and 2 when one of the rows it takes was not measured.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from process_cost import CommandFailedError, run

from onnxfix.eval.bench.bench import BenchReport, Course, Variant, run_bench
from onnxfix.eval.figures.row import BenchRow
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.inputs.workload import Batch, Workload
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.run.engines.openvino import Openvino
from onnxfix.eval.run.engines.pytorch import PyTorch
from onnxfix.eval.run.engines.torchao import Torchao
from onnxfix.export.models.build import load_torch
from onnxfix.nouns.provenance import Provenance

DEFAULT_CACHE = Path(tempfile.gettempdir()) / "onnxfix-int8-speed"
EXPORTERS = ("legacy", "dynamo")
TARGET = 1.8
ONNXFIX = [sys.executable, "-m", "onnxfix"]
WISHES = {
    "int8 dynamic": ["--int8", "dynamic"],
    "int8 dynamic fused": ["--int8", "dynamic", "--fuse-attention"],
    "int8 weight-only": ["--int8", "weight-only", "--target", "cpu"],
}
CHECKPOINT = """
import sys, torch, transformers
torch.manual_seed(0)
# the published ModernBERT-base is transformers' default config
config = transformers.ModernBertConfig(num_labels=8)
transformers.ModernBertForSequenceClassification(config).save_pretrained(sys.argv[1])
"""
PEER = """
import sys
from onnxruntime.quantization import quantize_dynamic
quantize_dynamic(sys.argv[1], sys.argv[2])
"""
PEER_NAME = "quantize_dynamic"
NOTE = (
    "ms a sample: median and least of the rounds, p95 of all; error: relative L2 of the logits against torch fp32\n"
    "times: ONNX Runtime fp32's time by the row's, the median over rounds; of the same export, of {first} for torch\n"
)


@dataclass(frozen=True)
class Entry:
    """One thing to time, and the name of the row its time is compared with."""

    variant: Variant
    against: str


def checkpoint(cache: Path) -> Path:
    """The folder of a ModernBERT-base with random weights, made when absent."""
    folder = cache / "modernbert-base"
    if not (folder / "model.safetensors").is_file():
        run([sys.executable, "-c", CHECKPOINT, str(folder)])
    return folder


def exported(source: Path, exporter: str, cache: Path) -> Path:
    """The checkpoint's export, made when absent; compared with torch by the error of its row."""
    path = cache / f"{source.resolve().name}-{exporter}.onnx"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        run([*ONNXFIX, "export", str(source), "--exporter", exporter, "--no-verify", "-o", str(path)])
    return path


def entries(source: Path, exports: dict[str, Path], folder: Path) -> list[Entry]:
    """Everything that is timed; what is quantized is written into `folder`. Raises CommandFailedError."""
    torch_model = functools.partial(load_torch, Provenance(checkpoint=str(source.resolve())))
    first = _fp32(next(iter(exports)))
    made = [
        Entry(Variant("torch fp32", PyTorch(), torch_model), first),
        Entry(Variant("torch bf16", PyTorch("bf16"), torch_model), first),
        Entry(Variant("torch int8 weight-only (torchao)", Torchao("int8-wo"), torch_model), first),
        Entry(Variant("torch int8 dynamic (torchao)", Torchao("int8-dyn"), torch_model), first),
    ]
    for exporter, path in exports.items():
        made.append(Entry(Variant(_fp32(exporter), OnnxRuntime(), path), _fp32(exporter)))
        for wish, options in WISHES.items():
            result = folder / f"{exporter}.{wish.replace(' ', '-')}.onnx"
            run([*ONNXFIX, "repair", str(path), *options, "--no-verify", "-o", str(result)])
            made.append(Entry(Variant(f"onnxfix {wish}, {exporter}", OnnxRuntime(), result), _fp32(exporter)))
    exporter, path = next(iter(exports.items()))
    peer = folder / "peer.onnx"
    run([sys.executable, "-c", PEER, str(path), str(peer)])
    made.append(Entry(Variant(f"ORT {PEER_NAME}, {exporter}", OnnxRuntime(), peer), first))
    made.append(Entry(Variant(f"OpenVINO fp32, {exporter}", Openvino(), path), first))
    made.append(Entry(Variant(f"OpenVINO bf16, {exporter}", Openvino("bf16"), path), first))
    return made


def _fp32(exporter: str) -> str:
    return f"ORT fp32, {exporter}"


def workload(vocabulary: int, batch: int, tokens: int) -> Workload:
    """One batch of full rows of ordinary token ids."""
    ids = np.random.default_rng(0).integers(5, vocabulary - 400, (batch, tokens), dtype=np.int64)
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    return Workload(f"{batch} rows of {tokens} tokens", fixed=(Batch(arrays, batch),))


def times(row: BenchRow, base: BenchRow) -> float:
    """How many times as fast as `base`: rounds of one number ran next to each other."""
    return median(theirs / ours for theirs, ours in zip(base.round_ratios, row.round_ratios, strict=True))


def table(report: BenchReport, made: Sequence[Entry]) -> str:
    rows = {row.variant: row for row in report.rows}
    width = max(map(len, rows))
    lines = [f"{'':{width}}{'median':>8}{'least':>8}{'p95':>8}{'times':>7}{'error':>10}{'MB':>8}"]
    for entry in made:
        row, base = rows[entry.variant.name], rows[entry.against]
        if row.failure:
            lines.append(f"{row.variant:{width}}  {row.failure}")
            continue
        ratio = "" if base.failure else f"{times(row, base):.2f}"
        lines.append(
            f"{row.variant:{width}}{row.ms_per_sample:8.1f}{min(row.round_ms):8.1f}{row.ms_p95:8.1f}{ratio:>7}"
            f"{row.rel_l2_logits:10.1e}{row.size_mb:8.0f}"
        )
    return "\n".join(lines) + "\n" + NOTE.format(first=made[0].against)


def verdict(report: BenchReport, exporters: Sequence[str]) -> int:
    """The exit code, and a line for each export on standard output."""
    rows = {row.variant: row for row in report.rows}
    ends = []
    for exporter in exporters:
        row, base = rows[f"onnxfix int8 dynamic, {exporter}"], rows[_fp32(exporter)]
        if row.failure or base.failure:
            ends.append(2)
            continue
        reached = times(row, base)
        ends.append(0 if reached >= TARGET else 1)
        said = "met" if reached >= TARGET else "missed"
        sys.stdout.write(f"int8 dynamic, {exporter}: {reached:.2f} times ONNX Runtime fp32, target {TARGET}: {said}\n")
    return max(ends)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path, help="a local folder; default: ModernBERT-base's config")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help=f"of the exports (default {DEFAULT_CACHE})")
    parser.add_argument("--exporter", choices=EXPORTERS, help="one of the exports alone")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=0, help="default: each runtime's own choice")
    given = parser.parse_args()
    if given.checkpoint is not None and not (given.checkpoint / "config.json").is_file():
        parser.error(f"{given.checkpoint} has no config.json")
    if min(given.batch, given.tokens, given.rounds) < 1:
        parser.error("--batch, --tokens and --rounds are 1 or more")
    try:
        with tempfile.TemporaryDirectory(prefix="int8-speed-") as folder:
            return _measured(given, Path(folder))
    except CommandFailedError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _measured(given: argparse.Namespace, folder: Path) -> int:
    from onnxfix.export.models.checkpoint import Checkpoint

    source = given.checkpoint or checkpoint(given.cache)
    cache = given.cache if given.checkpoint is None else folder
    exporters = (given.exporter,) if given.exporter else EXPORTERS
    made = entries(source, {exporter: exported(source, exporter, cache) for exporter in exporters}, folder)
    rows = workload(int(Checkpoint.open(source).config["vocab_size"]), given.batch, given.tokens)
    variants = [entry.variant for entry in made]
    # all in one group, so that each round holds every row
    course = Course(
        (Point(given.batch),), given.rounds, threads=given.threads, baseline=made[0].against, at_once=len(variants)
    )
    report = run_bench(variants, rows, course)
    sys.stdout.write(table(report, made))
    machine = ", ".join(f"{name} {report.machine[name]}" for name in report.machine if name != "system")
    sys.stdout.write(f"{rows.description}, {given.rounds} rounds; load {os.getloadavg()[0]:.1f}; {machine}\n")
    return verdict(report, exporters)


if __name__ == "__main__":
    sys.exit(main())
