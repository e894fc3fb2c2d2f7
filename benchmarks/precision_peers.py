"""The converters that precision_zoo.py compares: each takes the file of an fp32 model and writes one in half precision.

onnxconverter-common and onnxruntime.transformers are called with their own defaults. NVIDIA's ModelOpt AutoCast decides
by activations what stays in fp32, so it is given one padded row to look at: it keeps every activation of every row in
memory. It runs in an interpreter of its own, because it pins other versions of onnx and onnxruntime.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.eval.run.runners import Array
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.target import Target
from onnxfix.surgery.engines import common_fp16, runtime_fp16
from onnxfix.surgery.recipes import Wish, recipe

# Each with the precisions it can make.
CONVERTERS = {
    "onnxfix": ("fp16", "bf16"),
    "onnxconverter-common": ("fp16",),
    "onnxruntime": ("fp16",),
    "modelopt": ("fp16", "bf16"),
}
AUTOCAST = "modelopt.onnx.autocast"
NOT_INSTALLED = "not installed: name an interpreter that has it with --modelopt-python"


@dataclass(frozen=True)
class Conversion:
    """What is asked of every converter. `calibration`: inputs that the model takes, input name → array."""

    precision: str
    calibration: Mapping[str, Array]
    modelopt_python: Path | None = None


def converted(names: Sequence[str], source: Path, wanted: Conversion) -> Iterator[tuple[str, Path | None, str]]:
    """(converter, its result, ""), or (converter, None, why it failed). A result is deleted when the next one is asked
    for: those of ModernBERT-large are 0.8 GB each."""
    for name in names:
        with tempfile.TemporaryDirectory(prefix="onnxfix-precision-") as folder:
            try:
                made = convert(name, source, Path(folder) / f"{wanted.precision}.onnx", wanted)
            except OnnxfixError as error:
                yield name, None, str(error)
            else:
                yield name, made, ""


def convert(name: str, source: Path, destination: Path, wanted: Conversion) -> Path:
    """Convert one file by the converter of that name, and return `destination`. Raises OnnxfixError when it fails."""
    if name == "onnxfix":
        return _onnxfix(source, destination, wanted.precision)
    if name == "onnxconverter-common":
        return common_fp16(source, destination)
    if name == "onnxruntime":
        return runtime_fp16(source, destination)
    return _modelopt(source, destination, wanted)


def absence(name: str, precision: str, modelopt_python: Path | None) -> str:
    """Why a converter cannot take part, empty when it can."""
    if precision not in CONVERTERS[name]:
        return f"has no {precision}"
    return NOT_INSTALLED if name == "modelopt" and modelopt_python is None else ""


def versions(modelopt_python: Path | None) -> dict[str, str]:
    """Package → version of everything whose figures are in the table. Raises OnnxfixError without AutoCast in a named
    interpreter."""
    found = {name: _version(name) for name in ("onnxfix", "onnx", "onnxconverter-common")}
    found["onnxruntime"] = _version("onnxruntime-gpu") or _version("onnxruntime")
    if modelopt_python is not None:
        code = f"import {AUTOCAST}, importlib.metadata as m; print(m.version('nvidia-modelopt'))"
        try:
            done = _run([str(modelopt_python), "-I", "-c", code])
        except OSError as error:
            raise OnnxfixError(f"{modelopt_python} cannot be started: {error.strerror}", "check the path") from error
        if done.returncode:
            raise OnnxfixError(f"{modelopt_python} has no {AUTOCAST}: {_last_line(done)}", "see benchmarks/README.md")
        found["modelopt"] = done.stdout.split()[-1]
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _onnxfix(source: Path, destination: Path, precision: str) -> Path:
    """As `onnxfix repair --no-verify` with its defaults: verification would hide a wrong result from the table."""
    target = Target.resolve("cuda")

    def plan(changed: Model) -> Plan:
        return forecast(changed, target)

    model = Model.open(source)
    result, _ = recipe(Wish(target, precision), model, plan).apply(model)
    return result.save(destination)


def _modelopt(source: Path, destination: Path, wanted: Conversion) -> Path:
    """AutoCast's command line. Inputs and outputs keep their types, as with the other converters."""
    with tempfile.TemporaryDirectory(prefix="onnxfix-autocast-") as folder:
        calibration = Path(folder) / "padded.npz"
        np.savez(calibration, allow_pickle=False, **dict(wanted.calibration))
        options = {
            "--onnx_path": source.resolve(),
            "--output_path": destination.resolve(),
            "--low_precision_type": wanted.precision,
            "--calibration_data": calibration,
            "--providers": "cpu",
        }
        words = [str(word) for pair in options.items() for word in pair]
        done = _run([str(wanted.modelopt_python), "-I", "-m", AUTOCAST, *words, "--keep_io_types"], folder)
    if done.returncode:
        raise OnnxfixError(f"modelopt fails: {_last_line(done)}")
    return destination


def _run(command: list[str], folder: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return " ".join(lines[-1].split())[:300]
