"""Bad input: one line that says what to do, exit code 2, nothing written. Odd but valid input: a diagnosis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from terminal import onnxfix

WEIGHTS = {"w": np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)}


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    """A sound one-layer model."""
    model = graphs.model("g (float[batch,32] x) => (float[batch,32] y) { y = MatMul(x, w) }", WEIGHTS)
    return model.save(tmp_path / "model.onnx")


def external(path: Path, location: str = "model.onnx.data") -> Path:
    """The same model with its weight in a data file of any location."""
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def text(path: Path) -> Path:
    path.write_text("this is not a model\n" * 20)
    return path


def directory(path: Path) -> Path:
    path.unlink()
    path.mkdir()
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def outside(path: Path) -> Path:
    (path.parent.parent / "elsewhere.data").write_bytes(b"\0" * 4096)
    return external(path, "../elsewhere.data")


def linked_outside(path: Path) -> Path:
    target = path.parent.parent / "secret.data"
    target.write_bytes(b"\0" * 4096)
    (path.parent / "model.onnx.data").symlink_to(target)
    return external(path)


def short_data(path: Path) -> Path:
    (path.parent / "model.onnx.data").write_bytes(b"\0" * 100)
    return external(path)


BROKEN = [truncated, text, directory, empty, external, outside, linked_outside, short_data]


@pytest.mark.parametrize("command", ["diagnose", "repair"])
@pytest.mark.parametrize("broken", BROKEN, ids=lambda f: f.__name__)
def test_broken_input_is_one_line_and_exit_2(linear: Path, command: str, broken: object) -> None:
    path = broken(linear)  # type: ignore[operator]
    before = sorted(linear.parent.iterdir())
    done = onnxfix(command, path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("onnxfix: error: ") and "Traceback" not in line and ";" in line, "it says what to do"
    assert sorted(linear.parent.iterdir()) == before, "nothing is written"


def test_a_missing_file_and_a_missing_default(tmp_path: Path) -> None:
    assert onnxfix("diagnose", tmp_path / "no.onnx").returncode == 2
    done = onnxfix("repair", cwd=tmp_path)
    assert done.returncode == 2 and "model.onnx" in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "onnxfix", "diagnose", str(tmp_path / "no.onnx"), "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "Traceback" in done.stderr


def test_usage_errors_are_one_line_too() -> None:
    for arguments in (["diagnose"], ["diagnose", "a.onnx", "--target", "abacus"], ["frobnicate"], ["explain", "K999"]):
        done = onnxfix(*arguments)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr


def test_an_unknown_domain_is_diagnosed(tmp_path: Path) -> None:
    header = '<ir_version: 10, opset_import: ["" : 20, "com.example" : 1]>'
    model = graphs.model(f"{header} g (float[n] x) => (float[n] y) {{ y = com.example.Frobnicate(x) }}")
    done = onnxfix("diagnose", model.save(tmp_path / "custom.onnx"), "--format", "json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    (finding,) = [f for f in report["findings"] if f["name"] == "does-not-load"]
    assert finding["severity"] == "error" and "Frobnicate" in finding["message"]
    refused = onnxfix("repair", tmp_path / "custom.onnx")
    assert refused.returncode == 2 and not (tmp_path / "custom.fp16.onnx").exists()


def test_an_empty_graph_is_diagnosed(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    onnx.save(helper.make_model(helper.make_graph([], "empty", [], []), ir_version=10), path)
    done = onnxfix("diagnose", path, "--format", "json")
    assert done.returncode in (0, 1), done.stderr
    assert json.loads(done.stdout)["model"]["nodes"] == 0


def test_a_model_without_a_graph_name_or_nodes_but_an_identity_output(tmp_path: Path) -> None:
    """An output that is an input: legal, and nothing to do."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    path = tmp_path / "through.onnx"
    onnx.save(helper.make_model(helper.make_graph([], "through", [value], [value]), ir_version=10), path)
    assert onnxfix("diagnose", path).returncode in (0, 1)


@pytest.mark.parametrize(
    ("nodes", "says"),
    [("a = Add(x, b) b = Neg(a) y = Neg(b)", "contains a cycle"), ("y = Add(x, unknown)", "nothing makes")],
)
def test_graphs_that_cannot_be_walked_are_an_error_of_the_input(nodes: str, says: str, tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) {{ {nodes} }}'
    )
    onnx.save(proto, tmp_path / "m.onnx")
    done = onnxfix("repair", tmp_path / "m.onnx")
    assert done.returncode == 2 and says in done.stderr and "internal" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--metric", "argmax"), "needs --int8 or --search"), (("--search-log", "log.jsonl"), "needs --search")],
)
def test_options_of_a_search_need_one(linear: Path, options: tuple[str, str], said: str) -> None:
    done = onnxfix("repair", linear, *options)
    assert done.returncode == 2 and said in done.stderr


def test_the_source_is_never_overwritten(linear: Path) -> None:
    before = linear.read_bytes()
    done = onnxfix("repair", linear, "-o", linear)
    assert done.returncode == 2 and linear.read_bytes() == before
    nowhere = onnxfix("repair", linear, "-o", linear.parent / "missing" / "out.onnx")
    assert nowhere.returncode == 2 and "missing" in nowhere.stderr


def test_int8_dynamic_on_cuda_is_refused_with_the_reason(linear: Path) -> None:
    done = onnxfix("repair", linear, "--int8", "dynamic", "--target", "cuda")
    assert done.returncode == 2 and "DynamicQuantizeLinear has no CUDA kernel" in done.stderr


@pytest.mark.parametrize(("precision", "code"), [("bf16", 2), ("fp32", 0)])
def test_bf16_on_a_cpu_is_refused_with_what_runs_there(linear: Path, precision: str, code: int) -> None:
    """ONNX Runtime's CPU provider has no kernel of a product in bfloat16: no session would load the file."""
    done = onnxfix("repair", linear, "--precision", precision, "--target", "cpu", "-o", linear.with_name("made.onnx"))
    assert done.returncode == code and linear.with_name("made.onnx").exists() == (code == 0)
    if code:
        assert len(done.stderr.splitlines()) == 1 and "--precision bf16 does not run on cpu" in done.stderr
        assert "use --precision fp32 or fp16 or --int8 dynamic there, or --target cuda" in done.stderr


def test_what_the_runtime_refuses_is_said_without_its_source_paths(tmp_path: Path) -> None:
    model = graphs.model('<ir_version: 10, opset_import: ["" : 99]> g (float[n] x) => (float[n] y) { y = Relu(x) }')
    done = onnxfix("repair", model.save(tmp_path / "new.onnx"))
    assert done.returncode == 2 and "Opset 99" in done.stderr
    assert ".h:" not in done.stderr and "std::" not in done.stderr and "/onnxfix-" not in done.stderr


def test_a_pipe_is_no_file_to_read(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no named pipes here")
    os.mkfifo(tmp_path / "pipe.onnx")
    done = onnxfix("diagnose", tmp_path / "pipe.onnx")
    assert done.returncode == 2 and "is no regular file" in done.stderr
