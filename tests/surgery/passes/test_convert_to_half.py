"""Typed conversion to half: types at every node, casts where they meet, rotary angles bit for bit in fp32."""

import graphs
import numpy as np
import pytest

from onnxfix.eval.numerics.emulator import emulated
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.convert_to_half import ConvertToHalf
from onnxfix.surgery.recipes import Wish, recipe
from onnxfix.surgery.sites.half.block_list import BlockList
from onnxfix.surgery.sites.half.half_plan import HalfOptions

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
    assert "block_op='Tanh' caught 1 node" in outcome.notes
    assert types_of(model)["y"] == "float" and graphs.node_named(model, "Tanh_y").outputs[0].name == "y"
    assert types_of(converted(BAD(), nodes=("MatMul_.*",)))["w"] == "float"
    for options in ({"ops": ("LSTM",)}, {"nodes": ("nowhere",)}, {"scopes": ("model.*",)}):
        with pytest.raises(OnnxfixError, match="catches no node"):
            converted(BAD(), **options)


def test_bf16_declares_bf16() -> None:
    model = BAD()
    graph_pass.run(ConvertToHalf(CUDA, "bf16"), model)
    assert types_of(model)["h"] == "bfloat16" and infer(model.ir).conflicts == []


def casts(model: Model) -> list[tuple[str, str]]:
    """(what is cast, to what) of every cast, in graph order."""
    types = types_of(model)
    return [
        (n.inputs[0].name or "", types[n.outputs[0].name or ""])
        for n in model.nodes()
        if n.op_type == "Cast" and n.inputs[0] is not None
    ]


def test_casts_stand_where_the_tensor_is_smaller() -> None:
    """A slice of fp32 is cast, not what it is sliced from; a row is cast to fp32 and then expanded."""
    weights = {"w": WEIGHTS["w"], "i": np.array([0]), "j": np.array([1]), "size": np.array([64, 8])}
    sliced = graphs.model(
        "g (float[64,8] x) => (float[1,8] y) { e = Exp(x) s = Slice(e, i, j) y = MatMul(s, w) }", weights
    )
    assert ("s", "float16") in casts(converted(sliced, ops=("Exp",)))
    grown = graphs.model(
        "g (float[1,8] x) => (float[64,8] y) { m = MatMul(x, w) s = Expand(m, size) y = Exp(s) }", weights
    )
    assert ("m", "float") in casts(converted(grown, ops=("Exp",)))


def test_no_value_is_cast_twice_to_one_type() -> None:
    found = casts(converted(BAD()))
    assert len(found) == len(set(found))


@pytest.mark.parametrize("io_types", ["keep", "half"])
def test_io_types(io_types: str) -> None:
    """`half` changes the declared types of the model's own inputs and outputs, and leaves no cast at them."""
    model = converted(BAD(), io_types=io_types)
    wanted = "FLOAT16" if io_types == "half" else "FLOAT"
    assert [str(v.dtype) for v in (*model.graph.inputs, *model.graph.outputs)] == [wanted, "INT64", wanted, wanted]
    at_border = [n for n in model.nodes() if n.op_type == "Cast" and n.outputs[0].is_graph_output()]
    assert len(at_border) == (0 if io_types == "half" else 2)
    dtype = np.float16 if io_types == "half" else np.float32
    found = graphs.run(model, {"x": RNG.normal(size=(1, 3, 8)).astype(dtype), "position": np.arange(3)})
    assert all(array.dtype == dtype for array in found.values())


SCORES = """g (float[b,4] x, bool[b,4] seen) => (float[b,4] y) { s = MatMul(x, w) f = Cast <to = 1> (seen)
    n = Sub(one, f) m = Mul(n, low) a = Add(s, m) p = Softmax(a) l = LayerNormalization(p, scale) y = MatMul(l, w) }"""


def attention() -> Model:
    ones = {"one": np.array(1, np.float32), "low": np.array(-1e4, np.float32), "scale": np.ones(4, np.float32)}
    return graphs.model(SCORES, {"w": np.eye(4, dtype=np.float32), **ones})


