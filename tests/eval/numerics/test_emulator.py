"""The emulator rounds every node's result to half, as a GPU does and ONNX Runtime's CPU provider does not."""

from __future__ import annotations

from collections.abc import Mapping

import graphs
import ml_dtypes
import numpy as np
import pytest

from onnxfix.eval.numerics.emulator import emulated
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.eval.run.session import on_disk
from onnxfix.nouns.model import Model

TYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def run(model: Model, feed: Mapping[str, np.ndarray], level: str = "none") -> dict[str, np.ndarray]:
    with on_disk(model) as path:
        runner = OrtRunner(path, level="none" if level == "none" else "all", threads=1)
        return {name: np.asarray(value, np.float32) for name, value in runner.run(feed).items()}


def rounded(array: np.ndarray, kind: str) -> np.ndarray:
    return array.astype(TYPES[kind]).astype(np.float32)


def test_what_overflows_in_half_is_infinite_here_and_finite_in_a_plain_session() -> None:
    model = graphs.model(
        """g (float16[m,k] x, float16[k,n] w) => (float y) { p = MatMul(x, w) f = Cast<to = 1>(p)
        y = ReduceMax<keepdims = 0>(f) }"""
    )
    feed = {"x": np.full((3, 300), 1, np.float16) * np.float16(300), "w": np.ones((300, 3), np.float16)}
    assert np.isinf(run(emulated(model), feed)["y"])
    for level in ("none", "all"):
        assert run(model, feed, level)["y"] == 90_000


@pytest.mark.parametrize("kind", TYPES)
def test_every_result_is_rounded_and_sums_are_not(kind: str) -> None:
    text = f"""g ({kind}[m,64] x, {kind}[64,8] w, {kind}[8] b) => ({kind}[m,8] y) {{
        p = MatMul(x, w) s = Add(p, b) q = Mul(s, s) y = Sub(q, b) }}"""
    rng = np.random.default_rng(0)
    shapes = {"x": (5, 64), "w": (64, 8), "b": (8,)}
    feed = {name: rng.standard_normal(shape).astype(TYPES[kind]) for name, shape in shapes.items()}
    x, w, b = (np.asarray(feed[name], np.float32) for name in "xwb")
    s = rounded(rounded(x @ w, kind) + b, kind)
    expected = rounded(rounded(s * s, kind) - b, kind)
    found = run(emulated(graphs.model(text)), feed)["y"]
    # the sum of 64 products may round the other way in another order
    assert np.mean(found == expected) > 0.9
    assert np.abs(found - expected).max() <= np.abs(expected).max() * 2.0 ** (-9 if kind == "float16" else -6)


def test_an_angle_in_half_is_off_by_what_half_says() -> None:
    text = """g (float[n] p, float[1] f) => (float[n] y) { h = Cast<to = 10>(p) k = Cast<to = 10>(f) a = Mul(h, k)
        c = Cos(a) y = Cast<to = 1>(c) }"""
    feed = {"p": np.arange(4000, 4100, dtype=np.float32), "f": np.array([0.7], np.float32)}
    exact = np.cos(feed["p"] * 0.7)
    assert np.abs(run(emulated(graphs.model(text)), feed)["y"] - exact).max() > 0.3
    assert np.abs(run(graphs.model(text), feed)["y"] - exact).max() < 0.9


def test_a_cast_to_half_and_back_keeps_its_rounding() -> None:
    model = graphs.model("g (float[n] x) => (float[n] y) { h = Cast<to = 10>(x) y = Cast<to = 1>(h) }")
    feed = {"x": np.array([1 + 2**-12, 70_000], np.float32)}
    assert run(emulated(model), feed)["y"].tolist() == [1.0, np.inf]


def test_bodies_outer_values_and_graph_outputs() -> None:
    model = graphs.model("""g (float16[n] x, bool c) => (float16[n] y, float16[n] h) { h = Mul(x, x)
        y = If(c) <then_branch = t () => (float16[n] p) { a = Mul(h, x) p = Mul(a, x) },
                   else_branch = e () => (float16[n] q) { q = Neg(h) }> }""")
    x = np.array([1.01, 3.3, 41.0], np.float16)
    found = run(emulated(model), {"x": x, "c": np.array(True)})
    assert [o.name for o in emulated(model).graph.outputs] == ["y", "h"]
    assert np.array_equal(found["h"], np.asarray(x * x, np.float32))
    assert np.array_equal(found["y"], np.asarray(x * x * x * x, np.float32))


def test_bfloat16_runs_where_the_cpu_has_no_kernel() -> None:
    model = graphs.model("g (bfloat16[2,3] x, bfloat16[3,2] w) => (bfloat16[2,2] y) { y = MatMul(x, w) }")
    one = np.ones((2, 3), ml_dtypes.bfloat16)
    assert (run(emulated(model), {"x": one, "w": one.T})["y"] == 3).all()


