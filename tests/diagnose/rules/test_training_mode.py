"""X001: Dropout and BatchNormalization in training mode, and both as they are in inference."""

import graphs
import numpy as np

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["Dropout_y"]
TEXT = "g (float[b,8] x) => (float[b,8] y) { h = Relu(x) y = Dropout(h, ratio, training) }"


def dropout(ratio: float, training: bool) -> Model:
    return graphs.model(TEXT, {"ratio": np.array(ratio, np.float32), "training": np.array(training)})


def BAD() -> Model:
    return dropout(0.5, True)


def SOUND() -> Model:
    return dropout(0.5, False)


def codes(model: Model) -> set[str]:
    return {f.code for f in diagnose(model, Target.resolve("cpu")).findings}


def test_a_ratio_of_zero_drops_nothing() -> None:
    assert "X001" not in codes(dropout(0.0, True))


def test_batch_normalization_that_learns() -> None:
    text = """g (float[b,2,4] x) => (float[b,2,4] y) {
        y<OUT> = BatchNormalization<training_mode = MODE>(x, s, z, z, s) }"""
    weights = {"s": np.ones(2, np.float32), "z": np.zeros(2, np.float32)}
    learns = text.replace("y<OUT>", "y, m, v").replace("MODE", "1")
    assert "X001" in codes(graphs.model(learns, weights))
    assert "X001" not in codes(graphs.model(text.replace("y<OUT>", "y").replace("MODE", "0"), weights))
