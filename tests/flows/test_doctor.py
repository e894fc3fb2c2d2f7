"""What an installation is told to be, and what is wrong with it; and one line for each extra that is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import graphs
import pytest
from terminal import onnxfix as typed

import onnxfix
from onnxfix.eval.demo import CHECKPOINT

HIDING = """
import importlib.abc, sys
class Hiding(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hiding())
from onnxfix.cli.main import main
main(sys.argv[2:])
"""


def without(packages: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command where some packages cannot be imported."""
    command = [sys.executable, "-c", HIDING, packages, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_this_installation(tmp_path: Path) -> None:
    found = onnxfix.doctor()
    assert found.packages["onnxfix"] == onnxfix.__version__ and found.packages["onnx"]
    assert "CPUExecutionProvider" in found.providers and found.faults == ()
    done = typed("doctor", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["schema"] == "onnxfix.doctor/1"


def test_two_packages_of_one_runtime_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu"):
        folder = tmp_path / f"{name}-1.31.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.31.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (fault,) = onnxfix.doctor().faults
    assert fault.startswith("onnxruntime and onnxruntime-gpu are installed together")
    assert "pip uninstall onnxruntime onnxruntime-gpu" in fault


@pytest.mark.parametrize(
    ("packages", "arguments", "said"),
    [
        ("onnxruntime", ["diagnose", "m.onnx"], "ONNX Runtime is not installed; pip install 'onnxfix[gpu]', or"),
        ("onnxruntime", ["repair", "m.onnx"], "ONNX Runtime is not installed; pip install 'onnxfix[gpu]', or"),
        ("polars", ["bench", "m.onnx", "--no-torch"], "polars is not installed; pip install 'onnxfix[bench]'"),
        ("torch,transformers", ["export", str(CHECKPOINT)], "is not installed; pip install 'onnxfix[torch]'"),
    ],
)  # fmt: skip
def test_what_is_missing_is_one_line(packages: str, arguments: list[str], said: str, tmp_path: Path) -> None:
    graphs.model("g (float[b,4] x) => (float[b,4] y) { y = Relu(x) }").save(tmp_path / "m.onnx")
    done = without(packages, *arguments, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("arguments", [["diagnose", "m.onnx"], ["repair", "m.onnx", "--precision", "fp32"]])
def test_what_needs_no_extra_runs_without(arguments: list[str], tmp_path: Path) -> None:
    graphs.model("g (float[b,4] x) => (float[b,4] y) { y = Relu(x) }").save(tmp_path / "m.onnx")
    extras = "polars,vl_convert,torch,transformers,onnxscript,safetensors,tokenizers,psutil,openvino"
    done = without(extras, *arguments, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