def test_the_model_stays_as_it_is_and_fp32_has_nothing_to_round() -> None:
    half = graphs.model("g (float16[n] x) => (float16[n] y) { y = Exp(x) }")
    before = half.fingerprint()
    emulated(half)
    assert half.fingerprint() == before
    single = graphs.model("g (float[n] x) => (float[n] y) { y = Exp(x) }")
    assert emulated(single).fingerprint() == single.fingerprint()


def test_norms_attention_and_gather_of_a_half_table() -> None:
    model = graphs.model(
        """g (int64[b,s] ids) => (float16[b,s,8] y) { e = Gather(table, ids) n = LayerNormalization(e, scale)
        t = Transpose<perm = [0, 2, 1]>(n) a = MatMul(n, t) p = Softmax<axis = -1>(a) y = MatMul(p, n) }""",
        {
            "table": np.random.default_rng(1).standard_normal((20, 8)).astype(np.float16),
            "scale": np.ones(8, np.float16),
        },
    )
    feed = {"ids": np.arange(12).reshape(3, 4)}
    found, plain = run(emulated(model), feed)["y"], run(model, feed)["y"]
    assert 0 < np.abs(found - plain).max() < 5e-3


REDUCED = (
    """g (float16[a,b,c] x) => (float y) {{ m = {reduction} k = ReduceMax<keepdims = 0>(m) y = Cast<to = 1>(k) }}"""
)


@pytest.mark.parametrize(
    ("reduction", "opset", "expected"),
    [
        ("ReduceMean(x, ax)", 18, np.nan),  # an infinite sum over half(262,144), which is infinite
        ("ReduceMean<axes = [1, 2]>(x)", 13, np.nan),
        ("ReduceMean<axes = [1, 2], keepdims = 0>(x)", 11, np.nan),
        ("ReduceMean<axes = [2]>(x)", 13, np.inf),  # 512 times 300
        ("ReduceMean<axes = [1]>(x)", 13, 300 / 512),
        ("ReduceSumSquare<axes = [1]>(x)", 13, np.inf),
        ("ReduceLogSum<axes = [2]>(x)", 13, np.inf),
        ("ReduceLogSumExp<axes = [2]>(x)", 13, 306.25),  # 300 + ln 512, to the next half
        ("ReduceLogSumExp<keepdims = 0>(x, row)", 18, 306.25),
        ("Softmax<axis = 2>(x)", 13, 1 / 512),
        ("CumSum(x, c2)", 14, np.inf),
    ],
)
def test_reductions_hold_their_sum_in_half(reduction: str, opset: int, expected: float) -> None:
    """As CUDA's kernels do, where the CPU's answer is right in any type; Softmax sums in fp32."""
    weights = {"ax": np.array([1, 2]), "row": np.array([2]), "c2": np.array(2)}
    used = {name: array for name, array in weights.items() if name in reduction}
    x = np.zeros((1, 512, 512), np.float16)
    x[0, 0] = 300
    model = graphs.model(REDUCED.format(reduction=reduction), used, opset, ir_version=8)
    assert np.array_equal(run(emulated(model), {"x": x})["y"], np.float16(expected), equal_nan=True)


@pytest.mark.parametrize(("kind", "end"), [("float16", 2048), ("bfloat16", 256)])
@pytest.mark.parametrize(("how", "early", "late"), [("", 6, 0), ("<exclusive = 1>", 5, 0), ("<reverse = 1>", 0, 6)])
def test_a_running_sum_stops_where_half_cannot_count_on(kind: str, end: int, how: str, early: int, late: int) -> None:
    """Ones add up to 2,048 in fp16, where 2,049 is no number, and to 256 in bf16. 0 stands for that end."""
    text = f"g (float[n] x) => (float[n] y) {{ h = CastLike(x, like) s = CumSum{how}(h, c0) y = Cast<to = 1>(s) }}"
    weights = {"c0": np.array(0), "like": np.zeros(1, TYPES[kind])}
    found = run(emulated(graphs.model(text, weights, 19, ir_version=9)), {"x": np.ones(3000, np.float32)})["y"]
    assert found[[5, -6]].tolist() == [early or end, late or end]


@pytest.mark.parametrize("op_type", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("outputs", [", h", ", , c", "s, h"])
def test_outputs_that_are_left_out_are_not_rounded(op_type: str, outputs: str) -> None:
    """A cell whose last state is read alone has no first output."""
    if "c" in outputs and op_type != "LSTM":
        outputs = ", h"
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op_type]
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(0, 0.3, (1, gates * 6, n)).astype(np.float16) for name, n in (("w", 4), ("r", 6))}
    read = outputs.split(", ")[-1]
    text = f"""g (float16[s,b,4] x) => (float[1,b,6] y) {{ {outputs} = {op_type}<hidden_size = 6>(x, w, r)
        y = Cast<to = 1>({read}) }}"""
    model = graphs.model(text, weights, 14, ir_version=8)
    feed = {"x": rng.normal(size=(5, 2, 4)).astype(np.float16)}
    found, plain = run(emulated(model), feed)["y"], run(model, feed)["y"]
    assert found.shape == (1, 2, 6) and np.abs(found - plain).max() < 2e-3
    assert np.array_equal(found, rounded(found, "float16"))
