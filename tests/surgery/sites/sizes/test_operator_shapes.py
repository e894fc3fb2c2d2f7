"""Shapes of operators that no rule is for: as onnx infers them, where what they depend on is known."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery.sites.sizes.probe import Probe, probe

X = "float[b,3,12,12] x"


def walked(text: str, opset: int = 20, **weights: np.ndarray) -> tuple[Model, Probe]:
    model = graphs.model(text, weights, opset)
    return model, probe(model.graph, {"b": 7, "n": 5}, inferred=True)


def shape_of(text: str, opset: int = 20, **weights: np.ndarray) -> object:
    model, found = walked(text, opset, **weights)
    return found.shapes.get(model.graph.outputs[0])


KNOWN = {
    "y = Pad(x, pads)": ({"pads": np.array([0, 0, 1, 2, 0, 0, 3, 0])}, (7, 3, 16, 14)),
    "y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)": ({}, (7, 3, 6, 6)),
    "y = GlobalAveragePool(x)": ({}, (7, 3, 1, 1)),
    "y = DepthToSpace<blocksize = 2>(q)": ({}, (7, 1, 24, 24)),
    "y = Resize(x, , , wanted)": ({"wanted": np.array([7, 3, 24, 6])}, (7, 3, 24, 6)),
    "y, z = TopK(x, count)": ({"count": np.array([5])}, (7, 3, 12, 5)),
    "y = Compress<axis = 2>(x, kept)": ({"kept": np.array([True, False])}, None),
}


@pytest.mark.parametrize("body", KNOWN)
def test_what_onnx_infers_is_known(body: str) -> None:
    weights, wanted = KNOWN[body]
    inputs = X + (", float[b,4,12,12] q" if "q)" in body else "")
    outputs = "float[a,c,d,e] y" + (", int64[a,c,d,e] z" if "y, z" in body else "")
    assert shape_of(f"g ({inputs}) => ({outputs}) {{ {body} }}", **weights) == wanted


def test_pads_that_the_legacy_exporter_computes() -> None:
    """Six numbers, a row of zeros cut to what is missing, turned round and back."""
    text = """g (float[b,n,4] x) => (float[b,m,4] y) {
        given = Constant<value_ints = [0, 0, 0, 1]>() missing = Constant<value_ints = [2]>()
        zeros = ConstantOfShape<value = int64[1] {0}>(missing) all = Concat<axis = 0>(given, zeros)
        pairs = Constant<value_ints = [-1, 2]>() rows = Reshape(all, pairs)
        last = Constant<value_ints = [-1]>() far = Constant<value_ints = [-9223372036854775807]>()
        axis = Constant<value_ints = [0]>() back = Slice(rows, last, far, axis, last)
        turned = Transpose<perm = [1, 0]>(back) flat = Reshape(turned, last)
        y = Pad(x, flat) }"""
    assert shape_of(text) == (7, 6, 4)


def test_sizes_of_the_operator_set_that_the_model_has() -> None:
    """Where pads are an attribute."""
    assert shape_of("g (float[b,4] x) => (float[b,m] y) { y = Pad<pads = [0, 1, 0, 2]>(x) }", opset=10) == (7, 7)


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert shape_of("g (float[b,4] x, int64[4] pads) => (float[b,m] y) { y = Pad(x, pads) }") is None
    assert shape_of("g (float[b,4] x) => (int64[2,m] y) { y = NonZero(x) }") is None
    own = "g (float[b,4] x) => (float[b,4] y) { y = my.own.Operator(x) }"
    header = '<ir_version: 10, opset_import: ["" : 20, "my.own" : 1]>'
    model = graphs.opened(graphs.proto(f"{header} {own}"))
    assert model.graph.outputs[0] not in probe(model.graph, {"b": 7}, inferred=True).shapes
