"""How fast the graphs of `onnxfix optimize` are: `python benchmarks/fastest_graphs.py [--model modernbert|bert|minilm]
[--layers 3] [--rounds 9] [--only 8x128 8x512] [--rows "fp32 fastest" "torch fp32"]`.

A model with random weights is exported by torch's dynamo exporter; ONNX Runtime on one thread runs the export, each
recipe in fp32 and with int8 linears, onnxscript's `optimize_for_ort` and ONNX Runtime's own quantizer side by side in
rounds, beside OpenVINO, CTranslate2 (BERT, where it is installed) and torch in fp32 and bf16, as padded and each row
alone. Times are CPU seconds of the process, which a busy machine changes least; ratios are to the export, at 8,192
tokens to the fused graph, the median over rounds.

Ends with 0 when the targets in TARGETS are met, 1 when not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import fastest_peers as peers
import numpy as np
import onnxruntime
import torch
import transformers
from fastest_peers import Arrays, Run

import onnxfix

DEFAULT_CACHE = Path(tempfile.gettempdir()) / "onnxfix-fastest-graphs"
RECIPES = ("fused", "packed", "packed-bands", "packed-rows", "fastest")
TARGETS = {
    ("modernbert", "8x128"): {"fp32 fastest": 1.0, "int8 fastest": 2.9},
    ("modernbert", "8x512"): {"fp32 fastest": 3.0, "int8 fastest": 7.5},
    ("modernbert", "1x2048"): {"fp32 fastest": 1.9, "int8 fastest": 4.0},
    ("modernbert", "1x8192"): {"fp32 fastest": 2.8, "int8 fastest": 4.5},
    ("bert", "8x128"): {"int8 fastest": 3.2},
    ("bert", "8x512"): {"fp32 fastest": 2.5, "int8 fastest": 6.0},
}
"""Speed by that of the first row."""


@dataclass(frozen=True)
class Load:
    """`rows` of up to `length` tokens, a part `fill` of which is real."""

    rows: int
    length: int
    fill: float

    @property
    def name(self) -> str:
        return f"{self.rows}x{self.length}"

    def arrays(self, words: int, seed: int = 0) -> Arrays:
        rng = np.random.default_rng(seed)
        shortest = max(0.05, 2 * self.fill - 1)
        lengths = np.linspace(shortest, 2 * self.fill - shortest, self.rows) * self.length
        mask = np.arange(self.length)[None] < np.maximum(lengths.round(), 1)[:, None]
        ids = rng.integers(5, words, (self.rows, self.length))
        return {"input_ids": ids, "attention_mask": mask.astype(np.int64)}


LOADS = (
    Load(1, 16, 1.0),
    Load(8, 32, 0.6),
    Load(8, 128, 1.0),
    Load(8, 512, 0.4),
    Load(32, 128, 0.4),
    Load(1, 2048, 1.0),
    Load(1, 8192, 1.0),
)
LEAST_S = 0.1
"""Of what is timed at once: a short text takes milliseconds, and runs as often as fit."""
LONG = 4096
"""From here on what is not fused takes gigabytes and minutes, so that rows are held against the fused graph."""
AT_LENGTH = ("fp32 fused", "fp32 fastest", "int8 fused", "int8 fastest")
WORDS = 30000
SLOW, SLOW_ROUNDS = 3.0, 2
"""What takes so many times as long as the export, as bf16 does on a CPU without it, is timed in so many rounds."""
OPENVINO = "OpenVINO"


def module(name: str, layers: int) -> tuple[torch.nn.Module, int]:
    """A model with random weights, and its longest row."""
    torch.manual_seed(0)
    if name == "modernbert":
        return transformers.ModernBertModel(transformers.ModernBertConfig(num_hidden_layers=layers)).eval(), 8192
    sizes = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536} if name == "minilm" else {}
    config = transformers.BertConfig(num_hidden_layers=layers, **sizes)
    return transformers.BertModel(config, add_pooling_layer=False).eval(), config.max_position_embeddings


class Answers(torch.nn.Module):
    """The last hidden state alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return found


def exported(name: str, layers: int, folder: Path) -> Path:
    path = folder / f"{name}{layers}.onnx"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        ids = torch.ones((2, 16), dtype=torch.int64)
        axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
        names = ["input_ids", "attention_mask"]
        torch.onnx.export(
            Answers(module(name, layers)[0]), (ids, torch.ones_like(ids)), path, dynamo=True, input_names=names,
            output_names=["y"], dynamic_shapes=dict.fromkeys(names, axes), opset_version=20,
        )  # fmt: skip
    return path


