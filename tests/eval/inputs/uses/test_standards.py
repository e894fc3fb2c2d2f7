"""Inputs that a model standardises are as large as that shows; what it only weighs, hides or shifts is about 1."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import pytest

from onnxfix.eval.inputs.feeds import make_feeds
from onnxfix.eval.numerics.emulator import emulated
from onnxfix.flows.repair.repair import repair
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery.recipes import Wish

MEAN = np.array([45, 52_000, 12, 0.5], np.float32)
STD = np.array([14, 30_000, 9, 0.5], np.float32)
W = {"mean": MEAN, "std": STD, "inverse": 1 / STD, "shift": -MEAN / STD, "variance": STD**2, "bytes": np.float32(255)}
W |= {"low": np.array([-1e9, 0, 0, 0], np.float32), "weak": np.array([1, 1e-8, 1, 1], np.float32)}
W |= {"ones": np.ones(4, np.float32), "zeros": np.zeros(4, np.float32), "w": np.eye(4, dtype=np.float32)}
STANDARDISED = {
    "Sub and Div": "c = Sub(x, mean) z = Div(c, std)",
    "Mul and Add": "c = Mul(x, inverse) z = Add(c, shift)",
    "a batch's norm": "z = BatchNormalization(x, ones, zeros, mean, variance)",
    "behind a Cast": "d = Cast <to = 11> (x) f = Cast <to = 1> (d) c = Sub(f, mean) z = Div(c, std)",
}
PLAIN = {
    "a product": "z = MatMul(x, w)",
    "a mask": "z = Add(x, low)",
    "a weak channel": "z = Mul(x, weak)",
    "two readers": "c = Sub(x, mean) z = Mul(c, x)",
}


def drawn(body: str, kind: str = "float") -> np.ndarray:
    model = graphs.model(f"g ({kind}[n,4] x) => (float[n,4] z) {{ {body} }}", W)
    return np.concatenate([feed.arrays["x"] for feed in make_feeds(model, draws=400, loudness=(1.0,))]).astype(
        np.float64
    )


@pytest.mark.parametrize("case", STANDARDISED)
def test_an_input_is_as_its_standard_says(case: str) -> None:
    found = drawn(STANDARDISED[case])
    assert (
        np.abs(found.mean(0) - MEAN).max() < 0.2 * STD.max()
        and (np.abs(found.mean(0) - MEAN) < 0.3 * np.maximum(STD, 1)).all()
    )
    assert np.allclose(found.std(0), np.maximum(STD, 1), rtol=0.2), "nothing is made smaller than 1"


@pytest.mark.parametrize("case", PLAIN)
def test_what_is_not_standardised_is_about_one(case: str) -> None:
    found = drawn(PLAIN[case])
    assert np.abs(found.mean(0)).max() < 0.3 and np.allclose(found.std(0), 1, rtol=0.2)


def test_pixels_and_counts() -> None:
    assert drawn("z = Div(x, bytes)").std() == pytest.approx(255, rel=0.1)
    counts = drawn("f = Cast <to = 1> (x) c = Sub(f, mean) z = Div(c, std)", "int64")
    assert np.allclose(counts.mean(0), MEAN, rtol=0.2, atol=1) and (counts == np.rint(counts)).all()


def test_an_income_is_no_infinity_in_half(tmp_path: Path) -> None:
    text = "g (float[n,4] x) => (float[n,4] y) { c = Sub(x, mean) z = Div(c, std) h = MatMul(z, w) y = Tanh(h) }"
    source = graphs.model(text, W).save(tmp_path / "m.onnx")
    done = repair(source, Wish(Target.resolve("cuda"), "fp16"), tmp_path / "out.onnx")
    assert any("what half precision harms" in str(note) for note in done.outcome.notes)
    feed = {"x": (MEAN + STD * np.random.default_rng(0).standard_normal((64, 4))).astype(np.float32)}
    wanted, found = graphs.run(Model.open(source), feed), graphs.run(emulated(Model.open(tmp_path / "out.onnx")), feed)
    assert np.allclose(wanted["y"], found["y"], atol=2e-3)
