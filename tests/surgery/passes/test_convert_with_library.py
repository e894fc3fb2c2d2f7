"""Conversion by a library: types agree everywhere, angles keep their bits, and no cast is left that does nothing."""

import graphs
import numpy as np
import onnx_ir as ir
import pytest

from onnxfix.eval.numerics.emulator import emulated
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.convert_to_half import ConvertToHalf
from onnxfix.surgery.passes.convert_with_library import ConvertWithLibrary
from onnxfix.surgery.sites.half.half_plan import HalfOptions

CUDA = Target.resolve("cuda")
PASS = ConvertWithLibrary("onnxconverter-common", CUDA)
LIBRARIES = ("onnxconverter-common", "onnxruntime")
RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.normal(size=(8, 8)).astype(np.float32),
    "inv_freq": np.array([1, 0.1, 0.01, 0.001, 1, 0.1, 0.01, 0.001], dtype=np.float32),
    "lowest": np.array(np.finfo(np.float32).min),
}
FAR = np.array([5000, 4999, 3], dtype=np.int64)  # in fp16 positions beyond 2,048 are rounded to even numbers


def BAD() -> Model:
    """A rotary product, frequencies that are weights too, a mask of finfo.min, and an epsilon that fp16 cannot hold."""
    return graphs.model(
        """g (float[b,s,8] x, int64[s] position, bool[s] seen) => (float[b,s,8] c3, float[b,s,8] y)
        <int64[1] last = {1}, int64[1] front = {0}, float tiny = {1e-12}, float zero = {0}> {
        column = Unsqueeze(position, last)
        p = Cast<to = 1>(column)
        angle = Mul(p, inv_freq)
        c = Cos(angle)
        c3 = Unsqueeze(c, front)
        h = MatMul(x, w)
        hc = Mul(h, c)
        ht = Transpose<perm = [0, 2, 1]>(hc)
        scores = MatMul(hc, ht)
        mask = Where(seen, zero, lowest)
        masked = Add(scores, mask)
        attention = Softmax(masked)
        v = MatMul(attention, h)
        size = ReduceL2<keepdims = 1>(v, last2)
        guarded = Max(size, tiny)
        unit = Div(v, guarded)
        y = Mul(unit, inv_freq)
    }""",
        {**WEIGHTS, "last2": np.array([-1], dtype=np.int64)},
    )


def SOUND() -> Model:
    """Already fp16 with its angle in fp32: nothing is left to convert."""
    return graphs.model(
        """g (float16[b,s,8] x, int64[s] position) => (float16[b,s,8] y) <int64[1] last = {1}> {
        column = Unsqueeze(position, last)
        p = Cast<to = 1>(column)
        angle = Mul(p, inv_freq)
        c = Cos(angle)
        ch = Cast<to = 10>(c)
        y = Mul(x, ch)
    }""",
        {"inv_freq": WEIGHTS["inv_freq"]},
    )


def converted(library: str, model: Model, options: HalfOptions | None = None) -> Model:
    graph_pass.run(ConvertWithLibrary(library, CUDA, options or HalfOptions()), model)
    assert infer(model.ir).conflicts == []
    return model


def feed(seen: bool = True) -> dict[str, np.ndarray]:
    x = RNG.normal(size=(2, 3, 8)).astype(np.float32)
    return {"x": x, "position": FAR, "seen": np.array([seen] * 3)}


@pytest.mark.parametrize("library", LIBRARIES)
def test_result_is_as_right_as_that_of_convert_to_half(library: str) -> None:
    ours = BAD()
    graph_pass.run(ConvertToHalf(CUDA), ours)
    given = feed()
    expected = graphs.run(BAD(), given)["y"]
    by_library = graphs.run(emulated(converted(library, BAD())), given)["y"]
    own = graphs.rel_l2(expected, graphs.run(emulated(ours), given)["y"])
    assert graphs.rel_l2(expected, by_library) == pytest.approx(own, rel=0.1) and own < 2e-3


