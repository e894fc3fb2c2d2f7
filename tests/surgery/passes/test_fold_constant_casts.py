"""Casts of small constants are evaluated; what platforms disagree on is left alone."""

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fold_constant_casts import FoldConstantCasts

PASS = FoldConstantCasts()


def BAD() -> Model:
    """`arange(length)` as the dynamo exporter writes it without its optimizer."""
    return graphs.model("""g (int64[batch,sequence] ids) => (int64[batch,sequence] y) <int64[1] zero = {0}> {
        shape = Shape<start = 1, end = 2>(ids)
        length = Squeeze(shape)
        a = Constant<value_float = 0.0>()
        b = Constant<value = float {1.0}>()
        start = CastLike(a, length)
        step = CastLike(b, length)
        positions = Range(start, length, step)
        y = Add(ids, positions)
    }""")


def SOUND() -> Model:
    """A cast of an activation, and one of a constant that a caller may override."""
    return graphs.model("""g (float[n] x, int64[1] k = {3}) => (float[n] y) <int64[1] k = {3}> {
        i = Cast<to = 7>(x)
        f = Cast<to = 1>(i)
        c = Cast<to = 1>(k)
        y = Add(f, c)
    }""".replace("int64[1] k = {3}) =>", "int64[1] k) =>"))  # fmt: skip


def test_no_scalar_is_copied_to_the_host_any_more() -> None:
    model = BAD()
    cuda = Target.resolve("cuda")
    assert len(diagnose(model, cuda).plan.copies) == 2
    graph_pass.run(PASS, model)
    assert len(diagnose(model, cuda).plan.copies) == 0


@pytest.mark.parametrize("value", ["nan", "inf", "1e30"])
def test_what_platforms_disagree_on_is_left_alone(value: str) -> None:
    model = graphs.model("g (int64[n] x) => (int64[n] y) { c = Cast<to = 7>(w)\n y = Add(x, c) }", {
        "w": np.array([float(value)], np.float32)
    })  # fmt: skip
    assert not graph_pass.run(PASS, model).changes
