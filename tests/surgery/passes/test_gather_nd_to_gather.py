"""GatherND along one axis → Gather: the same elements, and tokens that are told apart."""

from __future__ import annotations

import graphs
import numpy as np
import pytest
from encoder_graphs import HEAD, MLP, agree, encoder

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.gather_nd_to_gather import GatherNdToGather
from onnxfix.surgery.passes.pack_tokens import PackTokens

PASS = GatherNdToGather()


def taken(how: str, ids: np.ndarray, outputs: str) -> Model:
    body = f"g (float[5,b,4] x) => (float[{outputs}] y) {{ y = GatherND{how}(x, ids) }}"
    return graphs.model(body, {"ids": ids})


def BAD() -> Model:
    return taken("", np.array([[-2], [0]]), "2,b,4")


def SOUND() -> Model:
    """Two axes: an element of each place."""
    return taken("", np.array([[-2, 0]]), "1,4")


@pytest.mark.parametrize(("ids", "outputs"), [([3], "b,4"), ([[3]], "1,b,4"), ([[[1], [-1]], [[0], [0]]], "2,2,b,4")])
def test_indices_of_any_rank(ids: object, outputs: str) -> None:
    before = taken("", np.array(ids), outputs)
    after = before.clone()
    graph_pass.run(PASS, after)
    assert graphs.op_types(after) == ["Gather"]
    feed = {"x": np.arange(60, dtype=np.float32).reshape(5, 3, 4)}
    for level in ("none", "all"):
        wanted, found = (graphs.run(model, feed, level)["y"] for model in (before, after))
        np.testing.assert_array_equal(found, wanted, strict=True)


def test_places_of_each_row_and_those_that_are_computed_stay() -> None:
    of_rows = taken("<batch_dims = 1>", np.zeros((5, 1), np.int64), "5,4")
    computed = graphs.model("g (float[5,b,4] x, int64[2,1] ids) => (float[2,b,4] y) { y = GatherND(x, ids) }")
    for model in (of_rows, computed):
        assert not graph_pass.run(PASS, model).changes


def test_indices_that_something_else_reads_stay_where_they_are() -> None:
    model = graphs.model(
        "g (float[5,b,4] x) => (float[1,b,4] y, int64[1,1] z) { y = GatherND(x, ids) z = Identity(ids) }",
        {"ids": np.array([[1]])},
    )
    graph_pass.run(PASS, model)
    assert sorted(graphs.op_types(model)) == ["Gather", "Identity"]
    found = graphs.run(model, {"x": np.arange(20, dtype=np.float32).reshape(5, 1, 4)})
    assert found["z"].tolist() == [[1]] and found["y"].reshape(-1).tolist() == [4, 5, 6, 7]


def test_values_of_one_head_are_of_one_token_each() -> None:
    """As a Falcon has them: parts of one product, taken along an axis of heads."""
    head = HEAD.replace("q0 = MatMul(n, wq) k0 = MatMul(n, wk) v0 = MatMul(n, wv)", """
    q0 = MatMul(n, wq) k0 = MatMul(n, wk) all = MatMul(n, up5)
    five = Constant<value_ints = [0, 0, 5, 24]>() parts = Reshape(all, five)
    place = Constant<value = int64[1,1] {-2}>()
    in_front = Transpose<perm = [2, 0, 1, 3]>(parts) one = GatherND(in_front, place)
    v00 = Transpose<perm = [1, 2, 0, 3]>(one) v0 = Reshape(v00, joined)""")  # fmt: skip
    before = encoder("", head + MLP, up5=np.random.default_rng(1).normal(0, 0.2, (24, 120)))
    packed = {}
    for steps in ((), (PASS,)):
        after = before.clone()
        for each in (*steps, FuseAttention()):
            graph_pass.run(each, after)
        packed[bool(steps)] = graph_pass.run(PackTokens(), after).notes[0]
        agree(before, after, 3, 9)
    assert packed[True].startswith("6 of 6 products") and not packed[False].startswith("6 of 6 products")
