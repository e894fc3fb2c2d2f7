"""Linear layers written as Einsum, in every way that an exporter writes one, become the MatMul that they are."""

import graphs
import numpy as np
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.einsum_to_matmul import EinsumToMatMul
from onnxfix.surgery.sites.linear import linears

PASS = EinsumToMatMul()
RNG = np.random.default_rng(0)
SIZES = {"b": 2, "s": 5, "d": 24, "h": 3, "k": 8, "f": 16, "...": 4}


def einsum(equation: str, swap: bool = False, wrapped: str = "w") -> tuple[Model, dict[str, graphs.Array]]:
    left, _, made = equation.replace(" ", "").partition("->")
    given, stored = left.split(",")[:: -1 if swap else 1]
    length = lambda term: [SIZES[x] for x in (*term.replace("...", ""),)]  # noqa: E731
    lead = [4, 5] if "..." in given else []
    shape, out = [*lead, *length(given)], [*lead, *length(made or "bsf")]
    text = f"""g (float[{",".join(map(str, shape))}] x) => (float[{",".join(map(str, out))}] y) {{
        y = Einsum<equation = "{equation}">({"w, x" if swap else "x, w"})
    }}"""
    weights = {"w": RNG.normal(size=length(stored)).astype(np.float32)}
    return graphs.model(text, weights), {"x": RNG.normal(size=shape).astype(np.float32)}


def BAD() -> Model:
    """Into heads and out of them."""
    return graphs.model(
        """g (float[b,s,24] x) => (float[b,s,24] y) {
        q = Einsum<equation = "bsd,dhk->bhsk">(x, into)
        y = Einsum<equation = "bhsk,hkd->bsd">(q, out)
    }""",
        {"into": np.ones((24, 3, 8), np.float32), "out": np.ones((3, 8, 24), np.float32)},
    )


def SOUND() -> Model:
    """A product of activations, a matrix for each head, and an outer product."""
    return graphs.model(
        """g (float[b,s,3,8] x) => (float[b,3,s,s] y, float[b,s,3,4] z, float[b,s,3,8,4] v) {
        y = Einsum<equation = "bshk,bthk->bhst">(x, x)
        z = Einsum<equation = "bshk,hkf->bshf">(x, each)
        v = Einsum<equation = "bshk,ij->bshkj">(x, outer)
    }""",
        {"each": np.ones((3, 8, 4), np.float32), "outer": np.ones((2, 4), np.float32)},
    )


@pytest.mark.parametrize(
    ("equation", "swap"),
    [
        ("bsd,df->bsf", False),
        ("bsd, fd -> bsf", False),
        ("bds,df->bsf", False),
        ("bsd,df", False),
        ("bsd,dhk->bshk", False),
        ("bsd,hkd->bhsk", False),
        ("bshk,hkd->bsd", False),
        ("bhsk,khd->dbs", False),
        ("df,bsd->bsf", True),
        ("...d,df->...f", False),
        ("...d,fd->...f", False),
        ("d,df->f", False),
    ],
)
def test_the_product_is_the_same(equation: str, swap: bool) -> None:
    model, feed = einsum(equation, swap)
    wanted = graphs.run(model, feed)["y"]
    assert [x.quantized for x in linears.find(model)] == [False]
    graph_pass.run(PASS, model)
    assert "Einsum" not in graphs.op_types(model) and "MatMul" in graphs.op_types(model)
    assert graphs.rel_l2(wanted, graphs.run(model, feed)["y"]) < 1e-6


@pytest.mark.parametrize("equation", ["...hk,hkd->...d", "...d,dhk->...hk"])
def test_one_whose_rank_is_not_told_stays_and_is_named(equation: str) -> None:
    model, _ = einsum(equation)
    outcome = graph_pass.run(PASS, model)
    assert not outcome.changes and equation in outcome.notes[0]


def test_each_linear_is_counted_and_its_reason_said() -> None:
    assert [x.reason for x in linears.find(BAD())] == ["it is an Einsum, which no quantizer knows"] * 2
    assert [x.reason for x in linears.find(SOUND())] == ["its Einsum is no product of a matrix"]