@pytest.mark.parametrize("library", LIBRARIES)
def test_angles_keep_their_bits_and_weights_become_half(library: str) -> None:
    model = converted(library, BAD())
    types = {v.name: t[7:-1] for v, t in infer(model.ir).of.items()}
    assert {types[n] for n in ("p", "angle", "c", "inv_freq")} == {"float"}
    assert {types[n] for n in ("w", "h", "hc", "attention")} == {"float16"}
    (c3,) = (v for v in model.graph.outputs if v.name == "c3")
    given = feed()
    expected = graphs.run(BAD(), given)["c3"]
    assert c3.producer() is not None and infer(model.ir).is_float32(c3)
    np.testing.assert_array_equal(graphs.run(model, given)["c3"], expected.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_fully_masked_row_is_not_nan(library: str) -> None:
    model = converted(library, BAD())
    (lowest,) = (v.const_value for v in model.graph.initializers.values() if v.name == "lowest")
    assert lowest is not None and float(lowest.numpy()) == -65504
    assert np.isfinite(graphs.run(emulated(model), feed(seen=False))["y"]).all()


@pytest.mark.parametrize("library", LIBRARIES)
def test_between_fp32_nodes_nothing_is_rounded(library: str) -> None:
    """A float input that only an angle reads, through a node at another depth, and an output of that angle."""
    model = graphs.model(
        """g (float[s] time, float[s,8] x) => (float[s,8] c, float[s,8] y) <int64[1] last = {1}> {
        t = Unsqueeze(time, last)
        angle = Mul(t, inv_freq)
        near = Cos(angle)
        hidden = Mul(x, near)
        top = ArgMax<axis = 1>(hidden)
        offset = Cast<to = 1>(top)
        moved = Add(angle, offset)
        c = Sin(moved)
        h = MatMul(hidden, w)
        y = Tanh(h)
    }""",
        {k: WEIGHTS[k] for k in ("w", "inv_freq")},
    )
    given = {"time": FAR.astype(np.float32) + 0.25, "x": 100 * np.eye(3, 8, dtype=np.float32)}
    expected = graphs.run(model, given)
    result = converted(library, model)
    np.testing.assert_array_equal(graphs.run(result, given)["c"], expected["c"])
    assert {n.attributes["to"].as_int() for n in result.nodes() if n.op_type == "Cast"} == {1, 10}, "no double is left"
    assert not result.ir.functions and "CastLike" not in graphs.op_types(result)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_rounding_that_the_source_asks_for_stays(library: str) -> None:
    """fp32 → fp16 → fp32 by nodes without names, on the way to an index."""
    model = graphs.model(
        """g (float[s,8] x) => (float[s,8] y, int64[s,8] i) {
        r = Cast<to = 10>(x)
        f = Cast<to = 1>(r)
        i = Cast<to = 7>(f)
        h = MatMul(x, w)
        y = Tanh(h)
    }""",
        {"w": WEIGHTS["w"]},
    )
    for node in model.graph:
        node.name = None
    given = {"x": np.full((2, 8), 4095.9, np.float32)}
    expected = graphs.run(model, given)["i"]
    assert expected[0, 0] == 4096, "the source rounds"
    np.testing.assert_array_equal(graphs.run(converted(library, model), given)["i"], expected)


@pytest.mark.parametrize("library", LIBRARIES)
def test_nodes_keep_names_and_metadata(library: str) -> None:
    model = BAD()
    for node in model.graph:
        node.metadata_props["scope"] = f"of {node.name}"
    names = {n.name for n in model.graph}
    result = converted(library, model)
    kept = {n.name: n for n in result.graph if n.name in names}
    assert set(kept) == names
    assert all(n.metadata_props == {"scope": f"of {name}"} for name, n in kept.items())
    added = [n for n in result.graph if n.name not in names]
    assert {n.op_type for n in added} == {"Cast"} and all("onnxfix.pass" in n.metadata_props for n in added)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_second_run_does_nothing(library: str) -> None:
    model = converted(library, BAD())
    outcome = graph_pass.run(ConvertWithLibrary(library, CUDA), model)
    assert not outcome.changes
    assert outcome.notes[-1] == "nothing was converted: no fp32 value that could and may be half"


@pytest.mark.parametrize("library", LIBRARIES)
def test_inputs_and_outputs_become_half_on_request(library: str) -> None:
    model = converted(library, BAD(), HalfOptions(io_types="half"))
    assert {v.dtype for v in (*model.graph.inputs[:1], *model.graph.outputs)} == {ir.DataType.FLOAT16}


def test_an_unknown_library_is_refused() -> None:
    with pytest.raises(OnnxfixError, match="name one of onnxconverter-common, onnxruntime"):
        graph_pass.run(ConvertWithLibrary("onnxmltools", CUDA), BAD())


def test_more_than_protobuf_holds_is_refused_where_the_library_needs_it_in_memory() -> None:
    """The weight is never computed: its size is known before."""
    model = BAD()

    def never() -> ir.Tensor:
        raise AssertionError("the weight was read")

    big = ir.LazyTensor(never, ir.DataType.FLOAT, ir.Shape([1 << 30]), name="big")
    model.graph.register_initializer(ir.Value(name="big", const_value=big))
    with pytest.raises(OnnxfixError, match=r"4\.3 GB of weights; use converter='onnxruntime'"):
        graph_pass.run(PASS, model)
