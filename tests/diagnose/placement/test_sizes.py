"""Bytes, growth and cost of copies at a stated batch and sequence, and what prevents CUDA graphs."""

from __future__ import annotations

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Copy, Plan, Sizes
from onnxfix.nouns.target import Target
from onnxfix.nouns.types import onnx_shapes
from onnxfix.surgery.sites.sizes.shape_walk import Walk

GATED = """g (float[batch,tokens,5248] x, int64 parts, int64 first) => (float[b,s,k] y) {
    h = Relu(x) s = SplitToSequence<axis = 2>(h, parts) a = SequenceAt(s, first) y = Exp(a) }"""


def plan(model: Model, sizes: Sizes | None = None, target: str = "cuda") -> Plan:
    return forecast(model, Target.resolve(target, "forecast"), sizes or Sizes())


def copy_of(name: str, model: Model, sizes: Sizes | None = None) -> Copy:
    return next(c for c in plan(model, sizes).copies if c.value == name)


def test_the_gated_mlp_of_modernbert_large_copies_688_mb_each_way() -> None:
    model = graphs.model(GATED)
    out, back = copy_of("h", model), copy_of("s", model)
    assert out.shape == (64, 512, 5248) and out.nbytes == back.nbytes == 64 * 512 * 5248 * 4 == 687_865_856
    assert out.grows and out.severity == back.severity == "error"
    # 56 such copies are 38.5 GB a batch; 30.2 ms a sample were measured for them on an RTX 3090
    assert out.milliseconds == pytest.approx(34.4, abs=0.1)
    assert 56 * out.milliseconds / 64 == pytest.approx(30.2, rel=0.01)


@pytest.mark.parametrize(("parts", "shape"), [("int64[2] p = {3, 5}", (2, 3)), ("int64 p = {4}", None)])
def test_parts_that_are_no_list_are_none(parts: str, shape: tuple[int, ...] | None) -> None:
    """The shape behind it is not known then, and all else is."""
    model = graphs.model(f"g (float[2,8] x) => (float[2,k] y) <{parts}> {{ a, b = Split<axis = 1>(x, p) y = Relu(a) }}")
    first = next(n for n in model.nodes() if n.op_type == "Split").outputs[0]
    walk = Walk({"x": (2, 8)})
    walk.shapes[model.graph.inputs[0]] = (2, 8)
    walk.graph(model.graph)
    assert walk.shapes.get(first) == shape


def test_the_stated_sizes_decide() -> None:
    small = copy_of("h", graphs.model(GATED), Sizes(batch=1, sequence=16))
    assert small.shape == (1, 16, 5248) and small.nbytes == 16 * 5248 * 4


def test_symbols_are_bound_by_name_before_position() -> None:
    turned = GATED.replace("[batch,tokens,5248]", "[sequence_length,batch_size,5248]")
    assert copy_of("h", graphs.model(turned)).shape == (512, 64, 5248)


def test_a_scalar_is_a_note_and_does_not_grow() -> None:
    text = """g (float[b,8] x, float[b,8] z) => (float[b,8] y) { shape = Shape(x) n = Gather<axis = 0>(shape, zero)
        f = Cast<to = 1>(n) e = Exp(z) y = Mul(e, f) }"""
    copy = copy_of("f", graphs.model(text, {"zero": np.array(0)}))
    assert (copy.shape, copy.nbytes, copy.grows, copy.severity) == ((), 4, False, "note")


def test_a_large_value_that_does_not_grow_is_an_error_a_small_one_a_note() -> None:
    text = """g (float[SIZE] x) => (float[n] y) { h = Relu(x) t = Tan(h) y = Exp(t) }"""
    large, small = copy_of("h", graphs.model(text.replace("SIZE", "300000"))), graphs.model(text.replace("SIZE", "99"))
    assert (large.nbytes, large.grows, large.severity) == (1_200_000, False, "error")
    assert copy_of("h", small).severity == "note"
    medium = copy_of("h", graphs.model(text.replace("SIZE", "9000")))
    assert medium.severity == "warning"


