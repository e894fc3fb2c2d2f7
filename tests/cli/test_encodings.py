"""A terminal or a pipe of any encoding: what it cannot write is spelled, and never ends a command that has written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import graphs
import numpy as np
import pytest


def run(folder: Path, encoding: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "onnxfix", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights = {"w": np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)}
    model = graphs.model("g (float[n,32] x) => (float[n,32] y) { h = MatMul(x, w) y = Tanh(h) }", weights)
    graphs.node_named(model, "Tanh_y").name = "µ→名"
    model.save(tmp_path / "m.onnx")
    return tmp_path


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_report_is_printed_and_the_result_is_there(encoding: str, folder: Path) -> None:
    done = run(folder, encoding, "repair", "m.onnx")
    assert done.returncode == 0 and b"internal" not in done.stderr
    assert (folder / "m.fp16.onnx").exists()
    assert ("→" if encoding == "utf-8" else "->") in done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_json_keeps_every_character(encoding: str, folder: Path) -> None:
    done = run(folder, encoding, "repair", "m.onnx", "--format", "json", "--diff")
    assert "µ→名" in json.dumps(json.loads(done.stdout), ensure_ascii=False)