@pytest.mark.parametrize(
    ("like", "fp32"),
    [("softmax", {"a", "p"}), ("mask", {"f", "n", "m", "a", "p"}), ("norms", {"l"}), ("", set())],
)
def test_kinds_of_places_that_are_kept(like: str, fp32: set[str]) -> None:
    outcome = None
    model = attention()
    if like:
        outcome = graph_pass.run(ConvertToHalf(CUDA, options=HalfOptions(keep_like=(like,))), model)
        (note,) = [n for n in outcome.notes if n.startswith("keep_fp32_like=")]
        assert note == f"keep_fp32_like={like!r} caught {len(fp32)} node{'s' if len(fp32) > 1 else ''}"
    else:
        converted(model)
    types = types_of(model)
    assert {n for n in ("f", "n", "m", "a", "p", "l") if types[n] == "float"} == fp32
    assert types["s"] == "float16"


def test_a_kind_of_place_that_there_is_not_is_an_error() -> None:
    with pytest.raises(OnnxfixError, match="keep_fp32_like='softmax' catches no node"):
        converted(BAD(), keep_like=("softmax",))


def test_rotary_is_kept_when_named_though_the_default_is_off() -> None:
    assert types_of(converted(BAD(), keep_rotary_fp32=False, keep_like=("rotary",)))["angle"] == "float"


def scoped() -> Model:
    """Two layers as the dynamo exporter records them."""
    model = graphs.model(
        "g (float[b,8] x) => (float[b,8] y) { a = MatMul(x, w) b_ = Tanh(a) c = MatMul(b_, w) y = Tanh(c) }",
        {"w": WEIGHTS["w"]},
    )
    for name, scope in {
        "MatMul_a": "layers.0.fc",
        "Tanh_b_": "layers.0",
        "MatMul_c": "layers.10.fc",
        "Tanh_y": "layers.10",
    }.items():
        graphs.node_named(model, name).metadata_props["pkg.torch.onnx.name_scopes"] = repr(["", scope, "call"])
    return model


@pytest.mark.parametrize(
    ("pattern", "fp32"),
    [("layers.0", {"a", "b_"}), ("layers.0.*", {"a"}), ("layers.1*", {"c"}), ("*.fc", {"a", "c"})],
)
def test_block_scope_catches_a_module_and_what_is_in_it(pattern: str, fp32: set[str]) -> None:
    types = types_of(converted(scoped(), scopes=(pattern,)))
    assert {n for n in ("a", "b_", "c") if types[n] == "float"} == fp32


def test_a_scope_that_catches_nothing_names_one_that_would() -> None:
    with pytest.raises(OnnxfixError, match=r"catches no node.*near it are .*layers\."):
        converted(scoped(), scopes=("encoder.*",))


def test_a_scale_beyond_the_range_keeps_its_node() -> None:
    """1e6 is no mask: clamped to 65,504 it would be another scale."""
    model = graphs.model(
        "g (float[b,2] x) => (float[b,2] y) { t = Tanh(x) m = Mul(t, big) y = Mul(m, small) }",
        {"big": np.array(1e6, np.float32), "small": np.array(1e-6, np.float32)},
    )
    types = types_of(converted(model))
    assert types["m"] == "float" and types["t"] == "float16"


def test_bf16_without_a_kernel_is_fp32_and_the_session_has_no_copy() -> None:
    """CUDA has no bf16 kernel for Round; a copy to the host and back would be worse than two casts."""
    from onnxfix.diagnose.placement.forecast import forecast

    model = graphs.model(
        "g (float[b,8] x) => (float[b,8] y) { h = MatMul(x, w) c = Round(h) y = MatMul(c, w) }", {"w": WEIGHTS["w"]}
    )
    graph_pass.run(ConvertToHalf(CUDA, "bf16"), model)
    assert types_of(model)["c"] == "float" and types_of(model)["h"] == "bfloat16"
    plan = forecast(model, CUDA)
    assert not plan.copies and not plan.failures and {n.provider for n in plan.nodes} == {"CUDAExecutionProvider"}


