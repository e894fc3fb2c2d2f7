"""torchao's int8 linears and OpenVINO in the bench; where they are not installed, the row says so."""

import importlib.util
import json
import sys
from pathlib import Path

import bench_models as models
import numpy as np
import pytest

from onnxfix.cli.main import main
from onnxfix.eval.bench.bench import Course, Variant, run_bench
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.run.engines.openvino import Openvino, OpenvinoRunner
from onnxfix.eval.run.engines.pytorch import TorchRunner, weights_bytes
from onnxfix.eval.run.engines.torchao import Torchao, quantize
from onnxfix.eval.run.runners import LoadFailure, RunFailure
from onnxfix.nouns.errors import OnnxfixError

torch = pytest.importorskip("torch")
HAS_TORCHAO = importlib.util.find_spec("torchao") is not None
needs_torchao = pytest.mark.skipif(not HAS_TORCHAO, reason="torchao is not installed")
lacks_torchao = pytest.mark.skipif(HAS_TORCHAO, reason="torchao is installed")
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
INT8 = ("torch int8-wo (torchao)", "torch int8-dyn (torchao)")
IDS = np.arange(24).reshape(4, 6) % models.VOCABULARY
FEED = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}


def test_without_torchao_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(LoadFailure, match=r"torchao is not installed; pip install 'onnxfix\[torchao\]'"):
        Torchao("int8-wo").load(models.linear_classifier, provider="cpu", threads=0, name="int8")


def test_without_openvino_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(LoadFailure, match=r"openvino is not installed; pip install 'onnxfix\[openvino\]'"):
        OpenvinoRunner(models.save_onnx(tmp_path / "m.onnx"))


def test_bytes_of_weights_are_those_of_the_tensors() -> None:
    module = models.linear_classifier()[0]
    module.twin = module.inner  # shared: counted once
    expected = 4 * (models.VOCABULARY * 256 + 256 * 512 + 512 + 512 * models.CLASSES + 256)
    assert weights_bytes(module) == expected


@needs_torchao
@pytest.mark.parametrize(("dtype", "least", "most"), [("int8-wo", 1e-4, 1e-2), ("int8-dyn", 1e-3, 3e-2)])
def test_linears_are_int8_and_nearly_right(dtype: str, least: float, most: float) -> None:
    expected = TorchRunner(models.linear_classifier()[0], ["category"]).run(FEED)["category"]
    loaded = Torchao(dtype).load(models.linear_classifier, provider="cpu", threads=0, name="int8")
    answer = loaded.runner.run(FEED)["category"]
    assert least < np.linalg.norm(answer - expected) / np.linalg.norm(expected) < most


@needs_torchao
@pytest.mark.parametrize("how", ["weights", "dynamic"])
def test_linears_alone_are_quantized(how: str) -> None:
    module = models.linear_classifier()[0]
    before = weights_bytes(module)
    quantize(module, how)  # type: ignore[arg-type]
    kinds = {name: type(value).__name__ for name, value in module.named_parameters()}
    assert kinds["inner.weight"] == kinds["outer.weight"] == "Int8Tensor"
    assert kinds["table.weight"] == kinds["inner.bias"] == "Parameter"
    saved = 3 * (256 * 512 + 512 * models.CLASSES)
    assert before - saved < weights_bytes(module) <= before - saved + 8 * (512 + models.CLASSES) + 64, "and scales"


@needs_torchao
def test_what_torchao_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchao.quantization

    def refuse(*_: object) -> None:
        raise AssertionError("no\nkernel")

    monkeypatch.setattr(torchao.quantization, "quantize_", refuse)
    with pytest.raises(OnnxfixError, match=r"^torchao fails: no kernel; .*torchao=False"):
        quantize(models.linear_classifier()[0], "weights")


def _bench(tmp_path: Path, *arguments: str) -> dict[str, dict[str, object]]:
    path = models.save_onnx(tmp_path / "model.onnx")
    more = ["--factory", "bench_models:linear_module", "--rounds", "1", "--provider", "cpu", "-o", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        main(["bench", str(path), *more, *arguments])
    assert stopped.value.code == 0
    return {row["variant"]: row for row in json.loads((tmp_path / "summary.json").read_text())["rows"]}


@needs_torchao
def test_torchao_rows_are_there_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    rows = _bench(tmp_path)
    sizes = [rows[name]["size_mb"] for name in ("torch fp32", *INT8)]
    assert sizes[1] < sizes[0] / 2 and sizes[2] < sizes[0] / 2  # type: ignore[operator]
    assert all(not rows[name]["failure"] and rows[name]["ms_per_sample"] for name in INT8)
    assert 0 < rows[INT8[0]]["rel_l2_logits"] < rows[INT8[1]]["rel_l2_logits"] < 0.05  # type: ignore[operator]
    assert [rows[name]["dtype"] for name in INT8] == ["int8-wo", "int8-dyn"]


@needs_torchao
def test_torchao_rows_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert not set(INT8) & set(_bench(tmp_path, "--no-torchao"))


@lacks_torchao
def test_torchao_rows_that_were_asked_for_say_why_they_are_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    rows = _bench(tmp_path, "--torchao")
    for name in INT8:
        assert rows[name]["result"] == "does not load: torchao is not installed; pip install 'onnxfix[torchao]'"
    assert not set(INT8) & set(_bench(tmp_path))


@needs_openvino
def test_openvino_answers_as_onnx_runtime_does(tmp_path: Path) -> None:
    path = models.save_onnx(tmp_path / "model.onnx")
    variants = [
        Variant("ort", OnnxRuntime(), path),
        Variant("fp32", Openvino(), path),
        Variant("bf16", Openvino("bf16"), path),
        Variant("int8", Openvino("int8-wo"), path),
    ]
    report = run_bench(variants, models.workload(16), Course(rounds=1, points=(Point(8),), threads=1))
    _, fp32, bf16, int8 = report.rows
    assert (fp32.failure, bf16.failure) == ("", "")
    assert fp32.rel_l2_logits < 1e-5 and bf16.rel_l2_logits < 3e-2
    assert (bf16.kind, bf16.dtype) == ("openvino", "bf16")
    assert fp32.size_mb == path.stat().st_size / 1e6
    assert int8.result == "does not load: OpenVINO has no precision int8-wo for floats; take fp32 or bf16"


@needs_openvino
def test_a_feed_that_openvino_refuses_is_one_line(tmp_path: Path) -> None:
    runner = OpenvinoRunner(models.save_onnx(tmp_path / "model.onnx"), threads=1)
    with pytest.raises(RunFailure, match=r"^OpenVINO fp32 fails in OpenVINO: .*") as failure:
        runner.run({"absent": np.zeros(3)})
    assert "\n" not in str(failure.value)
