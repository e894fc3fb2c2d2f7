"""Opening a file without reading its weights: the same model as the parser makes, wherever the tensors stand."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import graphs
import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.weights import wire

LARGE = np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32)


def proto_with(*initializers: TensorProto, nodes: str = "y = MatMul(x, w)") -> onnx.ModelProto:
    proto = graphs.proto(f"g (float[b,200] x) => (float[b,200] y) {{ {nodes} }}")
    proto.graph.initializer.extend(initializers)
    return proto


def dense(array: np.ndarray, name: str = "w") -> TensorProto:
    return onnx.numpy_helper.from_array(array, name)


def packed_floats(name: str = "w") -> TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, LARGE.shape, LARGE.ravel().tolist())


def body(name: str) -> onnx.GraphProto:
    made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    constant = helper.make_node("Constant", [], [name], value=dense(LARGE, ""))
    return helper.make_graph([constant], "body", [], [made], [dense(2 * LARGE, "inner")])


def in_bodies() -> onnx.ModelProto:
    proto = proto_with(dense(LARGE), nodes="y = MatMul(x, w)")
    proto.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    proto.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=body("p"), else_branch=body("q")))
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    return proto


def in_a_function() -> onnx.ModelProto:
    proto = proto_with(nodes="y = local.Scale(x)")
    constant = helper.make_node("Constant", [], ["k"], value=dense(LARGE, ""))
    product = helper.make_node("MatMul", ["a", "k"], ["r"])
    opset = helper.make_opsetid("", 20)
    proto.functions.append(helper.make_function("local", "Scale", ["a"], ["r"], [constant, product], [opset]))
    proto.opset_import.append(helper.make_opsetid("local", 1))
    return proto


def packed_int4() -> onnx.ModelProto:
    values = np.random.default_rng(1).integers(-8, 8, (600, 600)).astype(ml_dtypes.int4)
    proto = proto_with(dense(LARGE))
    proto.graph.initializer.append(ir.to_proto(ir.tensor(values, name="q")))
    return proto


def stated_inline() -> onnx.ModelProto:
    """As ONNX Runtime's quantizer saves: the location of the data is spelled out, behind the data."""
    proto = proto_with(dense(LARGE))
    proto.graph.initializer[0].data_location = TensorProto.DEFAULT
    return proto


CASES = {
    "inline, and saying so": stated_inline,
    "initializer": lambda: proto_with(dense(LARGE)),
    "float_data": lambda: proto_with(packed_floats()),
    "float16": lambda: proto_with(dense(LARGE), dense(np.tile(LARGE, 2).astype(np.float16), "h")),
    "bfloat16": lambda: proto_with(
        dense(LARGE), ir.to_proto(ir.tensor(np.tile(LARGE, 2).astype(ml_dtypes.bfloat16), name="h"))
    ),
    "int4": packed_int4,
    "int64_data, which is not fixed in size": lambda: proto_with(
        dense(LARGE), helper.make_tensor("i", TensorProto.INT64, [70_000], list(range(70_000)))
    ),
    "empty tensor": lambda: proto_with(dense(LARGE), dense(np.zeros((0, 3), np.float32), "e")),
    "bodies of If": in_bodies,
    "function": in_a_function,
}


@pytest.mark.parametrize("name", CASES)
def test_the_model_is_the_one_that_the_parser_makes(name: str, tmp_path: Path) -> None:
    proto = CASES[name]()
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    skeleton, _ = wire.read(path)
    assert len(skeleton) < path.stat().st_size - LARGE.nbytes / 2, "no tensor was left in the file"
    opened = Model.open(path)
    # raw bytes however they were stored: an inline model stays inline, its weights unchanged
    again = onnx.load_from_string(opened.ir_bytes())
    assert not [t for t in again.graph.initializer if t.external_data]
    for ours, theirs in zip(tensors_of(again), tensors_of(proto), strict=True):
        assert (ours.data_type, list(ours.dims)) == (theirs.data_type, list(theirs.dims))
        assert onnx.numpy_helper.to_array(ours).tobytes() == onnx.numpy_helper.to_array(theirs).tobytes()


def tensors_of(proto: onnx.ModelProto) -> list[TensorProto]:
    found: list[TensorProto] = []
    pending: list[onnx.GraphProto | onnx.FunctionProto] = [proto.graph, *proto.functions]
    while pending:
        graph = pending.pop()
        found.extend(getattr(graph, "initializer", ()))
        for attribute in (a for n in graph.node for a in n.attribute):
            found.extend([attribute.t] if attribute.HasField("t") else [])
            pending.extend([attribute.g] if attribute.HasField("g") else [])
    return found


