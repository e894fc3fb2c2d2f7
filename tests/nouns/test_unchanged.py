"""What is read of a graph is kept only while somebody says that it stays as it is, and for that graph alone."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.unchanged import once, unchanged
from onnxfix.surgery.sites.layouts.ground import grounds


def a_graph(name: str = "g") -> ir.Graph:
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["batch", 4]))
    node = ir.node("Relu", inputs=[value])
    node.outputs[0].name = "y"
    return ir.Graph([value], [node.outputs[0]], nodes=[node], opset_imports={"": 20}, name=name)


def test_a_graph_that_stays_as_it_is_is_read_once() -> None:
    graph, other = a_graph(), a_graph("other")
    model = Model(ir.Model(graph, ir_version=10), None)  # type: ignore[arg-type]
    with unchanged(graph):
        assert infer(model.ir) is infer(model.ir)
        assert grounds(model) is grounds(model)
        assert once(other, "key", object) is not once(other, "key", object)  # nobody's word is given for this one
    assert infer(model.ir) is not infer(model.ir)


def test_what_was_read_is_gone_with_the_block() -> None:
    graph = a_graph()
    model = Model(ir.Model(graph, ir_version=10), None)  # type: ignore[arg-type]
    with unchanged(graph):
        before = infer(model.ir)
    node = ir.node("Cast", inputs=[graph.outputs[0]], attributes={"to": ir.DataType.INT64})
    graph.append(node)
    with unchanged(graph):
        assert infer(model.ir) is not before
        assert infer(model.ir).get(node.outputs[0]) == "tensor(int64)"


def test_an_error_ends_the_block() -> None:
    graph = a_graph()
    with pytest.raises(ValueError, match="wrong"), unchanged(graph):
        raise ValueError("wrong")
    assert once(graph, "key", object) is not once(graph, "key", object)
