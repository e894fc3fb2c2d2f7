"""Q006: layers that lose more than 8 bits have to, measured; each cause told from the others."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import graphs
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

from onnxfix.diagnose.run import diagnose
from onnxfix.eval.inputs.feeds import Feed
from onnxfix.flows.diagnosis.against import against as measurement
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.layer_noise import Against
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.migrate_outliers import MigrateOutliers
from onnxfix.surgery.passes.quantize_static import QuantizeStatic

TARGET = "cpu"
SITES = ["MatMul_h"]
RNG = np.random.default_rng(0)
INPUTS = tuple({"x": RNG.normal(size=(rows, 64)).astype(np.float32)} for rows in (60, 90))
TEXT = """g (float[batch,64] x) => (float[batch,64] y) {
    n = LayerNormalization<axis = -1>(x, scale)
    h = MatMul(n, w)
    act = Gelu(h)
    y = MatMul(act, v)
}"""


def float_model(column: float = 1.0, outlier: float = 1.0) -> Model:
    """`outlier`: how much larger two channels of the first product's input are; `column`: one column of its weight."""
    weights = {name: RNG.normal(size=(64, 64)) / 8 for name in "wv"}
    weights["scale"] = np.ones(64)
    weights["scale"][[7, 21]] *= outlier
    weights["w"][[7, 21]] /= outlier
    weights["w"][:, 5] *= column
    return graphs.model(TEXT, {name: array.astype(np.float32) for name, array in weights.items()})


FLOAT = float_model(outlier=64)


def BAD() -> Model:
    return static(FLOAT)


def SOUND() -> Model:
    model = FLOAT.clone()
    graph_pass.run(MigrateOutliers(INPUTS), model)
    return static(model)


def AGAINST(model: Model) -> Against:
    return held(FLOAT, model)


def held(reference: Model, quantized: Model) -> Against:
    return measurement.against(reference, quantized, [Feed(f"{i}", dict(x)) for i, x in enumerate(INPUTS)])


def static(source: Model, times: float = 1.0) -> Model:
    """`times`: how large the inputs are that ranges come from."""
    model = source.clone()
    graph_pass.run(QuantizeStatic(tuple({"x": each["x"] * times} for each in INPUTS)), model)
    return model


def one_scale(source: Model) -> Model:
    """As ONNX Runtime's dynamic quantizer is called without options."""
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        Model(source.ir, Path("m.onnx")).save(one)
        quantize_dynamic(one, other, weight_type=QuantType.QInt8)
        return graphs.opened(onnx.load(other))


def clipped() -> tuple[Model, Model]:
    """A product of the input itself, calibrated on inputs a third as large."""
    model = graphs.model(
        "g (float[batch,64] x) => (float[batch,64] h) { h = MatMul(x, w) }",
        {"w": RNG.normal(size=(64, 64)).astype(np.float32)},
    )
    return model, static(model, 1 / 3)


def of_one_scale() -> tuple[Model, Model]:
    source = float_model(column=60)
    return source, one_scale(source)


def of_outliers() -> tuple[Model, Model]:
    return FLOAT, BAD()


@pytest.mark.parametrize(
    ("models", "kind", "said"),
    [
        (of_outliers, "activation-outliers", "outliers in channels 21 (×65), 7 (×60) of its input"),
        (clipped, "clipped-range", "outside the calibrated range"),
        (of_one_scale, "one-weight-scale", "one scale for all columns"),
    ],
)
def test_causes_are_told_apart(models: Callable[[], tuple[Model, Model]], kind: str, said: str) -> None:
    reference, quantized = models()
    worst = held(reference, quantized).layers[0]
    assert worst.cause.kind == kind and worst.site.value == "h"
    assert said in worst.cause.words, worst.cause.words
    assert worst.cause.gain_db >= 6


def test_a_layers_own_loss_is_told_from_what_it_inherits() -> None:
    """The second product reads the noise of the first, and loses little itself."""
    found = {layer.site.value: layer for layer in AGAINST(BAD()).layers}
    assert found["h"].snr < 10 and abs(found["h"].snr - found["h"].accumulated) < 0.5
    assert found["y"].snr > 30 and found["y"].accumulated < 15


def test_noise_is_what_a_session_shows() -> None:
    """The accumulated figure of the last layer is the error of the model's output."""
    quantized = BAD()
    wanted, got = (graphs.run(m, INPUTS[1])["y"] for m in (FLOAT, quantized))
    error = graphs.rel_l2(wanted, got)
    found = next(layer for layer in AGAINST(quantized).layers if layer.site.value == "y")
    assert found.accumulated == pytest.approx(-20 * np.log10(error), abs=1.0)


def test_unrelated_models_are_refused() -> None:
    other = graphs.model("g (float[batch,64] x) => (float[batch,64] z) { z = Relu(x) }")
    with pytest.raises(OnnxfixError, match="no value of one name"):
        held(other, BAD())


@pytest.mark.parametrize("activation", ["r = Relu(a)", "r = Clip(a, low, high)"])
@pytest.mark.parametrize("broken", [False, True])
def test_an_activation_that_the_quantizer_took_away_is_compared_behind_its_clip(activation: str, broken: bool) -> None:
    """The name of the Relu is that of the Gemm's result, which is not clipped yet; most of it is negative. Broken: one
    of its scales is three times as large."""
    text = f"g (float[n,32] x) => (float[n,8] y) {{ a = Gemm(x, w, b) {activation} y = MatMul(r, v) }}"
    rng = np.random.default_rng(1)
    weights = {"w": rng.normal(size=(32, 64)) / 6, "b": np.full(64, -0.5), "v": rng.normal(size=(64, 8)) / 8}
    limits = {"low": np.float32(0), "high": np.float32(6)} if "Clip" in activation else {}
    source = graphs.model(text, {k: v.astype(np.float32) for k, v in weights.items()} | limits)
    inputs = [rng.normal(size=(50, 32)).astype(np.float32) for _ in range(2)]
    model = statically(source, inputs)
    assert not {"Relu", "Clip"} & set(graphs.op_types(model))
    if broken:
        scale = model.graph.initializers["w_scale"]
        scale.const_value = ir.tensor(scale.const_value.numpy() * np.float32(3))
    found = measurement.against(source, model, [Feed(f"{i}", {"x": x}) for i, x in enumerate(inputs)])
    noisy = [f for f in diagnose(model, Target.resolve("cpu"), against=found).findings if f.code == "Q006"]
    assert [f.site.value for f in noisy][:1] == (["r"] if broken else [])
    if broken:
        assert "part of the Gemm" in noisy[0].message


def statically(source: Model, inputs: list[np.ndarray]) -> Model:
    """By ONNX Runtime's static quantizer as its documentation calls it, activations as uint8."""
    rows = iter([{"x": x} for x in inputs])

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(rows, None)

    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        Model(source.ir, Path("m.onnx")).save(one)
        quantize_static(one, other, Reader(), weight_type=QuantType.QInt8)
        return graphs.opened(onnx.load(other))