def test_shapes_that_the_file_states_in_symbols_help_where_inference_knows_no_rule() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
        g (float[b,s,8] x) => (float[n,8] y) <float["2*b*s",8] r>
        { q = com.microsoft.QuickGelu(x) r = Reshape(q, flat) t = Tan(r) y = Exp(t) }""".replace('"2*b*s"', "k")
    proto = graphs.proto_of(graphs.model(text, {"flat": np.array([-1, 8])}))
    (info,) = (v for v in proto.graph.value_info if v.name == "r")
    info.type.tensor_type.shape.dim[0].dim_param = "b*s"
    copy = copy_of("r", graphs.opened(proto))
    assert copy.shape == (64 * 512, 8) and copy.grows


def test_an_unknown_shape_says_nothing_and_is_a_warning() -> None:
    text = """g (float[b,8] x, int64[r] to) => (float[n,m] y) { h = Reshape(x, to) t = Tan(h) y = Exp(t) }"""
    copy = copy_of("h", graphs.model(text))
    assert (copy.nbytes, copy.milliseconds, copy.severity) == (None, None, "warning")


def test_half_and_packed_types_are_counted_in_their_own_size() -> None:
    half = "g (float16[b,s,64] x) => (float16[b,s,64] y) { h = Relu(x) t = Tan(h) y = Exp(t) }"
    copies = plan(graphs.model(half)).copies
    assert {c.nbytes for c in copies} == {64 * 512 * 64 * 2}


READY = "g (float[b,8] x) => (float[b,8] y) { h = Relu(x) y = Exp(h) }"
CASES = {
    "a copy": ("g (float[b,8] x) => (float[b,8] y) { h = Relu(x) t = Tan(h) y = Exp(t) }", {"Tan_t"}),
    "a kernel that waits": ("g (float[b,8] x) => (int64[2,n] y) { h = Relu(x) y = NonZero(h) }", {"NonZero_y"}),
    "a node on the host without a copy": ("g (float[b,8] x) => (float[b,8] y) { y = Tan(x) }", {"Tan_y"}),
    "control flow": (
        """g (float[b,8] x, bool c) => (float[b,8] y) {
            y = If(c) <then_branch = t () => (float[b,8] p) { p = Relu(x) },
                       else_branch = e () => (float[b,8] q) { q = Exp(x) }> }""",
        {"If_y"},
    ),
}


def test_a_plain_graph_is_cuda_graph_ready() -> None:
    assert plan(graphs.model(READY)).obstacles == ()
    assert plan(graphs.model(READY)).as_dict()["cuda_graph"] == {"ready": True, "prevented_by": []}


@pytest.mark.parametrize("name", CASES)
def test_what_prevents_a_cuda_graph_is_named(name: str) -> None:
    text, nodes = CASES[name]
    found = plan(graphs.model(text)).obstacles
    assert found is not None and {o.node for o in found} == nodes and all(o.reason for o in found)


def test_the_question_makes_no_sense_on_the_cpu() -> None:
    assert plan(graphs.model(READY), target="cpu").obstacles is None


def test_a_shape_chain_on_the_host_is_no_obstacle() -> None:
    text = """g (float[b,s,8] x) => (float[b,n] y) { shape = Shape(x) b0 = Gather<axis = 0>(shape, zero)
        t = Concat<axis = 0>(b0, minus) y = Reshape(x, t) }"""
    found = plan(graphs.model(text, {"zero": np.array([0]), "minus": np.array([-1])}))
    assert found.obstacles == () and any(n.provider.startswith("CPU") for n in found.nodes)


def test_a_fused_node_names_all_nodes_that_it_comes_from() -> None:
    text = """g (float[b,s,8] x) => (float[b,s,8] y) { m = ReduceMean<keepdims = 1>(x, axes) d = Sub(x, m)
        q = Pow(d, two) v = ReduceMean<keepdims = 1>(q, axes) e = Add(v, eps) r = Sqrt(e) n = Div(d, r)
        w = Mul(n, scale) y = Add(w, bias) }"""
    ones = np.ones(8, np.float32)
    weights = {"axes": np.array([-1]), "two": np.float32(2), "eps": np.float32(1e-5), "scale": ones, "bias": ones}
    model = graphs.model(text, {name: np.asarray(value) for name, value in weights.items()})
    (node,) = plan(model).nodes
    assert node.op_type == "LayerNormalization"
    assert set(node.source) == {n.name for n in model.nodes()}


def test_an_untouched_node_comes_from_itself() -> None:
    model = graphs.model(READY)
    assert {n.name: n.source for n in plan(model).nodes} == {"Relu_h": ("Relu_h",), "Exp_y": ("Exp_y",)}
    assert onnx.checker.check_model(graphs.proto_of(model)) is None


def test_one_name_for_values_of_two_branches_has_no_size() -> None:
    text = """g (float[b,s,8] x, bool c) => (float[k,l,m] y) {
        y = If(c) <then_branch = t () => (float[b,s,8] p) { e = Exp(x) q = Tan(e) p = Neg(q) },
                   else_branch = u () => (float[k,l,1] r) { a = ReduceMax<keepdims = 1>(x) q = Tan(a) r = Neg(q) }> }"""
    found = [c for c in plan(graphs.model(text)).copies if c.value == "q"]
    assert len(found) == 2 and {c.nbytes for c in found} == {None}


@pytest.mark.parametrize(
    "text",
    [
        "g (int64[1099511627776] x) => (int64[m] y) { y = Add(x, x) }",
        "g (int64[1] x) => (int64[m] y) <int64[1] n = {1099511627776}> { z = ConstantOfShape<value = int64[1] {0}>(n) "
        "y = Concat<axis = 0>(z, x) }",
    ],
    ids=["declared", "made"],
)
def test_a_list_of_more_integers_than_memory_holds(text: str) -> None:
    """ONNX's inference keeps an entry for each: 8 TB here."""
    made = onnx_shapes.infer(graphs.proto(text))
    assert {info.name for info in made.graph.input} == {"x"}


def test_lists_of_sizes_are_followed() -> None:
    """Also where a Slice ends at the largest number there is."""
    text = """g (float[2,6] x) => (float[a,b] y) <int64[1] zero = {0}, int64[1] end = {9223372036854775807},
        int64[1] two = {2}> { s = Shape(x) t = Slice(s, zero, end) u = Mul(t, two) y = ConstantOfShape(u) }"""
    made = onnx_shapes.infer(graphs.proto(text))
    assert [dim.dim_value for dim in made.graph.output[0].type.tensor_type.shape.dim] == [4, 12]
