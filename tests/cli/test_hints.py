"""Small words of help: what was meant, what is not taken, what is missing, and silence of ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import graphs
import numpy as np
import pytest
from encoder_graphs import encoder
from terminal import onnxfix

import onnxfix as door
from onnxfix import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.provenance import repair_record

MISSING = """import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")

sys.meta_path.insert(0, Absent())
from onnxfix.cli.main import main
main(sys.argv[1:])
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = "g (float[batch,32] x) => (float[batch,32] y) { h = MatMul(x, w) y = Tanh(h) }"
    weights = {"w": np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)}
    monkeypatch.chdir(tmp_path)
    return graphs.model(text, weights).save(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("diagnos", "no command is called 'diagnos'; did you mean 'onnxfix diagnose'?"),
        ("Repair model.onnx", "did you mean 'onnxfix repair'?"),
        ("model.onnx", "did you mean 'onnxfix diagnose model.onnx'?"),
        ("frobnicate", "there are export, diagnose, repair, optimize, diff, extract, bench, explain, doctor, demo"),
        ("diagnose model.onnx --target gpu", "'gpu' is no target; did you mean cuda? There are cuda, cpu, tensorrt"),
        ("repair --target TRT", "did you mean tensorrt?"),
        ("repair --target CUDAExecutionProvider", "did you mean cuda?"),
        ("bench model.onnx --provider gpu", "did you mean cuda? There are auto, cpu, cuda"),
        ("bench model.onnx --provider trt", "is not one of"),
        ("diagnose model.onnx --target abacus", "is not one of"),
    ],
)
def test_what_was_meant(typed: str, says: str, model: Path) -> None:
    done = onnxfix(*typed.split())
    assert done.returncode == 2 and says in done.stderr and len(done.stderr.splitlines()) == 1


def test_what_was_meant_in_python(model: Path) -> None:
    with pytest.raises(OnnxfixError, match="unknown target 'gpu'; did you mean 'cuda'"):
        door.diagnose(model, target="gpu")
    with pytest.raises(OnnxfixError, match="unknown target 'abacus'; name one of cuda, cpu"):
        door.repair(model, target="abacus")


@pytest.mark.parametrize(
    "typed",
    ["diagnose -", "diagnose model.onnx --against -", "repair -", "repair -o -", "repair --feeds -",
     "repair --report -", "repair --calibrate -", "export - -o x.onnx", "export x -o -", "extract - -o p.onnx",
     "extract model.onnx -o -", "bench -", "bench model.onnx -o -", "bench model.onnx --data -",
     "demo -o -", "diagnose x --custom-op-library -"],
)  # fmt: skip
def test_streams_are_refused(typed: str, model: Path) -> None:
    done = onnxfix(*typed.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert "'-' is no file: standard input and output are not taken here; name a file" in done.stderr
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]


def test_but_a_report_goes_to_one(model: Path) -> None:
    assert onnxfix("diagnose", "model.onnx", "-o", "-").stdout == onnxfix("diagnose", "model.onnx").stdout


def test_a_missing_runtime_is_one_line(model: Path) -> None:
    command = [sys.executable, "-P", "-c", MISSING, "diagnose", "model.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("onnxfix: error: ONNX Runtime is not installed; pip install 'onnxfix[gpu]'")
    assert len(done.stderr.splitlines()) == 1


def test_the_runtime_keeps_nothing_and_says_nothing(model: Path, tmp_path: Path) -> None:
    """It would keep a device id below the home folder, or complain on standard error where it cannot."""
    (tmp_path / "home").mkdir()
    known = {n: v for n, v in os.environ.items() if n not in ("ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS")}
    for home in (tmp_path / "home", Path("/proc/none")):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "onnxfix", "repair", "--precision", "fp32", "-o", "out.onnx"],
            capture_output=True, text=True, check=False, env={**known, "HOME": str(home), "XDG_CACHE_HOME": str(home)},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and "elemetry" in str(path)]
    assert kept == [] and not list((tmp_path / "home").rglob("*icrosoft*"))


@pytest.mark.parametrize(
    ("target", "made", "last"),
    [
        ("cuda", (), "next: onnxfix repair model.onnx --precision fp16"),
        ("cuda", ("--precision", "fp16"), "next: onnxfix bench model.onnx made.onnx --no-torch"),
    ],
)
def test_a_clean_report_ends_with_the_next_step(target: str, made: tuple[str, ...], last: str, model: Path) -> None:
    name = "model.onnx"
    if made:
        assert onnxfix("repair", *made, "-o", "made.onnx").returncode == 0
        name = "made.onnx"
    done = onnxfix("diagnose", name, "--target", target)
    assert done.stdout.splitlines()[-2:] == ["0 errors, 0 warnings, 0 notes", last]
    in_memory = door.diagnose(graphs.proto_of(graphs.model("g (float[n] x) => (float[n] y) { y = Neg(x) }")))
    assert in_memory.next_step == "onnxfix.repair(model, precision='fp16')"


def test_texts_with_attention_are_best_optimised_for_a_cpu(model: Path, tmp_path: Path) -> None:
    encoder().save(tmp_path / "text.onnx")
    last = onnxfix("diagnose", "text.onnx", "--target", "cpu").stdout.splitlines()[-1]
    assert last == "next: onnxfix optimize text.onnx --int8 dynamic"
    assert onnxfix(*last.split()[2:], "--max-error", "0.5").returncode in (0, 1)
    other = onnxfix("diagnose", "model.onnx", "--target", "cpu").stdout.splitlines()[-1]
    assert other == "next: onnxfix repair model.onnx --int8 dynamic"
    in_memory = door.diagnose(graphs.proto_of(encoder()), target="cpu")
    assert in_memory.next_step == "onnxfix.optimize(model, int8='dynamic')"


@pytest.mark.parametrize("there", [True, False])
def test_the_source_of_a_result_is_named_where_it_is_there(there: bool, model: Path, tmp_path: Path) -> None:
    """By where it lies as the result sees it, so that both may be moved."""
    (tmp_path / "sub").mkdir()
    assert onnxfix("repair", "model.onnx", "-o", "sub/made.onnx").returncode == 0
    if not there:
        (tmp_path / "model.onnx").unlink()
    last = onnxfix("diagnose", "sub/made.onnx", "--target", "cuda").stdout.splitlines()[-1]
    assert last == f"next: onnxfix bench {'model.onnx ' if there else ''}sub/made.onnx --no-torch"


def test_a_model_in_memory_leaves_no_name(model: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.onnx"
    door.repair(graphs.proto_of(Model.open(tmp_path / "model.onnx")), output=made)
    assert "source" not in repair_record(Model.open(made).ir)


def test_the_host_is_no_alarm_where_it_was_asked_for(model: Path) -> None:
    pages = {target: door.diagnose(model, target=target).to_html() for target in ("cpu", "cuda")}
    assert 'class="legend at-home"' in pages["cpu"] and 'class="legend at-home"' not in pages["cuda"]
    assert ":root:has(.at-home) { --cpu: var(--home); }" in pages["cpu"]
