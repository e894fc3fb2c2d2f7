"""Weights behind data movement → weights."""

import graphs
import numpy as np

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.int8.quantizer import ALL
from onnxfix.surgery.passes.fold_constant_transposes import FoldConstantTransposes

PASS = FoldConstantTransposes()
WEIGHTS = {"w": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)}


def BAD() -> Model:
    """A weight shared by two products and a reader of the original, a Reshape chain, and a Constant node."""
    return graphs.model(
        """g (float[batch,4] x) => (float[batch,3] y, float[3,4] z) <int64[2] shape = {4, -1}> {
        t = Transpose<perm = [1, 0]>(w)
        h = MatMul(x, t)
        t2 = Transpose(w)
        h2 = MatMul(x, t2)
        i = Identity(w)
        r = Reshape(i, shape)
        h3 = MatMul(x, r)
        k = Constant<value = float[3,3] {1, 2, 3, 4, 5, 6, 7, 8, 9}>()
        h4 = Gemm(h, k)
        s = Sum(h2, h3, h4)
        y = Relu(s)
        z = Neg(w)
    }""",
        WEIGHTS,
    )


def SOUND() -> Model:
    """An activation behind a Transpose is no weight; a Transpose of a weight that only Add reads is no linear."""
    return graphs.model(
        """g (float[4,batch] x) => (float[batch,3] y, float[4,3] z) {
        t = Transpose<perm = [1, 0]>(x)
        y = MatMul(t, w)
        u = Transpose<perm = [0, 1]>(w)
        z = Add(u, w)
    }""",
        {"w": WEIGHTS["w"].T.copy()},
    )


def test_equal_chains_over_one_weight_give_one_weight() -> None:
    model = BAD()
    graph_pass.run(PASS, model)
    # w itself (Neg reads it), its transpose once, its reshape, the constant
    assert sorted(v.const_value.shape.numpy() for v in model.graph.initializers.values() if v.const_value) == [
        (3, 3), (3, 4), (4, 3), (4, 3),
    ]  # fmt: skip
    assert not {"Transpose", "Constant", "Identity", "Reshape"} & set(graphs.op_types(model))
    assert graphs.node_named(model, "MatMul_h").inputs[1] is graphs.node_named(model, "MatMul_h2").inputs[1]


def test_casts_are_evaluated_to_the_type_the_product_read() -> None:
    model = graphs.model(
        "g (float[batch,4] x) => (float[batch,3] y) { c = Cast<to = 1>(h)\n y = MatMul(x, c) }",
        {"h": WEIGHTS["w"].T.astype(np.float16)},
    )
    feed = {"x": np.ones((2, 4), dtype=np.float32)}
    expected = graphs.run(model, feed)["y"]
    graph_pass.run(PASS, model)
    (weight,) = model.graph.initializers.values()
    assert weight.const_value is not None and weight.const_value.numpy().dtype == np.float32
    np.testing.assert_allclose(graphs.run(model, feed)["y"], expected, rtol=1e-6)


def test_a_table_that_an_embedding_reads_too_stays_one() -> None:
    text = """g (int64[n] ids) => (float[n,100] y) {
        e = Gather(t, ids)
        u = Transpose<perm = [1, 0]>(t)
        y = MatMul(e, u)
    }"""
    table = {"t": np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)}
    assert not graph_pass.run(PASS, graphs.model(text, table)).changes
    model = graphs.model(text, table)
    graph_pass.run(FoldConstantTransposes(ALL), model)
    assert sorted(model.graph.initializers) == ["t", "t_folded"], "a quantizer makes one of the two"