COMPARISONS = ("Less", "Greater", "Equal", "LessOrEqual", "GreaterOrEqual")


@pytest.mark.parametrize("op_type", COMPARISONS)
@pytest.mark.parametrize(("given", "kept"), [("x", True), ("h", True), ("k", False)])
def test_a_comparison_with_fp32_values_is_made_in_fp32(op_type: str, given: str, kept: bool) -> None:
    """Two inputs, a product and an input, two products: where a value is not rounded, the other must not be either."""
    model = graphs.model(
        f"""g (float[n,8] x, float[n,8] y) => (bool[n,8] z) {{ h = MatMul(x, w) j = MatMul(y, w)
            z = {op_type}({"h" if given == "k" else given}, {"j" if given == "k" else "y"}) }}""",
        {"w": np.eye(8, dtype=np.float32)},
        opset=17,
    )
    x = RNG.normal(size=(64, 8)).astype(np.float16).astype(np.float32)  # what a half product hands on unrounded
    feed = {"x": x, "y": np.where(RNG.random(x.shape) < 0.5, x, np.nextafter(x, np.float32(9)))}
    expected = graphs.run(model, feed)["z"]
    graph_pass.run(ConvertToHalf(CUDA), model)
    types = infer(model.ir)
    assert types.conflicts == []
    compared = {types.get(v) for v in next(n for n in model.nodes() if n.op_type == op_type).inputs}
    assert compared == {"tensor(float)" if kept else "tensor(float16)"}
    if kept:
        assert np.array_equal(graphs.run(model, feed)["z"], expected)


@pytest.mark.parametrize(("threshold", "kept"), [(0.1, True), (0.5, False)])
def test_a_threshold_that_half_does_not_hold_is_compared_in_fp32(threshold: float, kept: bool) -> None:
    model = graphs.model(
        "g (float[n,8] x) => (bool[n,8] z) { h = MatMul(x, w) z = Less(h, t) }",
        {"w": WEIGHTS["w"], "t": np.array(threshold, np.float32)},
    )
    assert types_of(converted(model))["t"] == ("float" if kept else "float16")


def test_a_value_is_cast_once_for_all_bodies() -> None:
    """Where it is made: a cast in each body would be a copy more for what runs on the host there."""
    model = graphs.model(
        """g (float[b,8] x, bool c) => (float[b,8] y, float[b,8] z) { h = MatMul(x, w) a = Round(h)
            y = If (c) <then_branch = t () => (float[b,8] p) { p = Round(h) },
                        else_branch = e () => (float[b,8] q) { r = Round(h) q = Neg(r) }>
            z = Tanh(a) }""",
        {"w": WEIGHTS["w"]},
    )
    found = casts(converted(model, ops=("Round",)))
    assert found.count(("h", "float")) == 1


def test_constant_arithmetic_stays_fp32_and_is_folded() -> None:
    """The CPU, which folds it, has no half form of Exp; a large weight is stored in half all the same."""
    text = "g (float[b,8] x) => (float[b,8] y) { e = Exp(k) h = MatMul(x, w) y = Mul(h, e) }"
    for rows, kept in ((1, True), (1024, False)):
        model = graphs.model(text, {"w": WEIGHTS["w"], "k": np.ones((rows, 8), np.float32)})
        assert types_of(converted(model))["k"] == ("float" if kept else "float16")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("scale", ["Mul(given, ws)", "Mul(given, ws) k = Identity(e)"])
