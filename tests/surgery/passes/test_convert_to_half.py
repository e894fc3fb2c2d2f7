"""Typed conversion to half: types at every node, casts where they meet, rotary angles bit for bit in fp32."""

import graphs
import numpy as np
import pytest

from onnxfix.element_types import infer
from onnxfix.errors import OnnxfixError
from onnxfix.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.convert_to_half import ConvertToHalf
from onnxfix.surgery.sites.block_list import BlockList
from onnxfix.surgery.sites.half_plan import HalfOptions
from onnxfix.target import Target

CUDA = Target.resolve("cuda")
PASS = ConvertToHalf(CUDA)
RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.normal(size=(8, 8)).astype(np.float32),
    "inv_freq": np.array([1, 0.1, 0.01, 0.001, 1, 0.1, 0.01, 0.001], dtype=np.float32),
    "mask": np.array([0, np.finfo(np.float32).min, -np.inf], dtype=np.float32),
}


def BAD() -> Model:
    """A rotary product, a constant that half and fp32 nodes share, and an output that is read inside too."""
    return graphs.model(
        """g (float[b,s,8] x, int64[s] position) => (float[b,s,8] q, float[b,s,8] y)
        <int64[1] last = {1}> {
        h = MatMul(x, w)
        column = Unsqueeze(position, last)
        p = Cast<to = 1>(column)
        angle = Mul(p, inv_freq)
        c = Cos(angle)
        s = Sin(angle)
        hc = Mul(h, c)
        hs = Mul(h, s)
        q = Add(hc, hs)
        scaled = Mul(q, inv_freq)
        y = Tanh(scaled)
    }""",
        {k: v for k, v in WEIGHTS.items() if k != "mask"},
    )


def SOUND() -> Model:
    """Already fp16 with its angle in fp32: nothing is left to convert."""
    return graphs.model(
        """g (float16[batch,sequence,8] x, int64[sequence] position) => (float16[batch,sequence,8] q)
        <int64[1] last = {1}> {
        column = Unsqueeze(position, last)
        p = Cast<to = 1>(column)
        angle = Mul(p, inv_freq)
        c = Cos(angle)
        ch = Cast<to = 10>(c)
        q = Mul(x, ch)
    }""",
        {"inv_freq": WEIGHTS["inv_freq"]},
    )


def converted(model: Model, **options: object) -> Model:
    blocked = BlockList(**{name: options.pop(name) for name in ("ops", "nodes", "scopes") if name in options})  # type: ignore[arg-type]
    graph_pass.run(ConvertToHalf(CUDA, options=HalfOptions(blocked=blocked, **options)), model)  # type: ignore[arg-type]
    assert infer(model.ir).conflicts == []
    return model


def types_of(model: Model) -> dict[str, str]:
    return {v.name or "": t[7:-1] for v, t in infer(model.ir).of.items()}


def test_angles_stay_fp32_and_products_become_half() -> None:
    types = types_of(converted(BAD()))
    assert {types[n] for n in ("p", "angle", "c", "s", "inv_freq")} == {"float"}
    assert {types[n] for n in ("w", "h", "hc", "hs", "scaled", "inv_freq_float16")} == {"float16"}
    assert (types["x"], types["q"], types["y"]) == ("float", "float", "float")


def test_casts_stand_only_where_types_meet() -> None:
    model = converted(BAD())
    # x once, c and s once each, both outputs once; the position cast was there before
    assert graphs.op_types(model).count("Cast") == 5 + 1


def test_without_the_island_the_angle_is_half() -> None:
    assert types_of(converted(BAD(), keep_rotary_fp32=False))["angle"] == "float16"


def test_cos_and_sin_are_bit_identical_to_the_source() -> None:
    """Read in front of the cast to half, at positions 0 to 4,096."""
    source, half = BAD(), converted(BAD())
    for model in (source, half):
        for name in ("Cos_c", "Sin_s"):
            model.graph.outputs.append(graphs.node_named(model, name).outputs[0])
    feed = {"x": np.zeros((1, 4097, 8), np.float32), "position": np.arange(4097)}
    expected, actual = graphs.run(source, feed), graphs.run(half, feed)
    assert all(np.array_equal(expected[n], actual[n]) and actual[n].dtype == np.float32 for n in ("c", "s"))


def test_constants_beyond_the_range_are_clamped_not_infinite() -> None:
    model = graphs.model("g (float[batch,3] x) => (float[batch,3] y) { a = Add(x, mask)\n y = Softmax(a) }", WEIGHTS)
    mask = converted(model).graph.initializers["mask"].const_value
    assert mask is not None
    assert mask.numpy().tolist() == [0.0, -65504.0, -np.inf]


