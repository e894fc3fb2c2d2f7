"""However a run ends, nothing of it lies about: gone at once, or, where it was killed, with the next run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import graphs
import numpy as np
import pytest
from terminal import onnxfix

SLEEPER = "import time\ndef surgery(graph):\n    print('asleep', flush=True)\n    time.sleep(60)\n"
LEAVER = "import os\ndef surgery(graph):\n    os._exit(3)\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = "g (float[batch,32] x) => (float[batch,32] y) { h = MatMul(x, w) y = Tanh(h) }"
    weights = {"w": np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)}
    for name in ("work", "temporary"):
        (tmp_path / name).mkdir()
    graphs.model(text, weights).save(tmp_path / "work" / "model.onnx")
    (tmp_path / "work" / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "work" / "leaver.py").write_text(LEAVER)
    return tmp_path


def started(folder: Path, script: str, before: str = "") -> subprocess.Popen[str]:
    code = f"import sys\n{before}\nfrom onnxfix.cli.main import main\nmain(sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, "repair", "model.onnx", "--script", script], cwd=folder / "work",
        env={**os.environ, "TMPDIR": str(folder / "temporary")}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def left(folder: Path) -> list[str]:
    """What lies in both places that is a run's own; what its children leave is given a moment."""
    for _ in range(50):
        found = [*(folder / "work").glob(".onnxfix-*"), *(folder / "temporary").glob("onnxfix-*")]
        if not found:
            break
        time.sleep(0.1)
    return [path.name for path in found]


def asleep(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    assert process.stderr.readline() == "asleep\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_leaves_nothing(name: str, folder: Path) -> None:
    process = started(folder, "sleeper.py")
    asleep(process)
    assert list((folder / "work").glob(".onnxfix-*"))
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=120)
    assert process.returncode != 0 and left(folder) == []
    assert sorted(p.name for p in (folder / "work").iterdir()) == ["leaver.py", "model.onnx", "sleeper.py"]


def test_nohup_goes_on(folder: Path) -> None:
    process = started(folder, "sleeper.py", "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    asleep(process)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=120)


@pytest.mark.parametrize("script", ["sleeper.py", "leaver.py"])
def test_what_a_killed_run_left_is_cleared_by_the_next(
    script: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = started(folder, script)
    if script == "sleeper.py":
        asleep(process)
        process.kill()
    process.communicate(timeout=120)
    stranger = folder / "work" / ".onnxfix-notours"  # of the same kind of name, with something in it
    stranger.mkdir()
    (stranger / "mine.txt").write_text("mine")
    living = started(folder, "sleeper.py")
    asleep(living)
    stage = [p for p in (folder / "work").glob(".onnxfix-*") if p != stranger]
    assert len(stage) == 1, "the next cleared what the first left, and works in a folder of its own"
    done = onnxfix("repair", "model.onnx", "--precision", "fp32", cwd=folder / "work")
    assert done.returncode == 0 and stage[0].is_dir() and living.poll() is None, "not of one that lives"
    living.terminate()
    living.communicate(timeout=120)
    assert (stranger / "mine.txt").read_text() == "mine"
    (stranger / "mine.txt").unlink()
    stranger.rmdir()
    assert left(folder) == []


def test_an_interrupted_bench_says_how_to_go_on(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "onnxfix", "bench", "model.onnx", "--no-torch", "--rounds", "100000"],
        cwd=folder / "work", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not (folder / "work" / "bench" / "parts" / "bench.json").is_file():
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (2, "onnxfix: error: interrupted; --resume goes on where it was\n")