def test_sums_of_integers_are_scaled_before_they_are_rounded(precision: str, scale: str) -> None:
    """A dynamic int8 product: int32 sums of millions, which the scale of activations and weights takes into range."""
    text = f"""g (float[b,512] x) => (float[b,4] y) {{ q, given, z = DynamicQuantizeLinear(x)
        s = MatMulInteger(q, w, z, wz) e = {scale} c = Cast<to = 1>(s)
        m = Mul(c, {"k" if "k =" in scale else "e"}) a = Add(m, bias) y = Relu(a) }}"""
    weights = {
        "w": RNG.integers(-127, 127, (512, 4)).astype(np.int8) | np.int8(96),
        "wz": np.array(0, np.int8),
        "ws": np.array(1e-4, np.float32),
        "bias": np.ones(4, np.float32),
    }
    model, feed = graphs.model(text, weights), {"x": np.abs(RNG.normal(3, 1, (3, 512))).astype(np.float32)}
    expected = graphs.run(model, feed)["y"]
    graph_pass.run(ConvertToHalf(CUDA, precision), model)
    types = types_of(model)
    half = "float16" if precision == "fp16" else "bfloat16"
    assert (types["c"], types["e"], types["m"], types["a"]) == ("float", "float", "float", half)
    assert graphs.rel_l2(expected, graphs.run(emulated(model), feed)["y"]) < (1e-3 if precision == "fp16" else 1e-2)


def test_without_the_island_of_angles_positions_are_half_as_well() -> None:
    """What a user asks for: the cast of the position is one to half then."""
    assert types_of(converted(BAD(), keep_rotary_fp32=False))["p"] == "float16"


@pytest.mark.parametrize("passed", [True, False])
def test_a_weight_that_the_graph_returns_keeps_its_type(passed: bool) -> None:
    model = graphs.model(
        "g (float[b,8] x) => (float[b,8] y, float[8,8] w) { y = MatMul(x, w) }"
        if passed
        else "g (float[b,8] x) => (float[b,8] y, float[8,8] w) { y = Tanh(x) }",
        {"w": WEIGHTS["w"]},
    )
    result, _ = recipe(Wish(CUDA, "fp16"), model).apply(model)
    outputs = {o.name: o.type.tensor_type.elem_type for o in graphs.proto_of(result).graph.output}
    assert outputs == {"y": 1, "w": 1}
    assert np.array_equal(graphs.run(result, {"x": np.ones((1, 8), np.float32)})["w"], WEIGHTS["w"])


def test_packed_weights_become_half_with_their_scales() -> None:
    """q4 → q4f16: products, lookup and norm, whose outputs between the first and the sum are left out."""
    blocks = {
        "q": RNG.integers(0, 256, (32, 2, 16)).astype(np.uint8),
        "scales": RNG.uniform(0.005, 0.02, (32, 2)).astype(np.float32),
        "table": RNG.integers(0, 256, (50, 64)).astype(np.uint8),
        "steps": RNG.uniform(0.005, 0.02, (50, 2)).astype(np.float32),
        "zeros": np.full((50, 2), 128, np.uint8),
        "gain": np.ones(64, np.float32),
    }
    text = """g (int64[n] ids) => (float[n,32] y, float[n,64] r) {
        e = com.microsoft.GatherBlockQuantized<bits = 8, block_size = 32, gather_axis = 0, quantize_axis = 1>(
            table, ids, steps, zeros)
        h, , , r = com.microsoft.SkipSimplifiedLayerNormalization(e, e, gain)
        y = com.microsoft.MatMulNBits<K = 64, N = 32, bits = 4, block_size = 32, accuracy_level = 4>(h, q, scales)
    }"""
    model = converted(graphs.model(text, blocks))
    kinds = {name: str(v.const_value.dtype) for name, v in model.graph.initializers.items()}
    assert kinds == dict.fromkeys(("scales", "steps", "gain"), "FLOAT16") | dict.fromkeys(
        ("q", "table", "zeros"), "UINT8"
    )
    feed = {"ids": np.arange(7)}
    wanted, found = graphs.run(graphs.model(text, blocks), feed), graphs.run(model, feed)
    assert all(graphs.rel_l2(wanted[name], found[name]) < 1e-2 for name in wanted)


