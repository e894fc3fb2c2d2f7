"""Casts that do nothing go; casts that round, and casts that an output needs, stay."""

from __future__ import annotations

import graphs
import numpy as np

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.drop_idle_casts import DropIdleCasts

PASS = DropIdleCasts()


def BAD() -> Model:
    """A cast to the type there is, and one there and back."""
    return graphs.model("""g (float16[n] x) => (float16[n] y) {
        a = Cast <to = 10> (x)
        b = Relu(a)
        wide = Cast <to = 1> (b)
        c = Cast <to = 10> (wide)
        y = Neg(c)
    }""")


def SOUND() -> Model:
    """Narrow and wide again is a rounding; an input cannot be an output itself."""
    return graphs.model("""g (float[n] x) => (float[n] y, float[n] z) {
        h = Cast <to = 10> (x)
        y = Cast <to = 1> (h)
        z = Cast <to = 1> (x)
    }""")


def test_what_is_left() -> None:
    model = BAD()
    graph_pass.run(PASS, model)
    assert graphs.op_types(model) == ["Relu", "Neg"]


def test_an_output_keeps_its_name() -> None:
    model = graphs.model("g (float[n] x) => (float[n] y) { h = Relu(x) y = Cast <to = 1> (h) }")
    graph_pass.run(PASS, model)
    assert graphs.op_types(model) == ["Relu"] and [v.name for v in model.graph.outputs] == ["y"]


def test_a_value_that_two_outputs_need() -> None:
    model = graphs.model("g (float[n] x) => (float[n] h, float[n] y) { h = Relu(x) y = Cast <to = 1> (h) }")
    graph_pass.run(PASS, model)
    found = graphs.run(model, {"x": np.array([1.0, -1.0], np.float32)})
    assert found["h"].tolist() == found["y"].tolist() == [1.0, 0.0]


def test_a_cast_in_a_body_of_an_outer_value() -> None:
    model = graphs.model("""g (bool c, float[2] x) => (float[2] y) { h = Relu(x) y = If (c) <
        then_branch = t () => (float[2] p) { p = Cast <to = 1> (h) },
        else_branch = e () => (float[2] q) { k = Cast <to = 1> (h) q = Neg(k) }> }""")
    graph_pass.run(PASS, model)
    assert sorted(graphs.op_types(model)) == ["Cast", "If", "Neg", "Relu"]
    assert graphs.run(model, {"c": np.array(True), "x": np.ones(2, np.float32)})["y"].tolist() == [1.0, 1.0]
