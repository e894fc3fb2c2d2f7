"""Sums of many values in a conversion to half: right where their half form is infinite or 0, at every depth."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.eval.numerics.emulator import emulated
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.convert_to_half import ConvertToHalf
from onnxfix.surgery.recipes import Wish, recipe

CUDA = Target.resolve("cuda")
HEAD = "g (float[b,8,h,w] x, bool t) => (float[n] y)"
MEAN = "ReduceMean<keepdims = 0>(s, axes)"
WEIGHTS = {
    "axes": np.array([2, 3]),
    "fc": np.eye(8, dtype=np.float32),
    "v2": np.array([2]),
    "v4": np.array([4]),
    "last": np.array(3),
    "many": np.array(512, np.float32),
}
# 512 × 512 numbers around 4.5, whose sum is 1.2 million
PLANE = np.random.default_rng(0).normal(1.5, 0.1, (1, 8, 512, 512)).astype(np.float32)
BODIES = {
    "mean": f"s = Exp(x) m = {MEAN} y = MatMul(m, fc)",
    "mean of older axes": "s = Exp(x) m = ReduceMean<axes = [2, -1], keepdims = 0>(s) y = MatMul(m, fc)",
    "mean over axes of the run": "s = Exp(x) z = Shape(x) q = Shape(z) k = Sub(q, v1) a = Concat<axis = 0>(v2, k)"
    " m = ReduceMean<keepdims = 0>(s, a) y = MatMul(m, fc)",
    "global pool": "s = Exp(x) p = GlobalAveragePool(s) m = Flatten(p) y = MatMul(m, fc)",
    "pool": "s = Exp(x) p = AveragePool<kernel_shape = [512, 512]>(s) m = Flatten(p) y = MatMul(m, fc)",
    "mean written out": """s = Exp(x) z = Shape(s) e = Slice(z, v2, v4) n = ReduceProd<keepdims = 0>(e)
        f = Cast<to = 1>(n) a = ReduceSum<keepdims = 0>(s, axes) m = Div(a, f) y = MatMul(m, fc)""",
    "logarithm of a sum": "s = Exp(x) m = ReduceLogSum<keepdims = 0>(s, axes) y = MatMul(m, fc)",
    "running sum": """s = Exp(x) c = CumSum(s, last) k = ReduceMax<keepdims = 0>(c, axes) m = Div(k, many)
        y = MatMul(m, fc)""",
    "in a branch": f"""s = Exp(x) m = If (t) <then_branch = a () => (float[b,8] p) {{ p = {MEAN} }},
        else_branch = e () => (float[b,8] q) {{ q = ReduceMin<keepdims = 0>(s, axes) }} > y = MatMul(m, fc)""",
}


def made(body: str) -> Model:
    old = "axes = [" in body or "Pool" in body
    weights = {**WEIGHTS, "v1": np.array([1])}
    used = {name: array for name, array in weights.items() if name in body}
    model = graphs.model(f"{HEAD} {{ {body} }}", used, 13 if old else 18, ir_version=8)
    model.graph.outputs[0].shape = None
    return model


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", BODIES)
def test_sums_of_many_are_right(name: str, precision: str) -> None:
    model, feed = made(BODIES[name]), {"x": PLANE, "t": np.array(True)}
    result, _ = recipe(Wish(CUDA, precision), model).apply(model)
    assert infer(result.ir).conflicts == []
    expected, found = graphs.run(model, feed)["y"], graphs.run(emulated(result), feed)["y"]
    assert graphs.rel_l2(expected, found) < (1e-3 if precision == "fp16" else 8e-3)


@pytest.mark.parametrize(("size", "kept"), [("8,8", 0), ("9,9", 1), ("h,w", 1)])
def test_few_values_stay_half(size: str, kept: int) -> None:
    model = graphs.model(f"g (float[b,8,{size}] x) => (float[b,8] y) {{ s = Tanh(x) y = {MEAN} }}", WEIGHTS, 18)
    outcome = graph_pass.run(ConvertToHalf(CUDA), model)
    assert sum("mean of many values" in note for note in outcome.notes) == kept


@pytest.mark.parametrize("reduction", ["add", "mul", "max"])
def test_scatter_with_a_reduction_stays_fp32(reduction: str) -> None:
    """The CPU has no half kernel for one; without a reduction it is plain data movement."""
    text = """g (float[6,8] x, float[9,8] m) => (float[6,8] y) { h = MatMul(m, fc)
        y = ScatterElements<axis = 0, reduction = "%s">(x, rows, h) }"""
    rows = np.tile(np.random.default_rng(0).integers(0, 6, (9, 1)), (1, 8))
    feed = {"x": np.ones((6, 8), np.float32), "m": np.random.default_rng(1).normal(size=(9, 8)).astype(np.float32)}
    for kind, wanted in ((reduction, "tensor(float)"), ("none", "tensor(float16)")):
        model = graphs.model(text % kind, {"fc": WEIGHTS["fc"], "rows": rows}, 18, ir_version=8)
        expected = graphs.run(model, feed)["y"]
        graph_pass.run(ConvertToHalf(CUDA), model)
        scatter = next(n for n in model.nodes() if n.op_type == "ScatterElements")
        assert infer(model.ir).get(scatter.outputs[0]) == wanted
        if kind == reduction:
            assert graphs.rel_l2(expected, graphs.run(model, feed)["y"]) < 1e-3
