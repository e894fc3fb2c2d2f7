"""A prepared graph computes the same bits, and both converters, called plainly on its file, then get it right."""

import warnings
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import onnxruntime
import pytest
from onnxconverter_common import float16 as common
from onnxruntime.transformers import float16 as runtime

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.outline_fp32_islands import OutlineFp32Islands
from onnxfix.surgery.sites.half.fp32_islands import BLOCKED_BY_LIBRARIES

PASS = OutlineFp32Islands(Target.resolve("cuda"))
RNG = np.random.default_rng(0)
W = RNG.normal(size=(8, 8)).astype(np.float32)
INV_FREQ = np.array([1, 0.1, 0.01, 0.001, 1, 0.1, 0.01, 0.001], dtype=np.float32)
LIBRARIES = {"onnxconverter-common": common, "onnxruntime": runtime}
FAR = np.array([5000, 4999, 3], dtype=np.int64)  # in fp16 positions beyond 2,048 are rounded to even numbers


def BAD() -> Model:
    """A rotary angle whose frequencies are weights elsewhere, an operator that the libraries block, a `value_float`,
    a cast to fp32, a fill without a value, and an output that is read inside."""
    return graphs.model(
        """g (float[b,s,8] x, int64[s] position, bool[s] seen) => (float[b,s,8] q, float[b,s,8] y)
        <int64[1] last = {1}, float zero = {0}> {
        column = Unsqueeze(position, last)
        p = Cast<to = 1>(column)
        angle = Mul(p, inv_freq)
        c = Cos(angle)
        h = MatMul(x, w)
        shape = Shape(h)
        fill = ConstantOfShape(shape)
        one = Constant<value_float = 1.0>()
        hc = Mul(h, c)
        hf = Add(hc, fill)
        q = Add(hf, one)
        positive = Max(q, zero)
        other = Max(x, zero)
        seen_float = Cast<to = 1>(seen)
        weight = Unsqueeze(seen_float, last)
        masked = Mul(positive, weight)
        scaled = Mul(masked, inv_freq)
        y = Add(scaled, other)
    }""",
        {"w": W, "inv_freq": INV_FREQ},
    )


def SOUND() -> Model:
    return graphs.model("g (float[b,8] x) => (float[b,8] y) { h = MatMul(x, w)\n y = Tanh(h) }", {"w": W})


def feed() -> dict[str, Any]:
    return {"x": RNG.normal(size=(2, 3, 8)).astype(np.float32), "position": FAR, "seen": np.array([True, True, False])}


def prepared(model: Model) -> Model:
    graph_pass.run(PASS, model)
    assert infer(model.ir).conflicts == []
    return model


