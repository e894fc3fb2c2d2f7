"""Models that arrive in half precision: compared with what they mean, which is their own numbers in fp32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import graphs
import ml_dtypes
import numpy as np
import onnx
import pytest
from terminal import onnxfix

from onnxfix.eval.numerics.emulator import emulated
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.widen_to_fp32 import WidenToFp32

RNG = np.random.default_rng(0)
W = (RNG.standard_normal((16, 16)) * 0.3).astype(np.float16)
OFF = "the source itself"


def saved(model: Model, folder: Path) -> Path:
    onnx.save(graphs.proto_of(model), folder / "model.onnx")
    return folder / "model.onnx"


def repaired(source: Path, *options: object) -> dict[str, Any]:
    done = onnxfix("repair", source, *options, "-o", source.with_name("out.onnx"), "--force", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def norm(scale: float) -> Model:
    """An RMSNorm of activations of about this size, without any rotary in the model."""
    return graphs.model(
        """g (float16[b,16] x) => (float16[b,16] y) <int64[1] last = {-1}> {
            d = Mul(x, k) s = Mul(d, d) m = ReduceMean(s, last) e = Add(m, eps) r = Sqrt(e) n = Div(d, r)
            y = MatMul(n, w)
        }""",
        {"w": W, "k": np.array(scale, np.float16), "eps": np.array(1e-5, np.float16)},
    )


def wide_of(model: Model) -> Model:
    result = model.clone()
    graph_pass.run(WidenToFp32(), result)
    return result


def halves(path: Path) -> set[str]:
    types = infer(Model.open(path).ir)
    return {value.name or "" for value, kind in types.of.items() if kind in ("tensor(float16)", "tensor(bfloat16)")}


def error(source: Model, result: Path, half: bool) -> float:
    """Against the source's numbers in fp32; a half result in arithmetic that rounds every node."""
    x = RNG.standard_normal((5, 16)).astype(np.float16)
    made = Model.open(result)
    found = graphs.run(emulated(made) if half else made, {"x": x})["y"]
    return graphs.rel_l2(graphs.run(wide_of(source), {"x": x})["y"].astype(np.float64), found.astype(np.float64))


@pytest.mark.parametrize(("scale", "off"), [(500.0, True), (1.0, False)])
def test_a_norm_that_overflows_in_half_is_brought_to_fp32(scale: float, off: bool, tmp_path: Path) -> None:
    source = norm(scale)
    document = repaired(saved(source, tmp_path))
    assert [note for note in document["notes"] if "(norm)" in note] == ["kept in fp32: 5 nodes (norm)"]
    assert any(note.startswith(OFF) for note in document["notes"]) == off
    result = tmp_path / "out.onnx"
    assert error(source, result, half=True) < 1e-3
    assert not {"s", "m", "e", "r", "n"} & halves(result) and halves(result)


@pytest.mark.parametrize(("scale", "off"), [(500.0, True), (1.0, False)])
def test_asked_for_fp32_it_is_fp32_and_the_source_is_named_where_it_errs(
    scale: float, off: bool, tmp_path: Path
) -> None:
    source = norm(scale)
    document = repaired(saved(source, tmp_path), "--precision", "fp32")
    assert any(note.startswith(OFF) for note in document["notes"]) == off
    assert document["verified"].endswith("against the source widened to fp32")
    assert halves(tmp_path / "out.onnx") == {"x", "y"} and error(source, tmp_path / "out.onnx", half=False) < 1e-3


def test_half_arithmetic_that_errs_elsewhere_is_found_by_running(tmp_path: Path) -> None:
    """No norm, no rotary: products that pass 65,504 in the middle."""
    text = "g (float16[b,16] x) => (float16[b,16] y) { h = MatMul(x, w) a = Mul(h, k) b = Mul(a, k) y = Mul(b, i) }"
    weights = {"w": W, "k": np.array(300, np.float16), "i": np.array(1e-5, np.float16)}
    source = graphs.model(text, weights)
    document = repaired(saved(source, tmp_path))
    assert any(note.startswith(OFF) for note in document["notes"])
    assert "b" not in halves(tmp_path / "out.onnx") and error(source, tmp_path / "out.onnx", half=True) < 2e-3


def test_calibration_of_a_half_model_runs_what_it_means(tmp_path: Path) -> None:
    source = saved(norm(500.0), tmp_path)
    feeds = tmp_path / "feeds.npz"
    np.savez(feeds, x=RNG.standard_normal((4, 16)).astype(np.float16))
    assert any(n.startswith("calibrated on 1 feed") for n in repaired(source, "--calibrate", feeds)["notes"])


def bf16(text: str) -> Model:
    return graphs.model(text, {"w": W.astype(ml_dtypes.bfloat16)}, opset=18)


ISLAND = "g (float[b,16] x) => (float[b,16] y) { n = Cast <to = 16> (x) p = MatMul(n, w) y = Cast <to = 1> (p) }"
BODY = """g (bool c, float[b,16] x) => (float[b,16] y) { r = If (c) <
    then_branch = t () => (float[b,16] q) { n = Cast <to = 16> (x) p = MatMul(n, w) q = Cast <to = 1> (p) },
    else_branch = e () => (float[b,16] z) { z = Neg(x) }> y = Tanh(r) }"""
WHOLE = "g (bfloat16[b,16] x) => (bfloat16[b,16] y) { h = MatMul(x, w) r = Relu(h) y = MatMul(r, w) }"


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        (ISLAND, "--precision=fp32"),
        (ISLAND, "--precision=bf16"),
        (BODY, "--int8=dynamic"),
        (BODY, "--precision=fp16"),
        (WHOLE, "--int8=weight-only"),
    ],
)
def test_a_bfloat16_model_becomes_what_is_asked_though_the_cpu_cannot_run_it(
    text: str, wish: str, tmp_path: Path
) -> None:
    source = bf16(text)
    assert "Could not find an implementation" in load_error(source)
    document = repaired(saved(source, tmp_path), wish)
    limit = 2e-2 if "int8" in wish else {"fp32": 1e-6, "bf16": 1e-2, "fp16": 2e-3}[wish[-4:]]
    assert max(float(each["rel_l2"]) for each in document["comparisons"]) < limit
    stored = [v.const_value.dtype.name for v in Model.open(tmp_path / "out.onnx").graph.initializers.values()]  # type: ignore[union-attr]
    assert ("BFLOAT16" in stored) == (wish == "--precision=bf16") and ("FLOAT16" in stored) == ("fp16" in wish)


def load_error(model: Model) -> str:
    import onnxruntime

    with pytest.raises(Exception) as caught:
        onnxruntime.InferenceSession(graphs.proto_of(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return str(caught.value)


def test_our_own_bfloat16_result_is_repaired_again(tmp_path: Path) -> None:
    weights = {"w": W.astype(np.float32)}
    fp32 = graphs.model("g (float[b,16] x) => (float[b,16] y) { h = MatMul(x, w) y = Tanh(h) }", weights)
    repaired(saved(fp32, tmp_path), "--precision", "bf16")
    (tmp_path / "out.onnx").rename(tmp_path / "again.onnx")
    document = repaired(tmp_path / "again.onnx", "--precision", "bf16")
    assert "widen-to-fp32" not in document["passes"] and "every node rounded" in document["verified"]
