"""What a call reads is never what it writes, and nothing that is not ours is replaced unasked: in both doors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from terminal import onnxfix

import onnxfix as door
from onnxfix import OnnxfixError

TEXT = "g (float[batch,32] x) => (float[batch,32] y) { h = MatMul(x, w) y = Tanh(h) }"
SCRIPT = "def surgery(graph):\n    return graph\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, and one file of each kind that a call may read."""
    weights = {"w": np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)}
    graphs.model(TEXT, weights).save(tmp_path / "model.onnx")
    np.savez(tmp_path / "feeds.npz", x=np.ones((2, 32), np.float32))
    (tmp_path / "own.py").write_text(SCRIPT)
    (tmp_path / "own.json").write_text('{"mine": 1}')
    (tmp_path / "check").mkdir()
    (tmp_path / "check" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


REPAIRS: list[tuple[str, dict[str, Any]]] = [
    ("feeds.npz", {"feeds": "feeds.npz"}),
    ("./feeds.npz", {"calibrate": "feeds.npz", "precision": "fp16"}),
    ("own.py", {"script": "own.py"}),
    ("own.py", {"script_last": "own.py:surgery"}),
    ("check/config.json", {"checkpoint": "check"}),
    ("model.onnx", {}),
]


@pytest.mark.parametrize(("output", "given"), REPAIRS, ids=lambda x: next(iter(x), "") if isinstance(x, dict) else x)
def test_no_result_over_what_was_read(output: str, given: dict[str, Any], folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(OnnxfixError, match="is read by this very call; give another output"):
        door.repair("model.onnx", output=output, force=True, **{"precision": "fp32", **given})
    typed = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    done = onnxfix("repair", "model.onnx", "-o", output, "--force", *typed)
    assert done.returncode == 2 and "is read by this very call; give another --output" in done.stderr
    assert contents(folder) == before
    shutil.copy(output, "other.onnx")  # the same bytes under another name are nobody's
    assert door.repair("model.onnx", output="other.onnx", force=True, precision="fp32").output == Path("other.onnx")


def test_nor_over_what_lies_beside_the_graph(folder: Path) -> None:
    import onnx

    onnx.save(onnx.load("model.onnx"), "apart.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(OnnxfixError, match=r"w\.bin is read by this very call"):
        door.repair("apart.onnx", output="w.bin", force=True, precision="fp32")
    done = onnxfix("diagnose", "model.onnx", "--against", "apart.onnx", "-o", "w.bin", "--format", "json")
    assert done.returncode == 2


OTHERS: list[tuple[list[str], str, Callable[[], object] | None]] = [
    (["repair", "model.onnx", "--script", "own.py", "--report", "own.json"], "own.json exists and is no report", None),
    (["diagnose", "model.onnx", "--format", "json", "-o", "own.json"], "own.json exists and is no report", None),
    (
        ["extract", "model.onnx", "--inputs", "h", "-o", "feeds.onnx", "--feeds", "feeds.npz", "--force"],
        "feeds.npz is read by this very call",
        lambda: door.extract("model.onnx", inputs="h", output="feeds.onnx", feeds="feeds.npz", force=True),
    ),
    (
        ["export", "check", "-o", "check/config.json", "--force"],
        "check/config.json is read by this very call",
        lambda: door.export("check", output="check/config.json", force=True),
    ),
    (
        ["bench", "model.onnx", "--no-torch", "-o", "taken"],
        "taken/REPORT.md exists and no bench made it",
        lambda: door.bench("model.onnx", torch=False, output="taken"),
    ),
    (
        ["bench", "model.onnx", "--no-torch", "-o", "kept"],
        "kept/parts exists and no bench made it",
        lambda: door.bench("model.onnx", torch=False, output="kept"),
    ),
]


@pytest.mark.parametrize(("typed", "says", "call"), OTHERS, ids=lambda x: x[0] if isinstance(x, list) else "")
def test_nothing_of_somebody_else_is_replaced(
    typed: list[str], says: str, call: Callable[[], object] | None, folder: Path
) -> None:
    for name in ("taken/REPORT.md", "kept/parts/mine.txt"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
    before = contents(folder)
    done = onnxfix(*typed)
    assert done.returncode == 2 and says in done.stderr and len(done.stderr.splitlines()) == 1
    if call is not None:
        with pytest.raises(OnnxfixError, match=says):
            call()
    assert contents(folder) == before


@pytest.mark.parametrize(("form", "name"), [("json", "r.json"), ("html", "r.html"), ("markdown", "r.md"),
                                            ("sarif", "r.sarif"), ("text", "r.txt")])  # fmt: skip
def test_a_report_of_ours_is_replaced(form: str, name: str, folder: Path) -> None:
    typed = ("diagnose", "model.onnx", "--target", "cpu", "--format", form, "-o", name)
    for _ in range(2):
        assert onnxfix(*typed).returncode == 0
    Path(name).write_text("mine")
    assert onnxfix(*typed).returncode == 2 and Path(name).read_text() == "mine"
    assert onnxfix(*typed, "--force").returncode == 0 and Path(name).read_text() != "mine"


def test_the_report_of_a_repair(folder: Path) -> None:
    typed = ("repair", "model.onnx", "--precision", "fp32", "--no-verify", "--report")
    for _ in range(2):
        assert onnxfix(*typed, "r.json").returncode == 0
    assert onnxfix(*typed, "own.json", "--force").returncode == 0
    assert json.loads(Path("own.json").read_text())["schema"] == "onnxfix.repair/1"


@pytest.mark.parametrize("value", ["", "-", 3, ["a.onnx"], b"a.onnx"])
def test_what_is_no_path(value: Any, folder: Path) -> None:
    before = contents(folder)
    for call in (door.repair, door.bench, lambda m, output: door.extract(m, inputs="h", output=output)):
        with pytest.raises(OnnxfixError, match=r"output=.* is no path; name a file"):
            call("model.onnx", output=value)
    with pytest.raises(OnnxfixError, match=r"output=.* is no path; name a file"):
        door.export("check", output=value)
    assert contents(folder) == before


@pytest.mark.parametrize("call", [door.repair, door.diagnose, door.bench])
def test_a_checkpoint_that_is_no_path(call: Any, folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(OnnxfixError, match="checkpoint=3 is no path; name a folder"):
        call("model.onnx", checkpoint=3)
    assert contents(folder) == before
