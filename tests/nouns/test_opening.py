"""What is valid and unusual is read as ONNX Runtime reads it, and written back as it was."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from terminal import onnxfix

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inlining import inline

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
WEIGHT = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)


def info(name: str, shape: list[int | str | None] | None, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def proto(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    functions: tuple[onnx.FunctionProto, ...] = (),
    opset: int = 18,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(WEIGHT, "w")])
    imports = [helper.make_opsetid(d, v) for d, v in (("", opset), ("ai.onnx.ml", 2), ("my", 1))]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=functions)


def product(then: str = "y", **options: object) -> onnx.NodeProto:
    return helper.make_node("MatMul", ["x", "w"], [then], "fc", **options)


def answers(path: Path, feed: dict[str, np.ndarray]) -> list[object]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: list[object] = session.run(None, feed)
    return found


def repaired(source: onnx.ModelProto | bytes, folder: Path, *options: str) -> Path:
    """What repair makes of it, which has verified it."""
    data = source if isinstance(source, bytes) else source.SerializeToString()
    (folder / "m.onnx").write_bytes(data)
    done = onnxfix("repair", folder / "m.onnx", "-o", folder / "out.onnx", *(options or ("--precision", "fp32")))
    assert "verified:" in done.stdout, done.stderr
    return folder / "out.onnx"


@pytest.mark.parametrize("options", [("--precision", "fp32"), ("--precision", "fp16")])
def test_a_dimension_of_minus_one_is_a_dynamic_one(options: tuple[str, ...], tmp_path: Path) -> None:
    bodies = [
        helper.make_graph([helper.make_node(o, ["m"], ["o"])], o, [], [info("o", [-1, 4])]) for o in ("Relu", "Neg")
    ]
    choice = helper.make_node("If", ["c"], ["y"], then_branch=bodies[0], else_branch=bodies[1])
    flag = info("c", [], TensorProto.BOOL)
    source = proto([product("m"), choice], [info("x", [-1, 4]), flag], [info("y", [-1, -1])])
    source.graph.value_info.append(info("m", [-1, 4]))
    out = repaired(source, tmp_path, *options)
    assert [d.WhichOneof("value") for d in onnx.load(out).graph.input[0].type.tensor_type.shape.dim] == [
        None,
        "dim_value",
    ]
    (y,) = answers(out, {"x": X, "c": np.array(False)})
    np.testing.assert_allclose(y, -(X @ WEIGHT), rtol=1e-2, atol=1e-2)


CLASSES = {"classlabels_int64s": [7, 8, 9]}, {"classlabels_strings": ["a", "b", "c"]}


@pytest.mark.parametrize(("kind", "classes"), [(INT64, CLASSES[0]), (STRING, CLASSES[1])])
def test_a_classifier_of_scikit_learn_is_compared_by_its_maps(
    kind: int, classes: dict[str, object], tmp_path: Path
) -> None:
    labels = {k.replace("int64s", "ints"): v for k, v in classes.items()}
    weights = {"coefficients": [float(i % 5) for i in range(12)], "intercepts": [0.1, 0.2, 0.3], "multi_class": 1}
    nodes = [
        helper.make_node("LinearClassifier", ["x"], ["label", "s"], domain="ai.onnx.ml", **weights, **labels),
        helper.make_node("ZipMap", ["s"], ["p"], domain="ai.onnx.ml", **classes),
    ]
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(kind, helper.make_tensor_type_proto(FLOAT, [])))
    source = proto(nodes, [info("x", [None, 4])], [info("label", [None], kind), helper.make_value_info("p", maps)])
    out = repaired(source, tmp_path)
    assert onnx.load(out).graph.output[1].type == maps
    before, after = (answers(tmp_path / name, {"x": X}) for name in ("m.onnx", "out.onnx"))
    assert before[1] == after[1] and list(before[0]) == list(after[0])


def test_a_wrong_value_in_a_map_is_seen() -> None:
    from onnxfix.eval.numerics.compare import difference
    from onnxfix.eval.run.session import unpacked

    one, other = (unpacked(["p"], [[{"a": 0.25, "b": 0.75}, {"a": 0.5, "b": last}]]) for last in (0.5, 0.75))
    np.testing.assert_array_equal(one["p"], [[0.25, 0.75], [0.5, 0.5]])
    assert list(one["p keys"]) == ["a", "b"]
    assert not difference("feed", "p", one["p"], other["p"]).identical
    assert difference("feed", "p keys", one["p keys"], other["p keys"]).identical
    assert difference("feed", "s", np.array(["a", "b"], object), np.array(["a", "c"], object)).rel_l2 > 0.5


def test_sequences_and_optionals_are_outputs(tmp_path: Path) -> None:
    tensor = helper.make_tensor_type_proto(FLOAT, ["b", 1])
    split = helper.make_node("SplitToSequence", ["m"], ["s"], axis=1)
    sequence = helper.make_value_info("s", helper.make_sequence_type_proto(tensor))
    out = repaired(proto([product("m"), split], [info("x", ["b", 4])], [sequence]), tmp_path)
    (found,) = answers(out, {"x": X})
    np.testing.assert_allclose(np.concatenate(found, axis=1), X @ WEIGHT, rtol=1e-5)  # type: ignore[call-overload]


@pytest.mark.parametrize("held", ["tensor_type", "sparse_tensor_type", "sequence_type", "optional_type"])
@pytest.mark.parametrize("kind", ["sequence_type", "optional_type"])
def test_a_sequence_of_nothing_is_a_fault(kind: str, held: str, tmp_path: Path) -> None:
    """Of a kind that is said, and holds no type of its own."""
    source = proto([product()], [info("x", ["b", 4])], [info("y", ["b", 4])])
    value = source.graph.input.add(name="s")
    getattr(getattr(value.type, kind).elem_type, held).SetInParent()
    onnx.save(source, tmp_path / "m.onnx")
    done = onnxfix("diagnose", tmp_path / "m.onnx")
    assert done.returncode == 1 and "of nothing" in done.stdout, done.stderr


def test_a_map_cannot_be_fed_and_the_way_out_works(tmp_path: Path) -> None:
    node = helper.make_node("DictVectorizer", ["d"], ["y"], domain="ai.onnx.ml", string_vocabulary=["a", "b"])
    kind = helper.make_map_type_proto(STRING, helper.make_tensor_type_proto(FLOAT, []))
    onnx.save(proto([node], [helper.make_value_info("d", kind)], [info("y", None)]), tmp_path / "m.onnx")
    refused = onnxfix("repair", tmp_path / "m.onnx", "--precision", "fp32")
    assert refused.returncode == 2 and "it is a map" in refused.stderr and "--no-verify" in refused.stderr
    assert onnxfix("repair", tmp_path / "m.onnx", "--precision", "fp32", "--no-verify").returncode == 0
    assert onnx.load(tmp_path / "m.fp32.onnx").graph.input[0].type == kind


def test_free_text_may_be_latin_1_and_names_may_not(tmp_path: Path) -> None:
    source = proto([product(doc_string="Zo@x")], [info("x", ["b", 4])], [info("y", ["b", 4])])
    source.producer_name, source.graph.doc_string = "Ren@x", "d@x"
    source.graph.node[0].metadata_props.add(key="path", value="C:/Zo@x")
    source.metadata_props.add(key="author", value="Zo@x")
    data = source.SerializeToString().replace(b"@x", b"\xebx")
    out = onnx.load(repaired(data, tmp_path))
    assert out.graph.node[0].doc_string == "Zoëx" and out.graph.node[0].metadata_props[0].value == "C:/Zoëx"
    (tmp_path / "m.onnx").write_bytes(source.SerializeToString().replace(b"fc", b"\xebc"))
    refused = onnxfix("repair", tmp_path / "m.onnx")
    assert refused.returncode == 2 and "is a name that is not UTF-8" in refused.stderr
    assert onnxfix("diagnose", tmp_path / "m.onnx").returncode == 1


def test_bytes_of_attributes_are_kept(tmp_path: Path) -> None:
    values = ["é".encode("latin-1"), b"two"]
    node = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_int64s=[0, 1], values_strings=values
    )
    onnx.save(proto([node], [info("x", ["b"], INT64)], [info("y", ["b"], STRING)]), tmp_path / "m.onnx")
    written = Model.open(tmp_path / "m.onnx").clone().save(tmp_path / "out.onnx")
    (given,) = [a for a in onnx.load(written).graph.node[0].attribute if a.name == "values_strings"]
    assert list(given.strings) == values


@pytest.mark.parametrize("options", [("--precision", "fp16"), ("--int8", "dynamic", "--quantize-heads")])
@pytest.mark.parametrize("constant", [False, True])
def test_weights_with_a_second_hard_link_are_read(constant: bool, options: tuple[str, ...], tmp_path: Path) -> None:
    source = proto([product()], [info("x", ["b", 4])], [info("y", ["b", 4])])
    weight = source.graph.initializer[0]
    data = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w.bin"), ("offset", "0"), ("length", str(len(data)))):
        weight.external_data.add(key=key, value=value)
    if constant:
        source.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
        del source.graph.initializer[:]
    (tmp_path / "w.bin").write_bytes(data)
    os.link(tmp_path / "w.bin", tmp_path / "backup.bin")
    (y,) = answers(repaired(source, tmp_path, *options), {"x": X})
    np.testing.assert_allclose(y, X @ WEIGHT, rtol=5e-2, atol=5e-2)
    (tmp_path / "w.bin").unlink()
    (tmp_path.parent / "elsewhere.bin").write_bytes(data)
    (tmp_path / "w.bin").symlink_to(tmp_path.parent / "elsewhere.bin")
    with pytest.raises(OnnxfixError, match="points outside"):
        Model.open(tmp_path / "m.onnx")


def function(name: str, body: list[onnx.NodeProto], opset: int) -> onnx.FunctionProto:
    return helper.make_function(
        "my", name, ["a"], ["b"], body, [helper.make_opsetid("", opset), helper.make_opsetid("my", 1)]
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_function_of_another_operator_set_is_read_by_the_models(precision: str, tmp_path: Path) -> None:
    """As ONNX Runtime reads it: Softmax goes along one axis, in 18, and not over all that follow it, as in 11."""
    outer = [helper.make_node("F", ["a"], ["t"], domain="my"), helper.make_node("Softmax", ["t"], ["b"], axis=1)]
    functions = function("G", outer, 11), function("F", [helper.make_node("Relu", ["a"], ["b"])], 13)
    nodes = [product("m"), helper.make_node("G", ["m"], ["y"], domain="my")]
    source = proto(nodes, [info("x", ["b", 3, 4])], [info("y", ["b", 3, 4])], functions)
    repaired(source, tmp_path, "--precision", precision)
    x = np.random.default_rng(2).standard_normal((2, 3, 4)).astype(np.float32)
    before, after = (answers(tmp_path / name, {"x": x})[0] for name in ("m.onnx", "out.onnx"))
    np.testing.assert_allclose(after, before, atol=1e-6 if precision == "fp32" else 2e-3)
    np.testing.assert_allclose(np.sum(before, axis=1), 1, rtol=1e-5)


def test_a_body_that_the_models_operator_set_does_not_take_is_named(tmp_path: Path) -> None:
    functions = (function("F", [helper.make_node("Unsqueeze", ["a"], ["b"], axes=[0])], 11),)
    nodes = [product("m"), helper.make_node("F", ["m"], ["y"], domain="my")]
    onnx.save(proto(nodes, [info("x", ["b", 4])], [info("y", None)], functions), tmp_path / "m.onnx")
    with pytest.raises(
        OnnxfixError, match="the function F imports operator set 11 and is read by the model's 18: Unsq"
    ):
        inline(Model.open(tmp_path / "m.onnx").ir)
    done = onnxfix("diagnose", tmp_path / "m.onnx")
    assert done.returncode == 1 and "K004" in done.stdout


def test_a_value_that_two_nodes_make_is_named(tmp_path: Path) -> None:
    nodes = [
        product("twice"),
        helper.make_node("Relu", ["x"], ["twice"], "second"),
        helper.make_node("Neg", ["twice"], ["y"]),
    ]
    onnx.save(proto(nodes, [info("x", [4, 4])], [info("y", [4, 4])]), tmp_path / "m.onnx")
    done = onnxfix("diagnose", tmp_path / "m.onnx")
    assert done.returncode == 1 and "makes 'twice', which MatMul fc is already" in " ".join(done.stdout.split())
    for command in (("repair",), ("extract", "-o", tmp_path / "p.onnx", "--outputs", "y"), ("bench", "--no-torch")):
        refused = onnxfix(command[0], tmp_path / "m.onnx", *command[1:], cwd=tmp_path)
        assert refused.returncode == 2 and "'twice'" in refused.stderr, refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_an_input_that_is_an_output_keeps_its_shape(tmp_path: Path) -> None:
    """The legacy exporter declares such an output without one."""
    x, y = info("x", ["batch", 4]), info("y", ["batch", 4])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y, info("x", ["batch", 4])])
    proto = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    proto.graph.output[1].type.tensor_type.ClearField("shape")
    onnx.save(proto, tmp_path / "model.onnx")
    written = onnx.load(Model.open(tmp_path / "model.onnx").save(tmp_path / "again.onnx"))
    assert [d.dim_param or d.dim_value for d in written.graph.input[0].type.tensor_type.shape.dim] == ["batch", 4]
