"""P004: squares of a written-out norm that are summed in half precision."""

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["Pow_s"]
TEXT = """g (float16[b,8] x) => (float16[b,8] y) <int64[1] last = {-1}> {
    %s
    s = Pow(d, two)
    v = ReduceMean(s, last)
    ve = Add(v, eps)
    r = Sqrt(ve)
    n = Div(d, r)
    %s
}"""


def BAD() -> Model:
    weights = {"two": np.array(2, np.float16), "eps": np.array(1e-5, np.float16)}
    return graphs.model(TEXT % ("d = Identity(x)", "y = Identity(n)"), weights)


def SOUND() -> Model:
    weights = {"two": np.array(2, np.float32), "eps": np.array(1e-5, np.float32)}
    return graphs.model(TEXT % ("d = Cast <to = 1> (x)", "y = Cast <to = 10> (n)"), weights)


def found(body: str, opset: int, kind: str = "float16") -> list[tuple[str, str]]:
    numbers = {"two": 2, "eps": 1e-5, "one": 1, "minus_half": -0.5}
    dtype = np.float16 if kind == "float16" else np.float32
    weights = {name: np.array(number, dtype) for name, number in numbers.items() if name in body}
    weights |= {"last": np.array([-1])} if "last" in body else {}
    model = graphs.model(f"g ({kind}[b,8] x) => ({kind}[b,8] y) {{ {body} }}", weights, opset=opset)
    return [(f.site.node, f.severity) for f in diagnose(model, Target.resolve("cuda")).findings if f.code == "P004"]


FORMS = {
    "RMSNorm by Mul, opset 11": (
        "s = Mul(x, x) m = ReduceMean <axes = [-1]> (s) e = Add(m, eps) r = Sqrt(e) q = Reciprocal(r) y = Mul(x, q)",
        11,
        "Mul_s",
    ),
    "RMSNorm by Pow to minus a half": (
        "s = Pow(x, two) m = ReduceMean(s, last) e = Add(m, eps) r = Pow(e, minus_half) y = Mul(x, r)",
        18,
        "Pow_s",
    ),
    "LayerNorm around its mean, opset 13": (
        """c = ReduceMean <axes = [-1]> (x) d = Sub(x, c) s = Mul(d, d) m = ReduceMean <axes = [-1]> (s) e = Add(m, eps)
        r = Sqrt(e) y = Div(d, r)""",
        13,
        "Mul_s",
    ),
    "L2 norm by ReduceL2": ("n = ReduceL2(x, last) c = Max(n, eps) y = Div(x, c)", 21, "ReduceL2_n"),
    "L2 norm expanded, as torch's normalize": (
        "n = ReduceL2 <axes = [-1]> (x) c = Clip(n, eps) t = Shape(x) b = Expand(c, t) y = Div(x, b)",
        14,
        "ReduceL2_n",
    ),
    "a sum of squares": ("n = ReduceSumSquare(x, last) r = Sqrt(n) y = Div(x, r)", 20, "ReduceSumSquare_n"),
    "1 / root, as TorchScript writes it": (
        "s = Mul(x, x) m = ReduceMean(s, last) e = Add(m, eps) r = Sqrt(e) q = Div(one, r) y = Mul(x, q)",
        18,
        "Mul_s",
    ),
    "squared in half, summed in fp32": (
        """s = Mul(x, x) w = Cast <to = 1> (s) m = ReduceMean(w, last) r = Sqrt(m) h = Cast <to = 10> (r)
        y = Div(x, h)""",
        18,
        "Mul_s",
    ),
}


@pytest.mark.parametrize(("body", "opset", "site"), FORMS.values(), ids=FORMS)
def test_every_form_of_it(body: str, opset: int, site: str) -> None:
    assert found(body, opset) == [(site, "warning")]


@pytest.mark.parametrize(("body", "opset", "site"), list(FORMS.values())[:-1], ids=list(FORMS)[:-1])
def test_none_of_them_in_fp32(body: str, opset: int, site: str) -> None:
    assert found(body, opset, "float") == []


def test_bfloat16_holds_the_squares() -> None:
    body = "n = ReduceSumSquare <axes = [-1]> (x) r = Sqrt(n) y = Div(x, r)"
    assert found(body, 13, "bfloat16") == [("ReduceSumSquare_n", "note")]


@pytest.mark.parametrize(
    "body", ["s = Mul(x, x) y = ReduceMean(s, last)", "m = ReduceMean(x, last) r = Sqrt(m) y = Div(x, r)"]
)
def test_a_mean_of_squares_without_a_root_and_a_root_without_squares_are_no_norm(body: str) -> None:
    assert found(body, 18) == []
