"""Outliers go from activations into weights, wherever the channels get their size, and float32 answers as before."""

import re

import graphs
import numpy as np
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.migrate_outliers import MigrateOutliers
from onnxfix.surgery.passes.quantize_static import QuantizeStatic

RNG = np.random.default_rng(0)
WIDTH, INNER, PLANTED = 32, 48, [3, 17]
INPUTS = tuple({"x": RNG.normal(size=(rows, WIDTH)).astype(np.float32)} for rows in (30, 50))
PASS = MigrateOutliers(INPUTS)

GATED = """g (float[batch,32] x) => (float[batch,32] y) {
    n = LayerNormalization<axis = -1>(x, scale, shift)
    h = MatMul(n, up)
    inner, gate = Split<axis = -1, num_outputs = 2>(h)
    act = Gelu(inner)
    product = Mul(act, gate)
    d = MatMul(product, down)
    y = Add(x, d)
}"""
RELU = """g (float[batch,32] x) => (float[batch,32] y) {
    h = Gemm<transB = 1>(x, up, shift)
    act = Relu(h)
    y = MatMul(act, down)
}"""
# no Gemm: its result has to be quantized as well, and that with the outliers in it
GELU = """g (float[batch,32] x) => (float[batch,32] y) {
    h = MatMul(x, up)
    act = Gelu(h)
    y = MatMul(act, down)
}"""


def weights(planted: str = "") -> dict[str, np.ndarray]:
    """Of GATED. Two channels 64 times as large, in `norm` or `gate`, and what reads them 64 times smaller."""
    made = {
        "scale": RNG.normal(1, 0.1, size=WIDTH),
        "shift": RNG.normal(size=WIDTH) / 10,
        "up": RNG.normal(size=(WIDTH, 2 * INNER)) / 5,
        "down": RNG.normal(size=(INNER, WIDTH)) / 5,
    }
    if planted == "norm":
        made["scale"][PLANTED] *= 64
        made["shift"][PLANTED] *= 64
        made["up"][PLANTED] /= 64
    if planted == "gate":
        made["up"][:, [INNER + k for k in PLANTED]] *= 64
        made["down"][PLANTED] /= 64
    return {name: array.astype(np.float32) for name, array in made.items()}


def BAD() -> Model:
    return graphs.model(GATED, weights("norm"))


def SOUND() -> Model:
    return graphs.model(GATED, weights())


def plain_two_layers(text: str) -> Model:
    """The second layer reads two channels 64 times as large as the others."""
    up, down = RNG.normal(size=(INNER, WIDTH)), RNG.normal(size=(INNER, WIDTH))
    shift = RNG.normal(size=INNER)
    up[PLANTED] *= 64
    shift[PLANTED] *= 64
    down[PLANTED] /= 64
    arrays = {"up": up, "down": down, "shift": shift} if "Gemm" in text else {"up": up.T, "down": down}
    return graphs.model(text, {name: array.astype(np.float32) for name, array in arrays.items()})


@pytest.mark.parametrize(
    ("model", "scaled", "added"),
    [
        (graphs.model(GATED, weights("norm")), "scale", 0),
        (graphs.model(GATED, weights("gate")), "up", 0),
        (plain_two_layers(RELU), "shift", 0),
        (plain_two_layers(GELU), "", 1),
    ],
    ids=["norm", "gate", "relu", "gelu"],
)
def test_it_goes_where_the_channels_get_their_size(model: Model, scaled: str, added: int) -> None:
    result = model.clone()
    outcome = graph_pass.run(PASS, result)
    assert any(re.search(r"channels 3 \(÷(64|128)\), 17 \(÷64\)", note) for note in outcome.notes), outcome.notes
    assert graphs.op_types(result).count("Mul") - graphs.op_types(model).count("Mul") == added
    if scaled:
        one, other = (m.graph.initializers[scaled].const_value.numpy() for m in (model, result))
        assert not np.array_equal(one, other)
    expected, actual = graphs.run(model, INPUTS[0]), graphs.run(result, INPUTS[0])
    assert np.array_equal(expected["y"], actual["y"])
    plain, ours = errors(model), errors(result)
    assert plain > 0.1 and ours < 0.03


