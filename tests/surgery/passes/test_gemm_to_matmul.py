"""Gemm becomes MatMul and Add where it is a plain linear layer, and stays where it is more."""

import graphs
import numpy as np
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.int8.quantizer import Selection
from onnxfix.surgery.passes.gemm_to_matmul import GemmToMatMul
from onnxfix.surgery.sites.linear import linears

PASS = GemmToMatMul()
RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.normal(size=(8, 16)).astype(np.float32),
    "v": RNG.normal(size=(8, 4)).astype(np.float32),
    "bias": RNG.normal(size=(8,)).astype(np.float32),
}


def BAD() -> Model:
    """Two that share a transposed weight, the first with a bias, and one with a weight as it is; two graph outputs."""
    return graphs.model(
        """g (float[batch,16] x) => (float[batch,8] y, float[batch,4] z) {
        y = Gemm<transB = 1>(x, w, bias)
        h = Gemm<transB = 1>(x, w)
        r = Relu(h)
        z = Gemm(r, v)
    }""",
        WEIGHTS,
    )


def SOUND() -> Model:
    return graphs.model(
        "g (float[batch,16] x) => (float[batch,8] y) { y = MatMul(x, w) }", {"w": WEIGHTS["w"].T.copy()}
    )


def test_shared_weights_stay_shared_and_outputs_keep_their_names() -> None:
    model = BAD()
    graph_pass.run(PASS, model)
    assert graphs.op_types(model).count("Gemm") == 0 and graphs.op_types(model).count("Add") == 1
    assert [x.reason for x in linears.find(model)] == ["float"] * 3
    assert sorted(model.graph.initializers) == ["bias", "v", "w_transposed"]
    assert [v.name for v in model.graph.outputs] == ["y", "z"]
    x = RNG.normal(size=(5, 16)).astype(np.float32)
    wanted, found = graphs.run(BAD(), {"x": x}), graphs.run(model, {"x": x})
    assert all(graphs.rel_l2(wanted[name], found[name]) < 1e-6 for name in wanted)


@pytest.mark.parametrize(
    "attributes", ["alpha = 0.5", "beta = 2.0", "beta = 0.0", "transA = 1, transB = 1, alpha = 3.0"]
)
def test_factors_and_transposes_are_written_out(attributes: str) -> None:
    text = f"""g (float[8,8] x) => (float[8,8] y) {{ y = Gemm<{attributes}>(x, w, bias) }}"""
    weights = {"w": RNG.normal(size=(8, 8)).astype(np.float32), "bias": WEIGHTS["bias"]}
    model, x = graphs.model(text, weights), RNG.normal(size=(8, 8)).astype(np.float32)
    graph_pass.run(PASS, model)
    assert "Gemm" not in graphs.op_types(model)
    wanted = graphs.run(graphs.model(text, weights), {"x": x})["y"]
    assert graphs.rel_l2(wanted, graphs.run(model, {"x": x})["y"]) < 1e-6


def test_a_weight_that_something_else_reads_is_stored_once() -> None:
    """As it is by a MatMul, transposed by a Gemm in front and by one in the body of an If."""
    text = """g (float[n,32] x, bool c) => (float[n,32] y) {
        a = MatMul(x, w)
        b = Gemm<transB = 1>(a, w)
        y = If (c) <
            then_branch = t () => (float[n,32] p) { p = Gemm<transB = 1>(b, w) },
            else_branch = e () => (float[n,32] q) { q = Gemm<alpha = 0.5>(b, w) }
        >
    }"""
    weights = {"w": RNG.normal(size=(32, 32)).astype(np.float32)}
    model, x = graphs.model(text, weights), RNG.normal(size=(5, 32)).astype(np.float32)
    graph_pass.run(PASS, model)
    assert "Gemm" not in graphs.op_types(model)
    assert [v.const_value.size for v in model.graph.initializers.values() if v.const_value.size > 1] == [1024]
    for c in (True, False):
        feed = {"x": x, "c": np.array(c)}
        assert graphs.rel_l2(graphs.run(graphs.model(text, weights), feed)["y"], graphs.run(model, feed)["y"]) < 1e-6


def test_blocked_nodes_stay() -> None:
    model = BAD()
    graph_pass.run(GemmToMatMul(selection=Selection(("Gemm_z",))), model)
    assert graphs.op_types(model).count("Gemm") == 1


def test_gemms_in_float_that_share_a_weight_are_no_gemms_for_the_quantizer() -> None:
    """It would transpose the weight once for each, though it quantizes none of them: two rows of a head of 5."""
    text = """g (float[n,32] x, float[m,32] z) => (float[n,5] a, float[m,5] b) {
        h = MatMul(x, w) k = MatMul(z, w) a = Gemm<transB = 1>(h, c) b = Gemm<transB = 1>(k, c)
    }"""
    weights = {"w": RNG.normal(size=(32, 32)).astype(np.float32), "c": RNG.normal(size=(5, 32)).astype(np.float32)}
    model = graphs.model(text, weights)
    graph_pass.run(GemmToMatMul(selection=Selection(("Gemm_a", "Gemm_b"))), model)
    assert "Gemm" not in graphs.op_types(model)
    feed = {name: RNG.normal(size=(3, 32)).astype(np.float32) for name in "xz"}
    wanted, found = graphs.run(graphs.model(text, weights), feed), graphs.run(model, feed)
    assert all(graphs.rel_l2(wanted[name], found[name]) < 1e-6 for name in "ab")
