"""The graph that is planned when ONNX Runtime's own optimiser cannot make it: too large, too slow, or crashed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import graphs
import numpy as np
import pytest
import test_placement

from onnxfix.diagnose.placement import boundary
from onnxfix.diagnose.placement.run import forecast
from onnxfix.model import Model
from onnxfix.plan import Plan
from onnxfix.target import Target

CHAIN = """g (float[b,4] x) => (float[k,l] y) { i = Identity(x) d = Dropout(i) c = Cast<to = 1>(d)
    two = Add(one, one) shape = Shape(c) n = Gather<axis = 0>(shape, zero) k = Unsqueeze(n, front)
    t = Concat<axis = 0>(k, minus) r = Reshape(c, t) h = Tan(r) p = Mul(h, two) q = Mul(h, two) y = Add(p, q) }"""
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


def test_a_large_graph_is_compiled_apart_with_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = plan(chain())
    monkeypatch.setattr(boundary, "ALONE_ABOVE", 5)
    assert plan(chain()) == exact


def test_apart_or_not_the_message_of_the_runtime_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = graphs.model("g (float[b,4] x, int64[b,4] z) => (float[b,4] y) { h = Exp(x) y = Add(h, z) }")
    message = plan(model).load_error
    monkeypatch.setattr(boundary, "ALONE_ABOVE", 0)
    assert message and plan(model).load_error == message


def test_a_compilation_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "ALONE_ABOVE", 5)
    monkeypatch.setattr(boundary, "TIMEOUT_S", 0.01)
    found = plan(chain())
    assert found.approximate and "stopped after" in found.note and len(found.copies) == 2


def test_the_worker_reports_a_refusal_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    worker = [sys.executable, "-m", "onnxfix.diagnose.placement.compile_worker", "bad.onnx", "out.onnx"]
    ended = subprocess.run(worker, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and ended.stderr and not (tmp_path / "out.onnx").exists()
