"""A part and what it answered are replaced together: whoever is killed in between leaves no wrong pair."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import graphs
import numpy as np
import onnxruntime
import pytest

import onnxfix
from onnxfix.nouns.errors import OnnxfixError

TEXT = "g (float[batch,4] x) => (float[batch,4] y) { h = MatMul(x, w) r = Relu(h) y = Tanh(r) }"
# Killed right before the nth time that a file of these two names is renamed, to it or away from it.
KILLED = """
import os, signal, sys
import onnxfix
left = [int(sys.argv[2])]
def watch(event, arguments):
    if event == "os.rename" and {os.path.basename(str(a)) for a in arguments[:2]} & {"part.onnx", "part.npz"}:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
onnxfix.extract(sys.argv[1], output="part.onnx", inputs=["x"], outputs=["r"], force=True)
"""


def saved(path: Path, seed: int) -> Path:
    weights = {"w": np.random.default_rng(seed).normal(size=(4, 4)).astype(np.float32)}
    return graphs.model(TEXT, weights).save(path)


def agree(folder: Path) -> bool:
    """Whether the recorded numbers are those of the graph beside them."""
    session = onnxruntime.InferenceSession(folder / "part.onnx", providers=["CPUExecutionProvider"])
    held = dict(np.load(folder / "part.npz"))
    feeds = [name for name in held if not name.startswith("expected:")]
    return bool(feeds) and all(
        np.array_equal(session.run(None, {"x": held[name]})[0], held[f"expected:{name.rpartition('/')[0]}/r"])
        for name in feeds
    )


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_death_at_any_step_leaves_no_graph_beside_the_numbers_of_another(tmp_path: Path) -> None:
    old, new = saved(tmp_path / "old.onnx", 1), saved(tmp_path / "new.onnx", 2)
    onnxfix.extract(old, output=tmp_path / "part.onnx", inputs=["x"], outputs=["r"])
    before = (tmp_path / "part.onnx").read_bytes()
    seen = []
    for step in range(4):
        done = subprocess.run([sys.executable, "-c", KILLED, new, str(step)], cwd=tmp_path, capture_output=True)
        there = (tmp_path / "part.npz").exists()
        assert not there or agree(tmp_path)
        seen.append((done.returncode, (tmp_path / "part.onnx").read_bytes() == before, there))
        if done.returncode == 0:
            break
        onnxfix.extract(old, output=tmp_path / "part.onnx", inputs=["x"], outputs=["r"], force=True)
    assert seen == [(-9, True, True), (-9, True, False), (-9, False, False), (0, False, True)]


def test_what_cannot_be_placed_leaves_the_old_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = saved(tmp_path / "old.onnx", 1), saved(tmp_path / "new.onnx", 2)
    onnxfix.extract(old, output=tmp_path / "part.onnx", inputs=["x"], outputs=["r"])
    before = {name: (tmp_path / name).read_bytes() for name in ("part.onnx", "part.npz")}
    rename = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target) == tmp_path / "part.onnx":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises((OSError, OnnxfixError)):
        onnxfix.extract(new, output=tmp_path / "part.onnx", inputs=["x"], outputs=["r"], force=True)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
