"""P005: means and sums of many values in half, and of few."""

from __future__ import annotations

import graphs
import numpy as np
import pytest
from contract import findings

from onnxfix.nouns.finding import Severity
from onnxfix.nouns.model import Model

SITES = ["ReduceMean_m"]
PLANE = """g ({kind}[b,8,{size},{size}] x) => ({kind}[b,8,1,1] y) {{
    s = Sigmoid(x)
    m = {reduction}
    y = Neg(m)
}}"""
MEAN = "ReduceMean(s, axes)"
AXES = {"axes": np.array([2, 3])}


def made(size: str, reduction: str = MEAN, kind: str = "float16", opset: int = 18) -> Model:
    return graphs.model(PLANE.format(size=size, reduction=reduction, kind=kind), AXES, opset, ir_version=9)


def BAD() -> Model:
    return made("512")


def SOUND() -> Model:
    """A plane of 8 × 8: its sum stays in range up to a mean of 1,023."""
    return made("8")


@pytest.mark.parametrize(
    ("size", "reduction", "kind", "opset"),
    [
        ("height", MEAN, "float16", 18),
        ("9", MEAN, "float16", 18),
        ("512", MEAN, "bfloat16", 18),
        ("512", "ReduceMean <axes = [2, 3]> (s)", "float16", 13),
        ("512", "ReduceMean <axes = [-1, -2]> (s)", "float16", 11),
        ("512", "ReduceSum(s, axes)", "float16", 18),
        ("512", "ReduceLogSum(s, axes)", "float16", 18),
    ],
)
def test_by_the_number_of_values_in_every_form(size: str, reduction: str, kind: str, opset: int) -> None:
    (found,) = findings(made(size, reduction, kind, opset), "P005", "cuda")
    assert found.severity is Severity.WARNING
    assert found.evidence["values"] == (None if size == "height" else int(size) ** 2)


@pytest.mark.parametrize("size", ["512", "height"])
def test_a_pool_is_a_note(size: str) -> None:
    (found,) = findings(made(size, "GlobalAveragePool(s)"), "P005", "cuda")
    assert found.severity is Severity.NOTE


def test_silent_on_fp32_and_on_kernels_that_sum_in_fp32() -> None:
    assert findings(made("512", kind="float"), "P005", "cuda") == []
    assert findings(made("512", "Softmax(s)"), "P005", "cuda") == []


def test_the_length_of_an_axis_is_inferred_where_no_value_states_it() -> None:
    """A convolution of stride 64 leaves 8 × 8 of 512 × 512."""
    weights = {"w": np.ones((8, 8, 1, 1), np.float16), **AXES}
    text = """g (float16[b,8,{size},{size}] x) => (float16[b,8,1,1] y) {{
        s = Conv <strides = [64, 64]> (x, w)
        y = ReduceMean(s, axes) }}"""
    for size, fires in ((512, False), (640, True)):
        assert bool(findings(graphs.model(text.format(size=size), weights, 18), "P005", "cuda")) is fires
