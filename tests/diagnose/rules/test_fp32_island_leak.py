"""P003: an fp32 island that reaches the scores."""

from __future__ import annotations

import graphs
import numpy as np

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["MatMul_scores", "Softmax_p"]
TEXT = """g (float16[b,s,4] x, int64[b,s] position) => (float16[b,s,4] y) <int64[1] last = {{2}}> {{
    h = MatMul(x, w)
    column = Unsqueeze(position, last)
    p_ = Cast <to = 1> (column)
    angle = Mul(p_, inv_freq)
    c = Cos(angle)
    {edge}
    {product}
}}"""
LEAKING = """wide = Cast <to = 1> (h)
    q = Mul(wide, c)
    t = Transpose <perm = [0, 2, 1]> (q)
    scores = MatMul(q, t)
    p = Softmax(scores)
    ph = Cast <to = 10> (p)
    y = MatMul(ph, x)"""
KEPT = """q = Mul(h, ch)
    t = Transpose <perm = [0, 2, 1]> (q)
    scores = MatMul(q, t)
    p = Softmax(scores)
    y = MatMul(p, x)"""


def made(edge: str, product: str, dtype: type = np.float16) -> Model:
    weights = {"w": np.eye(4, dtype=dtype), "inv_freq": np.array([1, 0.1, 0.01, 0.001], np.float32)}
    return graphs.model(TEXT.format(edge=edge, product=product), weights)


def BAD() -> Model:
    return made("", LEAKING)


def SOUND() -> Model:
    """The cosine is cast to half at the edge."""
    return made("ch = Cast <to = 10> (c)", KEPT)


def found(model: Model) -> list[str]:
    return [f.site.node for f in diagnose(model, Target.resolve("cuda")).findings if f.code == "P003"]


def test_fp32_that_comes_from_elsewhere_is_no_leak() -> None:
    """Scores that somebody keeps in fp32 on purpose: cast from half, not from angles."""
    kept = KEPT.replace("p = Softmax(scores)", "s = Cast <to = 1> (scores) p_ = Softmax(s) p = Cast <to = 10> (p_)")
    assert found(made("ch = Cast <to = 10> (c)", kept.replace("p_", "pw"))) == []


def test_an_fp32_model_has_no_island() -> None:
    text = TEXT.format(edge="", product=KEPT.replace("ch", "c")).replace("float16", "float")
    weights = {"w": np.eye(4, dtype=np.float32), "inv_freq": np.array([1, 0.1, 0.01, 0.001], np.float32)}
    assert found(graphs.model(text, weights)) == []