def test_a_saved_copy_holds_its_weights_even_when_the_source_is_gone(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(proto_with(dense(LARGE)), source)
    opened = Model.open(source)
    source.unlink()
    saved = opened.save(tmp_path / "copy.onnx")
    (weight,) = onnx.load(saved).graph.initializer
    assert np.array_equal(onnx.numpy_helper.to_array(weight), LARGE) and not list(tmp_path.glob("*.data"))


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_in_one_line(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(proto_with(dense(LARGE)), path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(OnnxfixError, match="not a whole ONNX file"):
        Model.open(path)


def test_a_tensor_with_too_few_bytes_is_refused(tmp_path: Path) -> None:
    proto = proto_with(dense(LARGE))
    proto.graph.initializer[0].dims[0] += 1
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    with pytest.raises(OnnxfixError, match="'w' of shape"):
        Model.open(path)


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for seed in range(20):
        path.write_bytes(np.random.default_rng(seed).bytes(300_000))
        with pytest.raises(OnnxfixError):
            Model.open(path)


def test_external_weights_are_checked_against_their_shapes(tmp_path: Path) -> None:
    onnx.save_model(proto_with(dense(LARGE)), tmp_path / "m.onnx", save_as_external_data=True, location="m.data")
    proto = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    entries = {e.key: e for e in proto.graph.initializer[0].external_data}
    entries["length"].value = "12"
    onnx.save(proto, tmp_path / "short.onnx")
    with pytest.raises(OnnxfixError, match="its entry says 12"):
        Model.open(tmp_path / "short.onnx")
    proto.graph.initializer[0].external_data.remove(entries["length"])
    onnx.save(proto, tmp_path / "open.onnx")
    Model.open(tmp_path / "open.onnx")
    (tmp_path / "m.data").write_bytes(b"1" * 1000)
    with pytest.raises(OnnxfixError, match="holds 1,000 bytes"):
        Model.open(tmp_path / "open.onnx")


def test_weights_behind_links_are_read_as_download_caches_hold_them(tmp_path: Path) -> None:
    onnx.save_model(proto_with(dense(LARGE)), tmp_path / "m.onnx", save_as_external_data=True, location="m.data")
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "r" / "onnx"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, blob in (("m.onnx", "aaa"), ("m.data", "bbb")):
        (tmp_path / name).rename(blobs / blob)
        (snapshot / name).symlink_to(Path("../../../blobs") / blob)
    opened = Model.open(snapshot / "m.onnx")
    weight = opened.graph.initializers["w"].const_value
    assert weight is not None and np.array_equal(weight.numpy(), LARGE)
    opened.save(tmp_path / "copy.onnx")
    assert np.array_equal(onnx.numpy_helper.to_array(onnx.load(tmp_path / "copy.onnx").graph.initializer[0]), LARGE)


def test_threads_read_the_weights_of_one_model(tmp_path: Path) -> None:
    """Many first looks at once: onnx-ir maps a file at the first one, and asserts that nobody else did meanwhile."""
    arrays = [dense(np.full((200, 200), number, np.float32), f"w{number}") for number in range(40)]
    onnx.save_model(
        proto_with(*arrays, nodes="y = MatMul(x, w0)"),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="m.data",
    )
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            opened = Model.open(tmp_path / "m.onnx")
            tensors = [v.const_value for v in opened.graph.initializers.values() if v.const_value is not None]
            with ThreadPoolExecutor(4) as pool:
                for tensor in tensors:
                    looks = [pool.submit(tensor.numpy), pool.submit(tensor.tobytes)] * 2
                    shapes = {np.frombuffer(look.result(), np.float32).size for look in looks}
                    assert shapes == {200 * 200}
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("flat", [True, False])
def test_sparse_weights_and_constants_become_dense(flat: bool, tmp_path: Path) -> None:
    """As ONNX Runtime makes them on loading; indices are flat or one a dimension."""
    proto = proto_with(nodes="s = MatMul(x, w) y = Add(s, c)")
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [2.0, 3.0])
    places = [5, 401] if flat else [0, 5, 2, 1]
    indices = helper.make_tensor("i", TensorProto.INT64, [2] if flat else [2, 2], places)
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [200, 200]))
    constant = helper.make_sparse_tensor(values, indices, [200, 200])
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["c"], sparse_value=constant))
    onnx.save(proto, tmp_path / "m.onnx")
    model = Model.open(tmp_path / "m.onnx")
    expected = np.zeros((200, 200), np.float32)
    expected[0, 5], expected[2, 1] = 2, 3
    np.testing.assert_array_equal(model.graph.initializers["w"].const_value.numpy(), expected)
    (node,) = (n for n in model.graph if n.op_type == "Constant")
    np.testing.assert_array_equal(node.attributes["value"].as_tensor().numpy(), expected)
    x = np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32)
    source = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (answer,) = source.run(None, {"x": x})
    np.testing.assert_array_equal(graphs.run(model, {"x": x})["y"], answer)
    np.testing.assert_allclose(answer, x @ expected + expected, rtol=1e-5)


def test_nodes_in_any_order_are_sorted(tmp_path: Path) -> None:
    """As onnxruntime.transformers writes them: the runtime takes such a file."""
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[n] x, bool c) => (float[n] y) { h = Neg(x) y = If (c) <'
        "then_branch = t () => (float[n] p) { p = Abs(h) }, else_branch = e () => (float[n] q) { q = Relu(h) }> }"
    )
    proto.graph.node.reverse()
    onnx.save(proto, tmp_path / "model.onnx")
    model = Model.open(tmp_path / "model.onnx")
    assert [n.op_type for n in model.graph] == ["Neg", "If"]
    assert model.clone().fingerprint() == model.fingerprint()