def converted(model: Model, library: str, folder: Path, **options: Any) -> onnx.ModelProto:
    """The library's result for the file of a model, which must load."""
    onnx.save(graphs.proto_of(model), folder / "model.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: onnx.ModelProto = LIBRARIES[library].convert_float_to_float16(onnx.load(folder / "model.onnx"), **options)
    onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return made


def test_blocked_operators_are_those_of_both_libraries() -> None:
    assert set(common.DEFAULT_OP_BLOCK_LIST) | set(runtime.DEFAULT_OP_BLOCK_LIST) == BLOCKED_BY_LIBRARIES


@pytest.mark.parametrize("library", LIBRARIES)
def test_without_the_pass_the_result_does_not_load(library: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"(?i)type error|type parameter|duplicate definition"):
        converted(BAD(), library, tmp_path, keep_io_types=True)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_plain_call_gives_a_model_that_loads_and_is_right(library: str, tmp_path: Path) -> None:
    made = graphs.opened(converted(prepared(BAD()), library, tmp_path, keep_io_types=True))
    assert infer(made.ir).conflicts == []
    given = feed()
    expected, actual = graphs.run(BAD(), given), graphs.run(made, given)
    for name, value in expected.items():
        assert actual[name].dtype == np.float32
        assert graphs.rel_l2(value, actual[name]) < 2e-3


@pytest.mark.parametrize("library", LIBRARIES)
def test_without_keep_io_types_inputs_and_outputs_are_half(library: str, tmp_path: Path) -> None:
    made = graphs.opened(converted(prepared(BAD()), library, tmp_path))
    given = feed()
    expected = graphs.run(BAD(), given)
    actual = graphs.run(made, {**given, "x": given["x"].astype(np.float16)})
    for name, value in expected.items():
        assert actual[name].dtype == np.float16
        assert graphs.rel_l2(value, actual[name]) < 2e-3


def entangled() -> Model:
    """An angle, what half computes with its cosine, and an angle that depends on both: no single function holds all."""
    return graphs.model(
        """g (float[s,8] x, int64[s] position) => (float[s,8] near, float[s,8] far) <int64[1] last = {1}> {
        column = Unsqueeze(position, last)
        p = Cast<to = 1>(column)
        angle = Mul(p, inv_freq)
        near = Cos(angle)
        hidden = Mul(x, near)
        top = ArgMax<axis = 1>(hidden)
        offset = Cast<to = 1>(top)
        moved = Add(angle, offset)
        far = Sin(moved)
    }""",
        {"inv_freq": INV_FREQ},
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_angles_pass_between_functions_without_loss(library: str, tmp_path: Path) -> None:
    model = prepared(entangled())
    assert len(model.ir.functions) == 2
    made = graphs.opened(converted(model, library, tmp_path, keep_io_types=True))
    given = {"x": RNG.normal(size=(3, 8)).astype(np.float32), "position": FAR}
    expected, actual = graphs.run(entangled(), given), graphs.run(made, given)
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value.astype(np.float16).astype(np.float32))


def branching() -> Model:
    """Branches that capture values and constants of the outer graph."""
    return graphs.model(
        """g (float[s,8] x, bool long) => (float[s,8] y) {
        h = MatMul(x, w)
        a = If (long) <
            then_branch = t () => (float[s,8] then_out) { then_out = Mul(h, inv_freq) },
            else_branch = e () => (float[s,8] else_out) {
                two = Constant<value_float = 2.0>()
                else_out = Mul(h, two)
            }
        >
        y = Tanh(a)
    }""",
        {"w": W, "inv_freq": INV_FREQ},
    )


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("long", [True, False])
def test_control_flow_is_kept_whole(library: str, long: bool, tmp_path: Path) -> None:
    made = graphs.opened(converted(prepared(branching()), library, tmp_path, keep_io_types=True))
    given = {"x": RNG.normal(size=(3, 8)).astype(np.float32), "long": np.array(long)}
    assert graphs.rel_l2(graphs.run(branching(), given)["y"], graphs.run(made, given)["y"]) < 2e-3


@pytest.mark.parametrize("library", LIBRARIES)
def test_equal_and_missing_names_are_told_apart(library: str, tmp_path: Path) -> None:
    model = graphs.model("g (float[b,8] x) => (float[b,8] y) { h = Tanh(x)\n k = Sigmoid(x)\n y = Add(h, k) }")
    for node, name in zip(model.graph, (None, "", "Add_y"), strict=True):
        node.name = name
    model.graph[0].name = "Add_y"
    converted(prepared(model), library, tmp_path, keep_io_types=True)
    assert len({n.name for n in model.graph}) == 3


@pytest.mark.parametrize("library", LIBRARIES)
def test_scales_of_resize_stay_fp32(library: str, tmp_path: Path) -> None:
    text = """g (float[1,2,4,4] x) => (float[1,2,8,8] y) <float[4] scales = {1, 1, 2, 2}> {
        r = Resize(x, , scales)
        y = Tanh(r)
    }"""
    made = graphs.opened(converted(prepared(graphs.model(text)), library, tmp_path, keep_io_types=True))
    given = {"x": RNG.normal(size=(1, 2, 4, 4)).astype(np.float32)}
    assert graphs.rel_l2(graphs.run(graphs.model(text), given)["y"], graphs.run(made, given)["y"]) < 2e-3


def test_weights_that_callers_may_replace_are_refused() -> None:
    proto = graphs.proto_of(SOUND())
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [8, 8]))
    with pytest.raises(OnnxfixError, match="graph inputs too"):
        graph_pass.run(PASS, graphs.opened(proto))


def test_sequences_of_floats_that_leave_are_refused() -> None:
    model = graphs.model("g (float[b,8] x) => (seq(float[b,8]) y) { y = SplitToSequence(x) }")
    with pytest.raises(OnnxfixError, match=r"seq\(tensor\(float\)\)"):
        graph_pass.run(PASS, model)