def files(source: Path, folder: Path, rows: list[str]) -> dict[str, Path]:
    """The export and all that is made of it; of `rows` alone where any are named."""
    made = {"export": source}
    for scheme, how in (("fp32", {}), ("int8", {"int8": "dynamic", "max_error": 1.0})):
        for recipe in RECIPES:
            if rows and f"{scheme} {recipe}" not in rows:
                continue
            path = folder / f"{source.stem}.{scheme}.{recipe}.onnx"
            onnxfix.repair(
                source, output=path, target="cpu", precision="fp32", recipe=recipe, verify=False, force=True, **how
            )  # type: ignore[arg-type]
            made[f"{scheme} {recipe}"] = path
    others: Mapping[str, Callable[[Path, Path], None]] = {"optimize_for_ort": _onnxscript, "ORT int8": _quantizer}
    _for_openvino(made, source, folder, rows)
    for name, make in others.items():
        if rows and name not in rows:
            continue
        path = folder / f"{source.stem}.{name.replace(' ', '-')}.onnx"
        try:
            make(source, path)
            made[name] = path
        except Exception as error:  # another project's: it is a row that is not there
            sys.stdout.write(f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:90]}\n")
    return made


def _for_openvino(made: dict[str, Path], source: Path, folder: Path, rows: list[str]) -> None:
    """With integers as well; their ranges are taken from tokens drawn anew."""
    ranges = [replace(LOADS[0], rows=4).arrays(WORDS, seed=1)]
    for row, recipe, how in (
        ("fp32 fastest", "fastest", {}),
        ("int8", None, {"int8": "static", "calibrate": ranges, "max_error": 1.0}),
        ("int8 fastest", "fastest", {"int8": "static", "calibrate": ranges, "max_error": 1.0}),
    ):
        if rows and f"{OPENVINO} {row}" not in rows:
            continue
        path = folder / f"{source.stem}.openvino-{row.replace(' ', '-')}.onnx"
        onnxfix.repair(
            source, output=path, target="openvino", precision="fp32", recipe=recipe, verify=False, force=True, **how
        )  # type: ignore[arg-type]
        made[f"{OPENVINO} {row}"] = path


def _onnxscript(source: Path, result: Path) -> None:
    import onnx_ir as ir
    from onnxscript.rewriter.ort_fusions import optimize_for_ort

    done, _ = optimize_for_ort(ir.load(source))
    ir.save(done, result)


def _quantizer(source: Path, result: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, result, use_external_data_format=True)


def runs(paths: Mapping[str, Path], name: str, layers: int, folder: Path) -> dict[str, Run]:
    """What runs a batch, by name."""
    made: dict[str, Run] = {}
    for each, path in paths.items():
        if each.startswith(OPENVINO):
            continue
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        made[each] = lambda arrays, session=session: session.run(None, arrays)[0]  # type: ignore[misc]
    theirs = {each: path for each, path in paths.items() if each.startswith(OPENVINO)}
    made |= peers.of_openvino({f"{OPENVINO} fp32": paths["export"], **theirs})
    if name != "modernbert":
        made |= peers.of_ctranslate2(module(name, layers)[0], folder)
    for kind in ("fp32", "bf16"):
        made |= peers.of_torch(Answers(module(name, layers)[0]), kind)
    return made


def measured(engines: Mapping[str, Run], load: Load, rounds: int) -> list[str]:
    """Lines of a table; a mark behind what misses its target."""
    arrays = load.arrays(WORDS)
    shown = arrays["attention_mask"].astype(bool)
    first = next(iter(engines))
    wanted = engines[first](arrays)[shown]
    errors = {}
    warm: dict[str, float] = {}
    for name, run in engines.items():
        begun = time.process_time()
        found = run(arrays)[shown]
        warm[name] = time.process_time() - begun
        errors[name] = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
    times_each = max(1, int(LEAST_S / max(warm[first], 1e-3)))
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(rounds):
        for name, run in engines.items():
            if turn >= SLOW_ROUNDS and warm[name] > SLOW * warm[first]:
                continue
            begun = time.process_time()
            for _ in range(times_each):
                run(arrays)
            seconds[name].append((time.process_time() - begun) / times_each)
    lines = [f"{load.name}, {shown.mean():.0%} full{'':14}{'seconds':>10}{'speed':>8}{'error':>10}"]
    for name, times in seconds.items():
        speed = median(base / own for base, own in zip(seconds[first], times, strict=False))
        lines.append(f"{name:32}{median(times):10.4f}{speed:8.2f}{errors[name]:10.1e}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("modernbert", "bert", "minilm"), default="modernbert")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="*", default=[], help="loads, as in 8x128")
    parser.add_argument("--rows", nargs="*", default=[], help="what runs beside the export, as in 'fp32 fastest'")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    source = exported(given.model, given.layers, given.cache)
    engines = runs(files(source, given.cache, given.rows), given.model, given.layers, given.cache)
    engines = {name: run for name, run in engines.items() if not given.rows or name in ("export", *given.rows)}
    longest, missed = module(given.model, 1)[1], 0
    for load in LOADS:
        if load.length > longest or (given.only and load.name not in given.only):
            continue
        few = {name: engines[name] for name in AT_LENGTH if name in engines} if load.length > LONG else engines
        lines = measured(few, load, given.rounds)
        sys.stdout.write("\n".join(lines) + "\n")
        for name, target in TARGETS.get((given.model, load.name), {}).items():
            if name not in few:
                continue
            speed = float(next(line for line in lines if line.startswith(f"{name} ")).split()[-2])
            missed += speed < target
            sys.stdout.write(f"{name}: {speed:.2f}, target {target}: {'met' if speed >= target else 'missed'}\n")
        sys.stdout.write("\n")
        sys.stdout.flush()
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