@pytest.mark.parametrize("form", ["value = float[1] {-3.4e38}", "value_float = -3.4e38"])
def test_constant_nodes_of_every_form_are_converted(form: str) -> None:
    model = graphs.model(f"g (float[batch,3] x) => (float[batch,3] y) {{ m = Constant<{form}>()\n y = Add(x, m) }}")
    assert types_of(converted(model))["m"] == "float16"
    assert graphs.run(model, {"x": np.zeros((1, 3), np.float32)})["y"][0, 0] == -65504


def test_an_epsilon_that_would_vanish_keeps_its_node_in_fp32() -> None:
    """Mean pooling's clamp(min=1e-9): zero in fp16, and then 0/0 for an empty row."""
    model = graphs.model(
        "g (float[batch,3] x) => (float[batch,3] y) { m = Max(x, tiny)\n y = Div(x, m) }",
        {"tiny": np.array(1e-9, np.float32)},
    )
    result = graphs.run(converted(model), {"x": np.zeros((1, 3), np.float32)})["y"]
    assert np.array_equal(result, np.zeros((1, 3)))


def test_written_out_norms_stay_fp32() -> None:
    """Squares of activations beyond 256 overflow fp16."""
    model = graphs.model(
        """g (float[batch,8] x) => (float[batch,8] y)
        <float two = {2}, float eps = {0.00001}, int64[1] last = {-1}, float[8] g = {1, 2, 3, 4, 5, 6, 7, 8}> {
        h = Neg(x)
        sq = Pow(h, two)
        mean = ReduceMean(sq, last)
        guarded = Add(mean, eps)
        root = Sqrt(guarded)
        n = Div(h, root)
        y = Mul(n, g)
    }""",
        {},
    )
    types = types_of(converted(model))
    assert {types[n] for n in ("sq", "mean", "guarded", "root", "n")} == {"float"}
    assert types["g"] == "float16"


def test_a_float_that_becomes_an_index_stays_fp32() -> None:
    """T5 buckets: log of a distance, cast to an integer that selects an embedding."""
    model = graphs.model(
        """g (int64[n] distance) => (float[n,2] y) <float scale = {7.3}> {
        f = Cast<to = 1>(distance)
        l = Log(f)
        m = Mul(l, scale)
        bucket = Cast<to = 7>(m)
        y = Gather(table, bucket)
    }""",
        {"table": RNG.normal(size=(64, 2)).astype(np.float32)},
    )
    types = types_of(converted(model))
    assert {types[n] for n in ("f", "l", "m")} == {"float"} and types["table"] == "float16"


def test_sub_graphs_are_converted_and_keep_their_boundary() -> None:
    model = graphs.model(
        """g (bool c, float[2,8] x) => (float[2,8] y) {
        h = MatMul(x, w)
        r = If (c) <
            then_branch = t () => (float[2,8] p) { a = MatMul(h, w)\n p = Relu(a) },
            else_branch = e () => (float[2,8] n) { n = Neg(h) }
        >
        y = Tanh(r)
    }""",
        {"w": WEIGHTS["w"]},
    )
    feeds = [{"c": np.array(flag), "x": RNG.normal(size=(2, 8)).astype(np.float32)} for flag in (True, False)]
    expected = [graphs.run(model, feed)["y"] for feed in feeds]
    types = types_of(converted(model))
    assert types["a"] == types["h"] == "float16" and types["r"] == "float"
    for feed, reference in zip(feeds, expected, strict=True):
        assert graphs.rel_l2(reference, graphs.run(model, feed)["y"]) < 5e-3


def test_block_lists_say_what_they_caught_and_refuse_what_caught_nothing() -> None:
    model = BAD()
    outcome = graph_pass.run(ConvertToHalf(CUDA, options=HalfOptions(blocked=BlockList(ops=("Tanh",)))), model)
    assert "--block-op Tanh caught 1 node" in outcome.notes
    assert types_of(model)["y"] == "float" and graphs.node_named(model, "Tanh_y").outputs[0].name == "y"
    assert types_of(converted(BAD(), nodes=("MatMul_.*",)))["w"] == "float"
    for options in ({"ops": ("LSTM",)}, {"nodes": ("nowhere",)}, {"scopes": ("model.*",)}):
        with pytest.raises(OnnxfixError, match="catches no node"):
            converted(BAD(), **options)


def test_bf16_declares_bf16() -> None:
    model = BAD()
    graph_pass.run(ConvertToHalf(CUDA, "bf16"), model)
    assert types_of(model)["h"] == "bfloat16" and infer(model.ir).conflicts == []
