"""K007: a file that parses and is no model is a finding with its node, and one line of error for who needs a model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.opening.fault import BrokenError

SITES = ["Relu_twice"]
TEXT = "g (float[n,4] x) => (float[n,4] y) { once = Neg(x) twice = Relu(once) y = Add(once, twice) }"


def looked(proto: onnx.ModelProto) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(proto, path)
        return Model.look(path)


def BAD() -> Model:
    proto = graphs.proto(TEXT)
    proto.graph.node[1].output[0] = "once"
    proto.graph.node[2].input[1] = "once"
    return looked(proto)


def SOUND() -> Model:
    return looked(graphs.proto(TEXT))


def test_it_is_all_that_is_said_and_names_the_value() -> None:
    report = diagnose(BAD(), Target.resolve("cuda"))
    (finding,) = report.findings
    assert finding.code == "K007" and "'once'" in finding.message and "Neg_once" in finding.message
    assert report.fails("error") and report.model["nodes"] == 3


def fewer_inputs(proto: onnx.ModelProto) -> None:
    del proto.graph.node[2].input[1:]


def wrong_attribute(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].op_type = "Cast"
    proto.graph.node[1].attribute.append(helper.make_attribute("to", "float"))


def no_attribute(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].op_type = "Cast"


def unknown_reading(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].input[0] = "nowhere"


def left_out_of_a_list(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type = "Sum"
    proto.graph.node[0].input.append("")


def cycle(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = "twice"


def short_weight(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.add(name="w", data_type=1, dims=[4], raw_data=bytes(12))


def strings_of_nothing(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.add(name="w", data_type=TensorProto.STRING, dims=[4], raw_data=b"")


def strings_as_raw_data(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.add(name="w", data_type=TensorProto.STRING, dims=[4], raw_data=bytes(12))


def negative_offset(proto: onnx.ModelProto) -> None:
    weight = proto.graph.initializer.add(name="w", data_type=1, dims=[4], data_location=1)
    for key, value in (("location", "w.bin"), ("offset", "-4")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value


def unknown_type(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = 77


def calls_itself(proto: onnx.ModelProto) -> None:
    call = helper.make_node("F", ["a"], ["b"], domain="local")
    proto.functions.append(helper.make_function("local", "F", ["a"], ["b"], [call], proto.opset_import))
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "F", "local"


def unfolds(proto: onnx.ModelProto) -> None:
    """Four calls each, nine deep: 262,144 nodes."""
    for depth in range(9):
        body = [helper.make_node(f"F{depth + 1}", ["a"], [f"b{i}"], domain="local") for i in range(4)]
        proto.functions.append(helper.make_function("local", f"F{depth}", ["a"], ["b0"], body, proto.opset_import))
    last = [helper.make_node("Neg", ["a"], ["b"])]
    proto.functions.append(helper.make_function("local", "F9", ["a"], ["b"], last, proto.opset_import))
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "F0", "local"


def out_of_order(proto: onnx.ModelProto, step: int = -1) -> None:
    body = [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Exp", ["b"], ["c"])]
    proto.functions.append(helper.make_function("local", "F", ["a"], ["c"], body[::step], proto.opset_import))
    proto.opset_import.add(domain="local", version=1)
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "F", "local"


def deep(proto: onnx.ModelProto) -> None:
    for depth in range(400):
        call = helper.make_node(f"F{depth + 1}" if depth < 399 else "Neg", ["a"], ["b"], domain="local")
        call.domain = "local" if depth < 399 else ""
        proto.functions.append(helper.make_function("local", f"F{depth}", ["a"], ["b"], [call], proto.opset_import))
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "F0", "local"


def in_a_body(proto: onnx.ModelProto) -> None:
    flag = proto.graph.input.add(name="flag")
    flag.type.tensor_type.elem_type = TensorProto.BOOL
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    bodies = [helper.make_graph([helper.make_node("Neg", [v], ["o"])], v, [], [out]) for v in ("once", "nowhere")]
    node = helper.make_node("If", ["flag"], ["twice"], then_branch=bodies[0], else_branch=bodies[1])
    proto.graph.node[1].CopyFrom(node)


BROKEN: dict[Callable[[onnx.ModelProto], None], str] = {
    fewer_inputs: "Add Add_y has 1 inputs, and Add (opset version 14) has 2",
    wrong_attribute: "Cast Relu_twice has the attribute 'to' as STRING, and Cast takes INT",
    no_attribute: "Cast Relu_twice has no attribute 'to', which Cast needs",
    unknown_reading: "Relu Relu_twice reads 'nowhere', which nothing makes",
    left_out_of_a_list: "leaves out one of data_0, all of which Sum needs",
    cycle: "contains a cycle",
    short_weight: "weight 'w' of shape [4] needs 16 bytes and holds 12",
    strings_of_nothing: "weight 'w' of shape [4] needs 4 elements and holds 0",
    strings_as_raw_data: "weight 'w' holds strings as raw data",
    negative_offset: "weight 'w' lies in a data file with '-4' as its offset",
    unknown_type: "x is declared with the unknown type 77",
    calls_itself: "F b of the function F calls itself",
    unfolds: "unfold to 262,146 nodes",
    deep: "calls functions more than 100 deep",
    out_of_order: "Exp c of the function F reads 'b', which stands behind it",
    in_a_body: "Neg o reads 'nowhere', which nothing makes",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda f: f.__name__)
def test_every_kind_is_named_with_its_node(broken: Callable[[onnx.ModelProto], None], tmp_path: Path) -> None:
    proto = graphs.proto(TEXT)
    broken(proto)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(BrokenError) as error:
        Model.open(tmp_path / "m.onnx")
    assert BROKEN[broken] in str(error.value)
    report = diagnose(Model.look(tmp_path / "m.onnx"), Target.resolve("cuda"))
    assert {f.code for f in report.findings} == {"K007"}
    assert any(BROKEN[broken] in f"{f.site} {f.message}" for f in report.findings)


def test_a_wrong_function_that_nobody_calls_is_no_fault() -> None:
    proto = graphs.proto(TEXT)
    nodes = [helper.make_node("Neg", ["nowhere"], ["b"])]
    proto.functions.append(helper.make_function("local", "F", ["a"], ["b"], nodes, proto.opset_import))
    model = looked(proto)
    assert not model.faults and not model.ir.functions
    np.testing.assert_array_equal(graphs.run(model, {"x": np.ones((2, 4), np.float32)})["y"], -np.ones((2, 4)))


def test_functions_in_order_and_graphs_in_none_are_no_fault() -> None:
    """ONNX Runtime loads both, and no function out of order."""
    proto = graphs.proto(TEXT)
    out_of_order(proto, step=1)
    ordered = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(ordered[::-1])
    model = looked(proto)
    assert not model.faults
    feed = {"x": np.ones((2, 4), np.float32)}
    np.testing.assert_allclose(graphs.run(model, feed)["y"], np.full((2, 4), np.exp(1.0) - 1, np.float32), rtol=1e-6)
