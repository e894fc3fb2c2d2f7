"""A script that changes inputs or outputs: said as what it is, before anything is compared, and written when asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphs
import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

import onnxfix
from onnxfix.nouns.errors import OnnxfixError

TEXT = "g (float[n,4] x) => (float[n,4] y, float[n,4] z) { y = Relu(x) z = Neg(y) }"


def renamed_input(graph: gs.Graph) -> None:
    graph.inputs[0].name = "xx"


def renamed_output(graph: gs.Graph) -> None:
    graph.outputs[1].name = "zz"


def fixed_size(graph: gs.Graph) -> None:
    graph.inputs[0].shape = [3, 4]


def other_rank(graph: gs.Graph) -> None:
    y = graph.outputs[0]
    flat = gs.Variable("flat", y.dtype)
    y.inputs[0].outputs = [flat]
    axis = gs.Constant("axis", np.array([-1]))
    graph.nodes.append(gs.Node("Unsqueeze", inputs=[flat, axis], outputs=[y]))
    y.shape = ["n", 4, 1]


def other_type(graph: gs.Graph) -> None:
    graph.inputs[0].dtype = graph.outputs[0].dtype = graph.outputs[1].dtype = np.float16


def one_output(graph: gs.Graph) -> None:
    graph.outputs = graph.outputs[:1]


def one_more_input(graph: gs.Graph) -> None:
    more, total = gs.Variable("more", np.float32, ["n", 4]), gs.Variable("total", np.float32, ["n", 4])
    graph.inputs.append(more)
    graph.nodes.append(gs.Node("Add", "add", inputs=[graph.inputs[0], more], outputs=[total]))
    graph.outputs.append(total)


def one_more_output(graph: gs.Graph) -> None:
    more = gs.Variable("more", np.float32, ["n", 4])
    graph.nodes.append(gs.Node("Abs", "abs", inputs=[graph.inputs[0]], outputs=[more]))
    graph.outputs.append(more)


def in_another_order(graph: gs.Graph) -> None:
    graph.outputs.reverse()


def model() -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {TEXT}')


CHANGES: list[tuple[Callable[[gs.Graph], Any], str]] = [
    (renamed_input, "input x is now xx"),
    (renamed_output, "output z is now zz"),
    (fixed_size, r"input x was \[n,4\] and is \[3,4\]"),
    (other_rank, r"output y was \[n,4\] and is \[n,4,1\]"),
    (other_type, "input x was FLOAT and is FLOAT16; output y was FLOAT and is FLOAT16"),
    (one_output, "output z is gone"),
    (one_more_input, "input more is new"),
]


@pytest.mark.parametrize("where", ["script", "script_last"])
@pytest.mark.parametrize(("function", "said"), CHANGES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_a_script_changed_is_said(function: Callable[[gs.Graph], Any], said: str, where: str) -> None:
    given: dict[str, Any] = {where: function}
    with pytest.raises(OnnxfixError, match=f"script {function.__name__} changed the interface, .*: {said}"):
        onnxfix.repair(model(), precision="fp32", **given)


@pytest.mark.parametrize("function", [one_more_output, in_another_order])
def test_what_can_be_compared_is(function: Callable[[gs.Graph], Any]) -> None:
    assert "identical" in onnxfix.repair(model(), precision="fp32", script=function).verified


def test_unverified_it_is_written() -> None:
    done = onnxfix.repair(model(), precision="fp32", script=renamed_input, verify=False)
    assert [value.name for value in done.model.graph.input] == ["xx"]
    graphs.opened(done.model)
