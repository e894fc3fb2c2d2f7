"""Operations and bytes of small graphs counted here by hand, in the shapes that the real runtime makes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.eval.profile.op_profile import profile
from onnxfix.eval.roofline import peak_rates
from onnxfix.eval.roofline.peak_rates import Peaks, measure_peaks
from onnxfix.eval.roofline.roofline import Roofline, roofline
from onnxfix.eval.run.runners import RunFailure
from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.quantize_dynamic import QuantizeDynamic

pytestmark = pytest.mark.alone

RNG = np.random.default_rng(0)
FREE = 1e30  # operations or bytes a second that count as nothing
BYTES = Peaks("cpu", 1, {"fp32": FREE, "int8": FREE}, 1e3)
"""One byte a millisecond: a bound in milliseconds is a number of bytes."""
OPERATIONS = Peaks("cpu", 1, {"fp32": 1e3, "int8": 1e6}, FREE)


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def counted(model: Model, feed: Mapping[str, Any], folder: Path, peaks: Peaks = BYTES, **arguments: Any) -> Roofline:
    return roofline(model.save(folder / "model.onnx"), [feed], peaks, **arguments)


def of_text(text: str, weights: Mapping[str, Any], feed: Mapping[str, Any], folder: Path, opset: int = 21) -> Roofline:
    return counted(graphs.model(text, weights, opset), feed, folder)


X = {"x": normal(3, 8)}
W = {"w": normal(8, 8)}
ROW, SQUARE = 4 * 3 * 8, 4 * 8 * 8
"""Bytes of x and of w."""

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], int, float]] = {
    "a product reads both and writes": ("g (float[n,8] x) => (float[n,8] y) { y = MatMul(x, w) }", W, X,
                                        2 * 3 * 8 * 8, 2 * ROW + SQUARE),
    "a chain between products is read once and written once": (
        """g (float[n,8] x) => (float[n,8] y) {
            a = MatMul(x, w) b = Add(a, v) c = Erf(b) d = Mul(b, c) e = Softmax(d) y = MatMul(e, w) }""",
        {**W, "v": normal(8)}, X, 2 * 2 * 3 * 8 * 8, 2 * (2 * ROW + SQUARE) + 2 * ROW + 32),
    "what two read is read once": (
        "g (float[n,8] x) => (float[n,8] y, float[n,8] z) { y = Sin(x) z = Cos(x) }", {}, X, 0, 3 * ROW),
    "an output is written though its reader is fused": (
        "g (float[n,8] x) => (float[n,8] y, float[n,8] z) { y = Sin(x) z = Cos(y) }", {}, X, 0, 3 * ROW),
    "a residual around a product is read again": (
        """g (float[n,8] x) => (float[n,8] y) {
            a = MatMul(x, w) b = Tanh(a) c = MatMul(b, w) d = Add(b, c) y = Relu(d) }""",
        W, X, 2 * 2 * 3 * 8 * 8, 2 * (2 * ROW + SQUARE) + 2 * ROW + 3 * ROW),
    "views cost nothing": (
        """g (float[n,8] x) => (float[n,8] y) {
            a = MatMul(x, w) s = Shape(a) b = Unsqueeze(a, zero) c = Reshape(b, s) y = MatMul(c, w) }""",
        {**W, "zero": np.array([0])}, X, 2 * 2 * 3 * 8 * 8, 2 * (2 * ROW + SQUARE)),
    "a lookup reads its rows": ("g (int64[n] i) => (float[n,8] y) { y = Gather(t, i) }", {"t": normal(1000, 8)},
                                {"i": np.array([1, 5, 9])}, 0, 2 * ROW + 3 * 8),
    "an operator that the runtime expands counts": (
        """g (float[n,8] x, float16[k] like) => (float[n,8] y) {
            h = CastLike(x, like) f = CastLike(h, x) y = MatMul(f, w) }""",
        W, {**X, "like": normal(1).astype(np.float16)}, 2 * 3 * 8 * 8, 2 + 4 * ROW + SQUARE),
    "a slice reads what it returns": (
        "g (float[n,8] x) => (float[m,8] y) { h = Slice(x, zero, one) y = Sin(h) }",
        {"zero": np.array([0]), "one": np.array([1])}, X, 0, 2 * 32 + 16),
    "a weight computed from a weight is that weight": (
        "g (float[n,8] x) => (float[n,8] y) { f = Cast<to = 1>(h) w = Transpose(f) y = MatMul(x, w) }",
        {"h": normal(8, 8).astype(np.float16)}, X, 2 * 3 * 8 * 8, 2 * ROW + SQUARE / 2),
    "a body counts as often as it runs and a branch not taken not at all": (
        """g (float[n,8] x, int64 times, bool c) => (float[n,8] y) {
            z = Loop(times, c, x) <body = b (int64 i, bool go, float[n,8] h) => (bool more, float[n,8] k)
                { more = Identity(go) k = MatMul(h, w) }>
            y = If(c) <then_branch = t () => (float[n,8] p) { p = MatMul(z, w) },
                       else_branch = e () => (float[n,8] q) { r = MatMul(z, w) q = MatMul(r, w) }> }""",
        W, {**X, "times": np.array(5), "c": np.array(True)}, 6 * 2 * 3 * 8 * 8, 6 * (2 * ROW + SQUARE)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_counted_by_hand(name: str, tmp_path: Path) -> None:
    text, weights, feed, flops, nbytes = CASES[name]
    found = of_text(text, weights, feed, tmp_path)
    assert (found.flops, found.bytes, found.uncounted) == (flops, nbytes, ())
    assert found.bound_ms == pytest.approx(nbytes) == sum(row.bound_ms for row in found.scopes)


QUANTIZED = {
    "MatMulInteger": ("""g (float[n,8] x) => (int32[n,8] y) {
        q, s, z = DynamicQuantizeLinear(x) y = MatMulInteger(q, w, z) }""", {"w": np.ones((8, 8), np.int8)}, True),
    "DynamicQuantizeMatMul": (
        "g (float[n,8] x) => (float[n,8] y) { y = com.microsoft.DynamicQuantizeMatMul(x, w, s, z) }",
        {"w": np.ones((8, 8), np.int8), "s": np.float32(0.1), "z": np.int8(0)}, True),
    "both operands dequantized": ("""g (float[n,8] x) => (float[n,8] y) {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) e = DequantizeLinear(w, s) y = MatMul(d, e) }""",
        {"w": np.ones((8, 8), np.int8), "s": np.float32(0.1), "z": np.uint8(3)}, True),
    "weight alone dequantized": ("g (float[n,8] x) => (float[n,8] y) { e = DequantizeLinear(w, s) y = MatMul(x, e) }",
                                 {"w": np.ones((8, 8), np.int8), "s": np.float32(0.1)}, False),
    **{f"MatMulNBits at accuracy {level}": (
        f"""g (float[n,32] x) => (float[n,8] y) {{
            y = com.microsoft.MatMulNBits<K = 32, N = 8, bits = 4, block_size = 32, accuracy_level = {level}>(x, b, s)
        }}""", {"b": np.ones((8, 1, 16), np.uint8), "s": np.ones((8, 1), np.float32)}, level == 4)
        for level in (0, 4)},
}  # fmt: skip


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_weights_count_their_bytes_and_integer_products_the_integer_rate(name: str, tmp_path: Path) -> None:
    text, weights, integers = QUANTIZED[name]
    model = graphs.model(text, weights, 21)
    width = 32 if name.startswith("MatMulNBits") else 8
    feed = {"x": normal(3, width)}
    found = counted(model, feed, tmp_path, OPERATIONS)
    assert found.flops == 2 * 3 * width * 8
    assert found.bound_ms == pytest.approx(found.flops / (1e6 if integers else 1e3) * 1e3)
    stored = sum(np.asarray(w).nbytes for w in weights.values())
    moved = counted(model, feed, tmp_path).bytes
    # x, y and stored weights; quantized activations written and read, and their scales, are 75 bytes at most
    assert stored + ROW < moved <= stored + 4 * 3 * width + ROW + 75


def test_quantizing_lowers_the_bound(tmp_path: Path) -> None:
    text = "g (float[n,64] x) => (float[n,64] y) { h = MatMul(x, w) y = MatMul(h, v) }"
    model = graphs.model(text, {"w": normal(64, 64), "v": normal(64, 64)})
    before = counted(model, {"x": normal(2, 64)}, tmp_path, Peaks("cpu", 1, {"fp32": 1e9, "int8": 4e9}, 1e9))
    graph_pass.run(QuantizeDynamic(), model)
    after = counted(model, {"x": normal(2, 64)}, tmp_path, before.peaks)
    assert before.flops == after.flops and after.bytes < before.bytes / 2 and after.bound_ms < before.bound_ms / 2


def test_halves_count_two_bytes_though_the_cpu_computes_in_fp32(tmp_path: Path) -> None:
    text = "g (float16[n,8] x) => (float16[n,8] y) { h = MatMul(x, w) y = Sigmoid(h) }"
    feed = {"x": normal(3, 8).astype(np.float16)}
    assert of_text(text, {"w": normal(8, 8).astype(np.float16)}, feed, tmp_path).bytes == (4 * ROW + SQUARE) / 2


def test_scopes_have_what_is_read_and_written_in_them(tmp_path: Path) -> None:
    text = """g (float[n,8] x) => (float[n,8] y) {
        a = MatMul(x, w) b = Tanh(a) c = Relu(b) d = MatMul(c, w) e = Neg(d) y = MatMul(e, w) }"""
    model = graphs.model(text, W)
    names = {"a": "/up/a", "b": "/act/b", "c": "/gate/c", "d": "/layers.0/down/d", "e": "/e", "y": "/layers.1/down/y"}
    for node in model.nodes():
        node.name = names[node.outputs[0].name or ""]
    path = model.save(tmp_path / "scoped.onnx")
    found = roofline(path, [X, X], BYTES, measured=profile(path, [X, X]))
    product = 2 * ROW + SQUARE
    assert {row.scope: row.bytes for row in found.scopes} == {
        "layers.*.down": 2 * 2 * product, "up": 2 * product, "act": 2 * ROW, "gate": 2 * ROW, "(top level)": 4 * ROW,
    }  # fmt: skip
    assert all(row.measured_ms > 0 and row.gap == row.measured_ms / row.bound_ms for row in found.scopes)
    assert found.gap == found.measured_ms / found.bound_ms > 0


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    text = 'g (float[a,b] x) => (float[c,d] y) { y = Einsum<equation = "ij,jk,kl->il">(x, w, w) }'
    found = of_text(text, W, X, tmp_path)
    assert (found.flops, found.uncounted) == (0, ("Einsum_y",)) and math.isnan(found.gap)
    made = json.loads(json.dumps(found.as_dict()))
    assert made["gap"] is None and made["uncounted"] == ["Einsum_y"] and made["by_scope"][0]["measured_ms"] is None


def test_a_model_that_does_not_run_says_why(tmp_path: Path) -> None:
    with pytest.raises(RunFailure, match=r"model\.onnx fails in ONNX Runtime"):
        of_text(CASES["views cost nothing"][0], {**W, "zero": np.array([0])}, {"x": normal(3, 7)}, tmp_path)


def test_functions_are_counted_by_what_is_in_them(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
        g (float[n,8] x, float[8,8] w) => (float[n,8] y) { h = own.product(x, w) y = own.product(h, w) }
        <opset_import: ["" : 20], domain: "own"> product (a, b) => (c) { c = MatMul(a, b) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "functions.onnx")
    found = roofline(tmp_path / "functions.onnx", [X | W], BYTES)
    assert (found.flops, found.bytes) == (2 * 2 * 3 * 8 * 8, 2 * (2 * ROW + SQUARE))


def test_peaks_are_those_of_the_runtime_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_rates, "SECONDS", 0.1)
    monkeypatch.setattr(peak_rates, "SIDES", {"": (256, 512)})
    monkeypatch.setattr(peak_rates, "_array_bytes", lambda: 64 << 20)
    peaks = measure_peaks(threads=1)
    assert set(peaks.flops_per_s) == {"fp32", "int8"} and peaks.flops("bf16") == peaks.flops("fp32")
    assert 1e9 < peaks.flops("fp32") < 1e12 and 1e9 < peaks.flops("int8") < 1e13 and 5e8 < peaks.bytes_per_s < 1e12
    assert json.loads(json.dumps(peaks.as_dict()))["threads"] == 1
