"""F003: rotations of queries and keys out of seven operators, and what only looks like one."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_rotary_embedding import FuseRotaryEmbedding

SITES = ["Add_y"]
TARGET = "cpu"
TEXT = """g (float[batch,sequence,24] x) => (float[batch,3,sequence,8] y) {
    size = Shape<start = 1, end = 2>(x) n = Squeeze(size)
    first = Constant<value_int = 0>() step = Constant<value_int = 1>() numbers = Range(first, n, step)
    real = Cast<to = 1>(numbers) around = Constant<value_ints = [0, 2]>() position = Unsqueeze(real, around)
    angle = Mul(position, frequencies) both = Concat<axis = -1>(angle, angle)
    one = Constant<value_ints = [1]>()
    c = Cos(both) cosine = Unsqueeze(c, one) s = Sin(both) sine = Unsqueeze(s, one)
    heads = Reshape(x, split) q = Transpose<perm = [0, 2, 1, 3]>(heads)
    low, high = Split<axis = -1, num_outputs = 2>(q)
    minus = Neg(high) turned = Concat<axis = -1>(minus, low)
    a = Mul(q, cosine) b = Mul(turned, sine) y = Add(a, b)
}"""
ARRAYS = {"frequencies": np.array([1.0, 0.3, 0.1, 0.03], np.float32), "split": np.array([0, 0, 3, 8])}


def BAD(text: str = TEXT) -> Model:
    return graphs.model(text, ARRAYS)


def SOUND() -> Model:
    """The same in one operator."""
    model = BAD()
    graph_pass.run(FuseRotaryEmbedding(), model)
    return model


def found(model: Model, target: str = TARGET) -> list[Finding]:
    return [f for f in diagnose(model, Target.resolve(target)).findings if f.code == "F003"]


@pytest.mark.parametrize("target", ["cpu", "cuda", "openvino"])
def test_its_features_are_said(target: str) -> None:
    (finding,) = found(BAD(), target)
    assert finding.severity is Severity.NOTE and finding.repair == "onnxfix optimize"
    assert finding.evidence == {"features": 8, "interleaved": False}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Concat<axis = -1>(minus, low)", "Concat<axis = -1>(low, minus)"),
        ("minus = Neg(high)", "minus = Abs(high)"),
        ("a = Mul(q, cosine)", "a = Mul(q, sine)"),
    ],
)
def test_what_turns_nothing_is_no_finding(old: str, new: str) -> None:
    assert TEXT.count(old) == 1
    assert not found(BAD(TEXT.replace(old, new)))


def test_a_target_without_the_operator_has_none() -> None:
    assert not found(BAD(), "tensorrt")
