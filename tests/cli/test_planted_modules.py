"""No command runs code that lies in the current folder, whatever it is called, but what its user names."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import graphs
import numpy as np
import pytest

# What python -m itself imports before any of our lines runs.
EARLIER = {"runpy", "types", "importlib", "warnings", "io", "os", "sys", "pkgutil", "contextlib", "collections"}
INSTALLED = {
    "numpy", "onnx", "onnxruntime", "torch", "onnx_ir", "click", "rich", "polars", "ml_dtypes", "sympy", "transformers",
    "google", "onnx_graphsurgeon", "vl_convert",
}  # fmt: skip
FACTORY = """import json
import torch

def make():
    assert json.dumps([1]) == "[1]"
    return torch.nn.Linear(4, 2), {"input": torch.zeros(2, 4)}

def score(gold, logits): return 1.0
"""
COMMANDS = {
    "diagnose": "diagnose model.onnx --against model.onnx",
    "repair": "repair model.onnx --script named.py",
    "int8": "repair model.onnx --int8 dynamic",
    "extract": "extract model.onnx --inputs h -o part.onnx",
    "bench": "bench model.onnx --no-torch --rounds 1 --limit 2 -o out",
    "export": "export --factory own:make -o made.onnx",
    "explain": "explain K001",
}
ANSWERS = {"export": "verified", "bench": "wrote out", "explain": "Repair:"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model among modules of all names that are imported anywhere; each leaves a file RAN."""
    text = "g (float[batch,32] x) => (float[batch,32] y) { h = MatMul(x, w) y = Tanh(h) }"
    weights = {"w": np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)}
    graphs.model(text, weights).save(tmp_path / "model.onnx")
    there = {name for name in {*sys.stdlib_module_names, *INSTALLED} - EARLIER if importlib.util.find_spec(name)}
    for name in there | {"sitecustomize", "usercustomize"}:  # else a factory may mean the one beside it
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'a').write({name!r} + ' ')\n")
    (tmp_path / "own.py").write_text(FACTORY)
    (tmp_path / "named.py").write_text("import json\njson.dumps([])\ndef surgery(graph): return graph\n")
    return tmp_path


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def started(folder: Path, command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "onnxfix", *command.split()], cwd=folder, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_planted_runs(command: str, folder: Path) -> None:
    process = started(folder, COMMANDS[command])
    said, _ = process.communicate(timeout=300)
    assert not (folder / "RAN").exists(), (folder / "RAN").read_text()
    assert process.returncode == 0 and ANSWERS.get(command, "") in said, said


def test_nor_when_the_demo_begins(folder: Path) -> None:
    process = started(folder, "demo --limit 2")
    while not (folder / "onnxfix-demo" / "models").is_dir() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(6)  # by now its first child imports torch
    assert process.poll() is None, process.communicate()[0]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "RAN").exists(), (folder / "RAN").read_text()
    assert (folder / "onnxfix-demo" / "models").is_dir()


def test_planted_modules_would_run(folder: Path) -> None:
    code = "import sys; sys.path.insert(0, ''); import numpy"
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(), check=True)
    assert (folder / "RAN").read_text().startswith("numpy")
