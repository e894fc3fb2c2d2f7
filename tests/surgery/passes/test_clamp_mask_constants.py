"""Masks of finfo.min in every place an exporter keeps them: no fully masked row becomes NaN in fp16."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.eval.numerics.emulator import emulated
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.clamp_mask_constants import ClampMaskConstants
from onnxfix.surgery.recipes import Wish, recipe
from onnxfix.surgery.sites.half.half_plan import HalfOptions

PASS = ClampMaskConstants()
LOWEST = np.finfo(np.float32).min
SCORES = "s = MatMul(x, w) "
NODE = f"low = Constant <value = float {{{LOWEST!s}}}> () "
INPUTS = "g (float[b,4] x, bool[b,4] seen) => (float[b,4] y)"
FORMS = {
    "a Constant node, chosen by Where": NODE + "m = Where(seen, s, low) y = Softmax(m)",
    "a Constant node, added": NODE + "z = Constant <value = float {0.0}> () m = Where(seen, z, low) "
    "a = Add(s, m) y = Softmax(a)",
    "an initializer": "z = Constant <value = float {0.0}> () m = Where(seen, z, lowest) a = Add(s, m) y = Softmax(a)",
    "computed by Mul": "f = Cast <to = 1> (seen) one = Constant <value = float {1.0}> () n = Sub(one, f) "
    "m = Mul(n, lowest) a = Add(s, m) y = Softmax(a)",
    "a fill": f"shape = Shape(s) full = ConstantOfShape <value = float[1] {{{LOWEST!s}}}> (shape) "
    "m = Where(seen, s, full) y = Softmax(m)",
    "two masks": "low = Constant <value = float {-1e30}> () z = Constant <value = float {0.0}> () "
    "m = Where(seen, z, low) a = Add(s, m) b = Add(a, m) y = Softmax(b)",
    "-1e9": "z = Constant <value = float {0.0}> () low = Constant <value = float {-1e9}> () "
    "m = Where(seen, z, low) a = Add(s, m) y = Softmax(a)",
}  # fmt: skip


def form(body: str) -> Model:
    weights = {"w": 40 * np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)}
    if "lowest" in body:
        weights["lowest"] = np.array(LOWEST)
    return graphs.model(f"{INPUTS} {{ {SCORES} {body} }}", weights)


def BAD() -> Model:
    """The mask in an initializer, added to the scores."""
    return form(FORMS["an initializer"])


def SOUND() -> Model:
    """A bound of activations, an infinity and a weight: none of them is a mask."""
    return graphs.model(
        """g (float[b,4] x) => (float[b,4] y, float[b,4] z) { c = Clip(x, lowest, highest) y = MatMul(c, w)
        z = Add(x, never) }""",
        {
            "lowest": np.array(LOWEST),
            "highest": np.array(-LOWEST),
            "w": 7e4 * np.eye(4, dtype=np.float32),
            "never": np.array(-np.inf, np.float32),
        },
    )


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", FORMS)
def test_a_fully_masked_row_is_not_nan_in_half(name: str, precision: str) -> None:
    """And the rows that see something are as in fp32. Without the pass every form is NaN or -inf in half."""
    source = form(FORMS[name])
    feed = {
        "x": np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32),
        "seen": np.array([[True] * 4, [True, False, True, False], [False] * 4]),
    }
    expected = graphs.run(source, feed)["y"]
    assert np.isfinite(expected).all()
    half, _ = recipe(Wish(Target.resolve("cuda"), precision), source).apply(source)
    assert infer(half.ir).conflicts == []
    found = graphs.run(emulated(half), feed)["y"]
    assert np.isfinite(found).all()
    assert graphs.rel_l2(expected[:2], found[:2]) < (
        5e-2 if precision == "fp16" else 0.5
    )  # scores of 100 carry errors of 0.03 and 0.25
    assert np.isclose(found[2].sum(), 1, atol=1e-2)


def test_what_is_seen_stays_bit_for_bit() -> None:
    source = BAD()
    result = source.clone()
    graph_pass.run(PASS, result)
    feed = {"x": np.ones((2, 4), np.float32), "seen": np.array([[True, False, True, True], [True] * 4])}
    assert np.array_equal(graphs.run(source, feed)["y"], graphs.run(result, feed)["y"])


def test_a_row_of_minus_65504_would_be_nan() -> None:
    """What other converters write: fine until a score is added."""
    model = graphs.model("g (float16[b,2] s) => (float16[b,2] y) { a = Add(s, m) y = Softmax(a) }",
                         {"m": np.full(2, -65504, np.float16)})  # fmt: skip
    assert np.isnan(graphs.run(emulated(model), {"s": np.full((1, 2), -40, np.float16)})["y"].astype(np.float32)).all()


@pytest.mark.parametrize("name", FORMS)
def test_masks_of_scores_that_stay_fp32_stay_as_they_are(name: str) -> None:
    """And so does a row that sees nothing: finfo.min swallows its scores. A constant that is chosen may be any."""
    source = form(FORMS[name])
    chosen = name == "a Constant node, chosen by Where"
    assert bool(graph_pass.run(ClampMaskConstants(scores=False), source.clone()).changes) == chosen
    if chosen:
        return  # there is no mask to keep
    wish = Wish(Target.resolve("cuda"), "fp16", half=HalfOptions(keep_like=("mask",)))
    half, _ = recipe(wish, source).apply(source)
    feed = {"x": 9 * np.ones((1, 4), np.float32), "seen": np.zeros((1, 4), np.bool_)}
    expected, found = graphs.run(source, feed)["y"], graphs.run(emulated(half), feed)["y"]
    assert np.allclose(found, expected, atol=1e-3)
    assert name == "-1e9" or np.allclose(expected, 0.25), "the smaller number leaves something of scores of 500"


def test_what_else_is_that_low_is_within_range_all_the_same() -> None:
    """It hides nothing from a Softmax."""
    text = f"{INPUTS} {{ {SCORES} z = Constant <value = float {{0.0}}> () m = Where(seen, z, lowest) y = Add(s, m) }}"
    model = graphs.model(text, {"w": np.eye(4, dtype=np.float32), "lowest": np.array(LOWEST)})
    assert graph_pass.run(ClampMaskConstants(scores=False), model).changes


NO_SCORES = {
    "best of candidates": (
        "(float[b,4] x, bool[b,4] seen) => (int64[b] y) { s = Mul(x, many) m = Where(seen, s, low) "
        "y = ArgMax<axis = 1, keepdims = 0>(m) }"
    ),
    "largest of tokens": (
        "(float[b,4] x, bool[b,4] seen) => (float[b] y) { s = Mul(x, many) m = Where(seen, s, low) "
        "y = ReduceMax<axes = [1], keepdims = 0>(m) }"
    ),
    "largest of tokens, added": (
        "(float[b,4] x, bool[b,4] seen) => (float[b] y) { s = Mul(x, many) f = Cast<to = 1>(seen) n = Sub(one, f) "
        "p = Mul(n, low) m = Add(s, p) y = ReduceMax<axes = [1], keepdims = 0>(m) }"
    ),
    "a factor": "(float[b,4] x, bool[b,4] seen) => (float[b,4] y) { h = Mul(x, low) y = Sigmoid(h) }",
}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", NO_SCORES)
def test_numbers_that_are_beside_no_scores(name: str, precision: str) -> None:
    """Activations below -16,384 are more than what stands for nothing; a factor is that factor."""
    text = NO_SCORES[name]
    numbers = {"many": 3e3 if "added" in name else 9e3, "low": -1e9, "one": 1.0}
    weights = {key: np.array(number, np.float32) for key, number in numbers.items() if key in text}
    source = graphs.model(f"g {text}", weights, opset=17)
    x = np.array([[3, -2, 1, 1], [0.5, -3, -2.5, 4]]) * (1e-4 if name == "a factor" else 1)
    feed = {"x": x.astype(np.float32), "seen": np.array([[0, 1, 0, 0], [0, 1, 1, 0]], bool)}
    half, _ = recipe(Wish(Target.resolve("cuda"), precision), source).apply(source)
    wanted, found = graphs.run(source, feed)["y"], graphs.run(emulated(half), feed)["y"]
    assert np.allclose(wanted, found, rtol=1e-2)
