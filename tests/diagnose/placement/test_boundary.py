"""The graph that is planned when ONNX Runtime's own optimiser cannot make it: too large, too slow, or crashed."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
import test_placement

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.diagnose.placement.optimised import boundary, compiler
from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.process.children import RefusedError
from onnxfix.nouns.target import Target

CHAIN = """g (float[b,4] x) => (float[k,l] y) { i = Identity(x) d = Dropout(i) c = Cast<to = 1>(d)
    two = Add(one, one) shape = Shape(c) n = Gather<axis = 0>(shape, zero) k = Unsqueeze(n, front)
    t = Concat<axis = 0>(k, minus) r = Reshape(c, t) h = Tan(r) p = Mul(h, two) q = Mul(h, two) y = Add(p, q) }"""
CRASHES = """<ir_version: 10, opset_import: ["" : 17, "local" : 1]>
    g (float[2,4] x, float[4] w) => (float[2,4] y) { y = local.F(x, w) }
    <domain: "local", opset_import: ["" : 17]> F (a, s) => (c) { c = SimplifiedLayerNormalization(a, s) }"""
WEIGHTS = {
    "one": np.float32(1),
    "zero": np.array(0),
    "front": np.array([0]),
    "minus": np.array([-1]),
}


def chain() -> Model:
    return graphs.model(CHAIN, {name: np.asarray(value) for name, value in WEIGHTS.items()})


def plan(model: Model) -> Plan:
    return forecast(model, Target.resolve("cuda", "forecast"))


def test_an_exact_plan_says_so() -> None:
    assert not plan(chain()).approximate and plan(chain()).as_dict()["approximate"] is False


def test_a_graph_too_large_is_planned_approximately_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = plan(chain())
    monkeypatch.setattr(boundary, "LARGEST_GRAPH", 5)
    found = plan(chain())
    assert found.approximate and "13 nodes are too many" in found.note and found.as_dict()["approximate"] is True
    assert [c.direction for c in found.copies] == [c.direction for c in exact.copies] == ["to_host", "from_host"]
    # Identity, Dropout, the idle Cast, the constant sum and the product computed twice are gone, as at level 1
    assert sorted(n.op_type for n in found.nodes) == sorted("Shape Gather Unsqueeze Concat Reshape Tan Mul Add".split())


@pytest.mark.parametrize("name", test_placement.CASES)
def test_the_approximation_finds_the_same_copies(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = test_placement.CASES[name].model()
    exact = {(c.direction, c.value) for c in plan(model).copies}
    monkeypatch.setattr(boundary, "LARGEST_GRAPH", 0)
    assert {(c.direction, c.value) for c in plan(model).copies} == exact


def test_a_compilation_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "TIMEOUT_S", 0.0)
    steps = " ".join(f"v{i + 1} = {'Exp' if i % 2 else 'Tan'}(v{i})" for i in range(1000))
    found = plan(graphs.model(f"g (float[b,4] v0) => (float[b,4] v1000) {{ {steps} }}"))
    assert found.approximate and "stopped after" in found.note and len(found.copies) == 999
    monkeypatch.undo()
    assert not plan(chain()).approximate, "the next graph gets a new process"


def test_a_crash_of_the_runtime_is_a_finding_and_not_our_end() -> None:
    """ONNX Runtime 1.31.1 ends the process on this graph, in a plain CPU session too."""
    model = graphs.opened(onnx.parser.parse_model(CRASHES))
    report = diagnose(model, Target.resolve("cuda", "forecast"))
    assert "loads it was ended by SIG" in report.plan.load_error
    assert [f.code for f in report.findings][:1] == ["K004"]
    assert plan(chain()).load_error == ""


def test_the_worker_reports_a_refusal_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(RefusedError, match="Protobuf parsing failed"):
        compiler.shared().compile(tmp_path / "bad.onnx", tmp_path / "out.onnx", (), 60)
    assert not (tmp_path / "out.onnx").exists()


def test_an_input_that_nothing_makes_is_a_finding_at_once(tmp_path: Path) -> None:
    proto = graphs.proto_of(graphs.model("g (float[b,4] x) => (float[b,4] y) { y = Relu(x) }"))
    proto.graph.node[0].input[0] = "nope"
    onnx.save(proto, tmp_path / "model.onnx")
    report = diagnose(Model.look(tmp_path / "model.onnx"), Target.resolve("cuda", "forecast"))
    assert [f.code for f in report.findings][:1] == ["K007"] and "nope" in report.findings[0].message
    assert not plan(chain()).load_error, "the next graph gets its own answer"


TWICE = """g (int64 times, bool go, optional(seq(float)) given) => (seq(float[]) y) {
    y = Loop(times, go, given) <body = rows (int64 i, bool on, optional(seq(float)) before) => (bool still, seq(float) after) {
        still = Identity(on)
        has = OptionalHasElement(before)
        none = Not(has)
        sequence = If(none) <
            then_branch = first () => (seq(float) begun) { zero = Constant<value = float {0}>() begun = SequenceConstruct(zero) },
            else_branch = next () => (seq(float) there) { there = OptionalGetElement(before) }>
        one = Constant<value = float[1] {1}>()
        after = SequenceInsert(sequence, one)
    }>
}"""  # noqa: E501


def test_a_constant_that_the_runtime_writes_twice() -> None:
    """In the body of an If in a Loop: as an initializer and as its node, which no reader of ONNX files takes."""
    model = graphs.model(TWICE, opset=17)
    assert not plan(model).approximate
    inner = [node for node in boundary.boundary(model).model.graph.all_nodes() if node.op_type == "SequenceConstruct"]
    assert len(inner) == 1 and inner[0].inputs[0].producer().op_type == "Constant"