def errors(model: Model) -> float:
    """Of static int8."""
    wanted = graphs.run(model, INPUTS[1])["y"]
    quantized = model.clone()
    graph_pass.run(QuantizeStatic(INPUTS), quantized)
    return graphs.rel_l2(wanted, graphs.run(quantized, INPUTS[1])["y"])


def test_a_norm_that_others_read_keeps_its_size() -> None:
    """A post-norm model: the residual is what the norm gives, so that a Mul goes in front of the product alone."""
    model = graphs.model(GATED.replace("Add(x, d)", "Add(n, d)"), weights("norm"))
    result = model.clone()
    graph_pass.run(PASS, result)
    assert graphs.op_types(result).count("Mul") == 2
    assert np.array_equal(graphs.run(model, INPUTS[0])["y"], graphs.run(result, INPUTS[0])["y"])


def test_what_reads_one_activation_is_divided_once() -> None:
    """Query, key and value of one norm; the weight of one of them is used elsewhere too, so that nothing moves."""
    text = """g (float[batch,32] x) => (float[batch,32] q, float[batch,32] k%s) {
        n = LayerNormalization<axis = -1>(x, scale, shift)
        q = MatMul(n, wq)
        k = MatMul(n, wk)
        %s
    }"""
    made = weights("norm")
    both = {"wq": made["up"][:, :WIDTH], "wk": made["up"][:, WIDTH : 2 * WIDTH], **made}
    for shared in (False, True):
        model = graphs.model(text % ((", float[batch,32] z", "z = MatMul(x, wk)") if shared else ("", "")), both)
        result = model.clone()
        assert bool(graph_pass.run(PASS, result).changes) != shared
        for name, array in graphs.run(model, INPUTS[0]).items():
            assert np.array_equal(array, graphs.run(result, INPUTS[0])[name])


def outliers(width: int) -> np.ndarray:
    made = np.ones(width, np.float32)
    made[[1, 5]] = 100
    return made


NORMAL = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in
          {"w": (32, 32), "w2": (32, 32), "one": (32, 1), "queries": (1, 32)}.items()}  # fmt: skip
BIAS = {"s": outliers(32), "b": RNG.normal(size=32).astype(np.float32), "far": 10 * outliers(32)}


@pytest.mark.parametrize(
    ("body", "moved"),
    [
        # the norm's result is the product's bias too, which is to stay
        ("h = LayerNormalization(x, s, b) y = Gemm(h, w, h)", True),
        # one column that is broadcast to all channels has none to scale
        ("l = MatMul(x, one) h = Add(l, far) y = MatMul(h, w)", True),
        ("l = MatMul(x, one) r = Relu(l) g = Mul(x, far) h = Mul(g, r) y = MatMul(h, w)", True),
        # a learned query is no activation
        ("l = MatMul(queries, w2) a = Add(l, x) y = MatMul(a, w)", False),
        # a name as what is measured is called by
        ("channels = Mul(x, far) y = MatMul(channels, w)", True),
    ],
    ids=["bias", "column", "gate", "queries", "named"],
)
def test_float32_answers_as_before(body: str, moved: bool) -> None:
    text = f"g (float[batch,32] x) => (float[batch,32] y) {{ {body} }}"
    used = {name: array for name, array in {**NORMAL, **BIAS}.items() if re.search(rf"\b{name}\b", body)}
    model = graphs.model(text, used)
    for at_run_time in (False, True):
        result = model.clone()
        assert bool(graph_pass.run(MigrateOutliers(INPUTS, at_run_time=at_run_time), result).changes) >= moved
        for feed in INPUTS:
            assert np.array_equal(graphs.run(model, feed)["y"], graphs.run(result, feed)["y"])
