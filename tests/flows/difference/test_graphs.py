"""What two graphs differ in, on graphs that differ in one thing each; and what is no difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxfix
from onnxfix.flows.diagnosis.difference.difference import Difference

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
W = {"w": RNG.normal(size=(8, 8)).astype(np.float32), "v": RNG.normal(size=(8, 8)).astype(np.float32)}
TWO = "g (float[batch,8] x) => (float[batch,8] y) { h = MatMul(x, w) a = Relu(h) y = MatMul(a, v) }"


def compared(one: str, other: str, weights: Mapping[str, Array] = W, **opsets: int) -> Difference:
    before = graphs.proto(one, weights)
    return onnxfix.diff(before, graphs.proto(other, weights, **opsets))


def altered(found: Difference) -> list[tuple[str, str, int]]:
    return [(a.op_type, a.what, a.nodes) for m in found.modules.changed() for a in m.altered]


def operators(found: Difference) -> dict[str, tuple[int, int]]:
    return {c.op_type: (c.before, c.after) for c in found.operators if c.before != c.after}


def test_a_model_and_itself() -> None:
    found = compared(TWO, TWO)
    assert found.same and not found.ports and not found.facts and not operators(found)
    assert (found.nodes.kept, found.nodes.altered, found.nodes.removed, found.nodes.added) == (3, 0, 0, 0)
    assert [g.kind for g in found.weights.groups] == ["same"] and found.modules.changed() == []
    assert repr(found).endswith("the same>")


SAME: dict[str, tuple[str, str]] = {
    "names": (TWO, TWO.replace("h", "other").replace("a ", "b ").replace("(a", "(b").replace("batcother", "rows")),
    "order": (
        "g (float[8] x) => (float[8] y) { a = Exp(x) b = Log(x) y = Sub(a, b) }",
        "g (float[8] x) => (float[8] y) { b = Log(x) a = Exp(x) y = Sub(a, b) }",
    ),
    "a constant in a node": (
        "g (float[8] x) => (float[8] y) <float[1] c = {2.0}> { y = Mul(x, c) }",
        "g (float[8] x) => (float[8] y) { c = Constant<value_floats = [2.0]>() y = Mul(x, c) }",
    ),
    "a default that is said": (
        "g (float[2,8] x) => (float[2,8] y) { y = Softmax(x) }",
        "g (float[2,8] x) => (float[2,8] y) { y = Softmax<axis = -1>(x) }",
    ),
    "operands exchanged": (
        "g (float[8] x, float[8] z) => (float[8] y) { a = Exp(x) y = Add(a, z) }",
        "g (float[8] x, float[8] z) => (float[8] y) { a = Exp(x) y = Add(z, a) }",
    ),
    "an input left out at the end": (
        "g (float[8] x) => (float[8] y) { y = Clip(x) }",
        'g (float[8] x) => (float[8] y) { y = Clip(x, "", "") }',
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_what_is_no_difference(what: str) -> None:
    found = compared(*SAME[what])
    assert found.same and not found.nodes.altered and not found.nodes.removed and not found.nodes.added
    assert not found.modules.changed()


DIFFERENT: dict[str, tuple[str, str, list[tuple[str, str, int]]]] = {
    "an attribute": (
        "g (float[2,8] x) => (float[2,8] y) { a = Exp(x) b = Softmax<axis = 0>(a) y = Log(b) }",
        "g (float[2,8] x) => (float[2,8] y) { a = Exp(x) b = Softmax<axis = 1>(a) y = Log(b) }",
        [("Softmax", "axis 0 → 1", 1)],
    ),
    "a small constant": (
        "g (float[2,8] x) => (float[n,m] y) <int64[2] s = {4, 4}> { a = Exp(x) y = Reshape(a, s) }",
        "g (float[2,8] x) => (float[n,m] y) <int64[2] s = {8, 2}> { a = Exp(x) y = Reshape(a, s) }",
        [("Reshape", "input 1 [4, 4] → [8, 2]", 1)],
    ),
    "where an input comes from": (
        "g (float[8] x) => (float[8] y) { a = Exp(x) b = Log(x) y = Sub(a, b) }",
        "g (float[8] x) => (float[8] y) { a = Exp(x) b = Log(x) y = Sub(b, a) }",
        [("Sub", "input 0 comes from elsewhere", 1), ("Sub", "input 1 comes from elsewhere", 1)],
    ),
    "the type of a cast": (
        "g (float[8] x) => (float[8] y) { a = Exp(x) b = Cast<to = 10>(a) c = CastLike(b, x) y = Log(c) }",
        "g (float[8] x) => (float[8] y) { a = Exp(x) b = Cast<to = 16>(a) c = CastLike(b, x) y = Log(c) }",
        [("Cast", "to FLOAT16 → BFLOAT16", 1)],
    ),
    "an optional input": (
        "g (float[8] x) => (float[8] y) <float low = {0.0}> { a = Exp(x) b = Clip(a, low) y = Log(b) }",
        "g (float[8] x) => (float[8] y) <float low = {0.0}> { a = Exp(x) b = Clip(a) y = Log(b) }",
        [("Clip", "input 1 left out", 1)],
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_nodes_that_are_there_in_both(what: str) -> None:
    one, other, expected = DIFFERENT[what]
    found = compared(one, other)
    assert not found.same and altered(found) == expected and not operators(found), altered(found)
    assert found.nodes.altered == 1 and not found.nodes.removed


def test_nodes_that_come_and_go_leave_those_around_them() -> None:
    found = compared(TWO, TWO.replace("a = Relu(h)", "c = Cast<to = 1>(h) i = Identity(c) a = Gelu(i)"))
    assert not found.same and operators(found) == {"Cast": (0, 1), "Identity": (0, 1), "Gelu": (0, 1), "Relu": (1, 0)}
    assert (found.nodes.kept, found.nodes.removed, found.nodes.added) == (2, 1, 3)
    assert [g.kind for g in found.weights.groups] == ["same"]


def test_nothing_but_the_outputs_differ() -> None:
    text = "g (float[8] x) => (float[8] y, float[8] z) { y = Exp(x) z = Log(x) }"
    found = compared(text, text.replace("y = Exp(x) z = Log(x)", "z = Exp(x) y = Log(x)"))
    assert not found.same and not found.ports and not operators(found)
    assert repr(found).endswith("different: how its outputs are computed>")


INTERFACE: dict[str, tuple[str, str, list[tuple[str, tuple[str, ...], bool]]]] = {
    "an input is called otherwise": (
        TWO, TWO.replace(" x", " ids").replace("(x", "(ids"), [("input", ("name",), True)],
    ),
    "an axis is called otherwise": (
        TWO, TWO.replace("batch", "rows"), [("input", ("axes",), False), ("output", ("axes",), False)],
    ),
    "an axis is fixed": (TWO, TWO.replace("(float[batch", "(float[2", 1), [("input", ("shape",), True)]),
    "two axes become one": (
        "g (float[a,b] x, float[b,a] z) => (float[a,b] y) { y = Exp(x) }",
        "g (float[a,a] x, float[a,a] z) => (float[a,a] y) { y = Exp(x) }",
        [("input", ("shape",), True), ("input", ("shape",), True), ("output", ("shape",), True)],
    ),
    "an output is gone": (
        "g (float[8] x) => (float[8] y, float[8] z) { y = Exp(x) z = Log(y) }",
        "g (float[8] x) => (float[8] y) { y = Exp(x) }",
        [("output", (), True)],
    ),
    "an output has another type": (
        "g (float[8] x) => (float[8] y) { y = Cast<to = 1>(x) }",
        "g (float[8] x) => (float16[8] y) { y = Cast<to = 10>(x) }",
        [("output", ("type",), True)],
    ),
    "an output is called otherwise": (TWO, TWO.replace(" y", " logits"), [("output", ("name",), True)]),
    "a sequence": (
        "g (seq(float[8]) x) => (seq(float[8]) y) { y = SequenceErase(x) }",
        "g (seq(float16[8]) x) => (seq(float16[8]) y) { y = SequenceErase(x) }",
        [("input", ("type",), True), ("output", ("type",), True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", INTERFACE)
def test_inputs_and_outputs(what: str) -> None:
    one, other, expected = INTERFACE[what]
    found = compared(one, other)
    assert [(p.kind, p.changes, p.counts) for p in found.ports] == expected
    assert found.same is not any(counts for _, _, counts in expected)


def layers(names: Callable[[onnx.NodeProto, int, str], None], op: str = "Relu", count: int = 3, odd: str = "") -> Any:
    """Layers of attention and mlp, called as an exporter does; `odd`: an operator of the last layer alone."""
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[8] x) => (float[8] y) { y = Exp(x) }'
    )
    del proto.graph.node[:]
    parts = [(i, *each) for i in range(count) for each in (("attn", "Exp"), ("mlp", op))]
    parts += [(count - 1, "mlp", odd)] * bool(odd)
    for number, (layer, part, op_type) in enumerate([*parts, (-1, "norm", "Log")]):
        made = "y" if part == "norm" else f"v{number}"
        node = helper.make_node(op_type, [f"v{number - 1}" if number else "x"], [made])
        names(node, layer, part)
        proto.graph.node.append(node)
    return proto


def legacy(node: onnx.NodeProto, layer: int, part: str) -> None:
    where = f"layers.{layer}/{part}" if layer >= 0 else part
    node.name = f"/model/{where}/{part.title()}"


def dynamo(node: onnx.NodeProto, layer: int, part: str) -> None:
    where = f"model.layers.{layer}.{part}" if layer >= 0 else f"model.{part}"
    node.name = f"node_{part}_{layer}"
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(["", where, f"{part}_{layer}"]))


def test_modules_of_two_exporters_are_the_same() -> None:
    found = onnxfix.diff(layers(legacy), layers(dynamo))
    assert found.same and found.modules.changed() == []
    facts = {f.name: (f.before, f.after) for f in found.facts}
    assert facts["nodes with a torch module in their metadata"] == ("0", "7")


def test_layers_that_changed_alike_are_one() -> None:
    found = onnxfix.diff(layers(legacy, count=5), layers(dynamo, "Gelu", count=5, odd="Neg"))
    assert [(m.pattern, m.layers, [str(c) for c in m.operators]) for m in found.modules.changed()] == [
        ("model.layers.*.mlp", "0–3", ["Gelu 0 → 1", "Relu 1 → 0"]),
        ("model.layers.4.mlp", "", ["Gelu 0 → 1", "Neg 0 → 1", "Relu 1 → 0"]),
    ]
    assert found.modules.unchanged == 6  # attn of five layers, and norm
    every = {m.pattern: [str(c) for c in m.operators] for m in found.modules.changed(every=True)}
    assert every["model.layers.*.attn"] == ["Exp 1 → 1"] and every["model.norm"] == ["Log 1 → 1"]


def test_a_module_that_is_called_otherwise_is_found_by_its_nodes() -> None:
    def renamed(node: onnx.NodeProto, layer: int, part: str) -> None:
        legacy(node, layer, "feedforward" if part == "mlp" else part)

    assert onnxfix.diff(layers(legacy), layers(renamed)).modules.changed() == []


def test_nodes_without_a_module_are_of_those_that_read_them() -> None:
    proto = layers(dynamo)
    extra = proto.graph.node[1]  # v1, mlp of layer 0
    made = helper.make_node("Neg", [extra.input[0]], ["negated"])
    extra.input[0] = "negated"
    proto.graph.node.insert(1, made)
    found = onnxfix.diff(layers(dynamo), proto)
    assert [(m.pattern, [str(c) for c in m.operators]) for m in found.modules.changed()] == [
        ("model.layers.0.mlp", ["Neg 0 → 1"])
    ]


LOOP = """g (float[8] x, bool keep) => (float[8] y) {
    n = Constant<value_int = 3>()
    h = Loop (n, keep, x) <body = b (int64 i, bool c, float[8] v) => (bool d, float[8] r) {
        d = Identity(c) s = Exp(v) r = Add(s, x)
    }>
    y = If (keep) <then_branch = t () => (float[8] a) { a = Neg(h) }, else_branch = e () => (float[8] b) { b = Abs(h) }>
}"""


def test_bodies_of_nodes() -> None:
    assert (
        compared(LOOP, LOOP.replace("s = Exp(v) r = Add(s, x)", "t = Exp(v) q = Identity(t) r = Add(t, x)")).same
        is False
    )
    found = compared(LOOP, LOOP.replace(" s = Exp(v) r = Add(s, x)", " u = Exp(v) r = Add(u, x)"))
    assert found.same and found.names.values == 1
    found = compared(LOOP, LOOP.replace("a = Neg(h)", "a = Sqrt(h)"))
    assert not found.same and operators(found) == {"Neg": (1, 0), "Sqrt": (0, 1)}
    assert (found.nodes.removed, found.nodes.added) == (1, 1), "the If itself, the Loop and its body are in both"


FUNCTION = """<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
g (float[8] x) => (float[8] y) { a = own.twice(x) b = Exp(a) y = own.twice(b) }
<domain: "own", opset_import: ["" : 20]> twice (v) => (r) { r = Add(v, v) }"""


def test_functions_are_what_they_compute() -> None:
    plain = "g (float[8] x) => (float[8] y) { a = Add(x, x) b = Exp(a) y = Add(b, b) }"
    found = onnxfix.diff(graphs.proto(FUNCTION), graphs.proto(plain))
    assert found.same and {f.name for f in found.facts} >= {"local functions"}
    found = onnxfix.diff(graphs.proto(FUNCTION), graphs.proto(FUNCTION.replace("Add(v, v)", "Mul(v, v)")))
    assert not found.same and operators(found) == {"Add": (2, 0), "Mul": (0, 2)}


def test_operator_sets_count_where_an_operator_was_defined_anew() -> None:
    text = "g (float[2,8] x) => (float[2,8] y) { a = Exp(x) y = Softmax<axis = 1>(a) }"
    assert compared(text, text, opset=18).same, "neither Exp nor Softmax changed in between"
    found = onnxfix.diff(graphs.proto(text, opset=11), graphs.proto(text, opset=13))
    assert not found.same and [(f.name, f.before, f.after) for f in found.facts if f.counts] == [
        ("operator set ai.onnx", "11", "13")
    ]


def test_an_unknown_operator_of_somebody() -> None:
    text = '<ir_version: 10, opset_import: ["" : 20, "com.example" : 1]> g (float[n] x) => (float[n] y) {{ y = {}(x) }}'
    one, other = (graphs.proto(text.format(f"com.example.{name}")) for name in ("Frob", "Nicate"))
    assert onnxfix.diff(one, one).same
    found = onnxfix.diff(one, other)
    assert operators(found) == {"com.example.Frob": (1, 0), "com.example.Nicate": (0, 1)}


def test_weights_that_are_inputs_as_well() -> None:
    one, other = (graphs.proto(TWO, W, ir_version=3) for _ in range(2))
    one.graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 8]) for name in ("w", "v"))
    found = onnxfix.diff(one, other)
    assert not found.same and not found.ports and found.nodes.kept == 3
    assert [(f.name, f.before, f.after) for f in found.facts if f.counts] == [
        ("weights that are inputs as well", "2", "0")
    ]
    assert onnxfix.diff(one, one).same


def test_two_copies_of_a_node_are_no_one() -> None:
    text = "g (float[8] x) => (float[8] y) { a = Exp(x) y = Sub(a, a) }"
    found = compared(text, text.replace("y = Sub(a, a)", "b = Exp(x) y = Sub(a, b)"))
    assert not found.same and operators(found) == {"Exp": (1, 2)} and found.nodes.added == 1


def test_tensors_in_attributes_of_other_operators() -> None:
    """Large enough to be read in pieces where they lie."""
    text = '<ir_version: 10, opset_import: ["" : 20, "com.example" : 1]> g (float[n] x) => (float[n] y) {\n{}}'
    made = []
    for last in (0.0, 0.0, 1.0):
        proto = graphs.proto(text.replace("{}", "y = com.example.Lookup(x)"))
        table = np.full(40_000, last, np.float32)
        table[:39_000] = 0.5
        proto.graph.node[0].attribute.append(helper.make_attribute("table", onnx.numpy_helper.from_array(table)))
        made.append(proto)
    assert onnxfix.diff(made[0], made[1]).same
    found = onnxfix.diff(made[0], made[2])
    assert not found.same and altered(found) == [("com.example.Lookup", "table holds other numbers", 1)]


def test_modules_that_begin_otherwise() -> None:
    """A module of which no node is in both models is named as the others are."""

    def wrapped(node: onnx.NodeProto, layer: int, part: str) -> None:
        dynamo(node, layer, part)
        node.metadata_props[0].value = node.metadata_props[0].value.replace("'model.", "'wrapper.backbone.")

    found = onnxfix.diff(layers(dynamo, "Relu"), layers(wrapped, "Gelu"))
    assert [(m.pattern, m.layers, [str(c) for c in m.operators]) for m in found.modules.changed()] == [
        ("model.layers.*.mlp", "0–2", ["Gelu 0 → 1", "Relu 1 → 0"])
    ]


def test_two_outputs_of_one_name() -> None:
    text = "g (float[8] x) => (float[8] y, float[8] y) { y = Exp(x) }"
    assert compared(text, text).same
    assert [p.after for p in compared(text, text.replace(", float[8] y", "")).ports] == [None]