def test_scales_that_lose_bits_in_half_stay() -> None:
    blocks = {
        "q": RNG.integers(0, 256, (32, 2, 16)).astype(np.uint8),
        "scales": np.full((32, 2), 1e-6, np.float32),
        "w": WEIGHTS["w"],
    }
    text = """g (float[n,64] x, float[n,8] z) => (float[n,32] y, float[n,8] v) {
        y = com.microsoft.MatMulNBits<K = 64, N = 32, bits = 4, block_size = 32>(x, q, scales)
        v = MatMul(z, w)
    }"""
    model = graphs.model(text, blocks)
    outcome = graph_pass.run(ConvertToHalf(CUDA), model)
    assert model.graph.initializers["scales"].const_value.numpy().dtype == np.float32
    assert any("beyond the range of half" in note for note in outcome.notes)


def test_an_output_that_no_input_decides_stays_fp32_beside_a_half_one() -> None:
    """The mean of a norm, which somebody reads."""
    text = """g (float[n,8] x) => (float[n,8] y, float[n,1] m) {
        h = MatMul(x, w)
        n, mean = LayerNormalization(h, gain)
        y = Relu(n)
        m = Neg(mean)
    }"""
    weights = {"w": WEIGHTS["w"], "gain": np.ones(8, np.float32)}
    model = converted(graphs.model(text, weights))
    assert types_of(model)["n"] == "float16"
    x = RNG.normal(size=(5, 8)).astype(np.float32)
    wanted, found = graphs.run(graphs.model(text, weights), {"x": x}), graphs.run(model, {"x": x})
    assert all(graphs.rel_l2(wanted[name], found[name]) < 5e-3 for name in wanted)


def test_the_type_that_an_attribute_names_becomes_half() -> None:
    text = """g (float[n,8] x) => (float[n,8] y) {
        h = MatMul(x, w)
        a = RandomNormalLike<dtype = 1>(h)
        b = RandomUniformLike(h)
        c = Mul(a, b)
        y = Mul(c, nothing)
    }"""
    model = graphs.model(text, {"w": WEIGHTS["w"], "nothing": np.zeros(1, np.float32)})
    outcome = graph_pass.run(ConvertToHalf(CUDA), model)
    assert not any("kept in fp32" in note for note in outcome.notes)
    assert {types_of(model)[name] for name in "abc"} == {"float16"}
    assert not graphs.run(model, {"x": np.ones((3, 8), np.float32)}, "all")["y"].any()


def test_a_table_that_is_read_in_both_types_is_stored_in_one() -> None:
    """The output layer stays fp32; the embedding reads the same table in half."""
    text = """g (int64[n] ids) => (float[n,300] y) {
        e = Gather(t, ids)
        r = Relu(e)
        u = Transpose<perm = [1, 0]>(t)
        y = MatMul(r, u)
    }"""
    weights = {"t": RNG.normal(size=(300, 16)).astype(np.float32)}
    model = converted(graphs.model(text, weights), nodes=("MatMul_y", "Transpose_u"))
    assert [v.const_value.nbytes for v in model.graph.initializers.values()] == [weights["t"].nbytes]
    assert types_of(model)["r"] == "float16"
    wanted, found = (graphs.run(m, {"ids": np.arange(9)})["y"] for m in (graphs.model(text, weights), model))
    assert graphs.rel_l2(wanted, found) < 2e-3


def test_data_that_is_moved_alone_is_no_half_model() -> None:
    """All that computes is kept: what is left would be two casts. A table that is read stays worth its half size."""
    options = HalfOptions(keep_nodes=(("MatMul_h", "found by search"), ("Tanh_y", "found by search")))
    text = """g (float[n,8] x, int64[k] at) => (float[k,8] z, float[n,8] y) {
        h = MatMul(x, w) y = Tanh(h) z = Gather(%s, at) }"""
    with pytest.raises(OnnxfixError, match="keeps every node in fp32"):
        graph_pass.run(ConvertToHalf(CUDA, options=options), graphs.model(text % "x", {"w": WEIGHTS["w"]}))
    table = graphs.model(text % "t", {"w": WEIGHTS["w"], "t": WEIGHTS["w"].repeat(8, 0)})
    before = table.weights_bytes
    graph_pass.run(ConvertToHalf(CUDA, options=options), table)
    assert table.weights_bytes < before
