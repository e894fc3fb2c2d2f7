"""Profiles of small graphs in the real runtime: what is slow is named, and no microsecond is counted twice."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.eval.profile.events import outermost
from onnxfix.eval.profile.node_scopes import TOP, UNKNOWN
from onnxfix.eval.profile.op_profile import BETWEEN, VARYING, Profile, profile
from onnxfix.eval.profile.traced_run import trace
from onnxfix.eval.run.runners import LoadFailure, RunFailure
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model

pytestmark = pytest.mark.alone

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def saved(model: Model, folder: Path, names: Mapping[str, str] | None = None) -> Path:
    """A file of the model; `names` gives nodes names by what they make, as the TorchScript exporter names them."""
    for node in model.nodes():
        node.name = (names or {}).get(node.outputs[0].name or "", node.name)
    return model.save(folder / "model.onnx")


def total(found: Profile) -> float:
    return sum(node.ms for node in found.nodes) + found.between_ms + found.varying_ms


SLOW = """g (float[256,512] x) => (float[256,8] y) {
    h = MatMul(x, w) a = Tanh(h) z = MatMul(a, w) t = Add(z, b) y = MatMul(t, v) }"""
SLOW_WEIGHTS = {"w": normal(512, 512), "v": normal(512, 8), "b": normal(512)}
SLOW_NAMES = {"h": "/net/layers.0/slow/MatMul", "z": "/net/layers.1/slow/MatMul", "a": "/net/act/Tanh",
              "t": "/net/add/Add", "y": "/MatMul"}  # fmt: skip


def test_the_slow_module_is_named_with_all_its_layers(tmp_path: Path) -> None:
    path = saved(graphs.model(SLOW, SLOW_WEIGHTS), tmp_path, SLOW_NAMES)
    found = profile(path, [{"x": normal(256, 512)}], threads=1)
    rows = found.by("scope")
    assert {row.name for row in rows} - {VARYING} == {"net.layers.*.slow", "net.act", TOP, BETWEEN}
    slow, *others = [row for row in rows if row.nodes]
    assert (slow.name, slow.nodes) == ("net.layers.*.slow", 2) and slow.ms > sum(row.ms for row in others)
    assert {node.op_type for node in found.nodes if "slow" in node.scope} == {"MatMul", "Gemm"}  # with the Add in it
    assert {(row.name, row.nodes) for row in found.by("provider") if row.nodes} == {("CPUExecutionProvider", 4)}


def test_nodes_and_what_is_between_them_make_the_whole_run(tmp_path: Path) -> None:
    path = saved(graphs.model(SLOW, SLOW_WEIGHTS), tmp_path)
    found = profile(path, [{"x": normal(256, 512)}], threads=1, runs=9)
    assert total(found) == pytest.approx(found.wall_ms)
    assert 0 < found.session_ms <= found.wall_ms and found.untraced_ms > 0 and found.between_ms > 0
    for key in ("op_type", "scope", "provider"):
        rows = found.by(key)  # type: ignore[arg-type]
        assert sum(row.share for row in rows) == pytest.approx(1) and sum(row.nodes for row in rows) == 4
        assert sum(row.ms for row in rows) == pytest.approx(total(found))
        assert [row.ms for row in rows] == sorted((row.ms for row in rows), reverse=True)


BODIES = """g (float[128,256] x, bool c, int64 times) => (float[128,256] y) {
    a = If(c) <then_branch = t () => (float[128,256] p) { p = MatMul(x, w) },
               else_branch = e () => (float[128,256] q) { q = Sin(x) }>
    b = Loop(times, c, a) <body = l (int64 i, bool go, float[128,256] h) => (bool more, float[128,256] k)
        { more = Identity(go) k = MatMul(h, w) }>
    y = MatMul(b, w) }"""


@pytest.mark.parametrize("names", [{}, {"p": "MatMul_y", "k": "MatMul_y"}], ids=["own names", "names of other nodes"])
def test_bodies_are_in_the_time_of_their_control_flow(names: dict[str, str], tmp_path: Path) -> None:
    path = saved(graphs.model(BODIES, {"w": normal(256, 256)}), tmp_path, names)
    feed = {"x": normal(128, 256), "c": np.array(True), "times": np.array(4)}
    found = profile(path, [feed], threads=1, runs=1)
    rows = {(row.name, row.nodes) for row in found.by("op_type")}
    assert rows == {("If", 1), ("Loop", 1), ("MatMul", 1), (BETWEEN, 0)}
    times = {node.op_type: node for node in found.nodes}
    assert times["Loop"].flops is None and times["MatMul"].flops == 2 * 128 * 256 * 256
    assert total(found) == pytest.approx(found.wall_ms) and found.between_ms > 0 == found.varying_ms


def test_a_fused_node_in_a_body_is_no_fused_node_outside(tmp_path: Path) -> None:
    """Optimisations name both alike."""
    gelu = "{0}d = Div({1}, root) {0}e = Erf({0}d) {0}p = Add({0}e, one) {0}m = Mul({1}, {0}p) {0}g = Mul({0}m, half)"
    text = f"""g (float[64,64] x, bool c) => (float[64,64] y) {{
        h = MatMul(x, w) {gelu.format("a", "h")}
        y = If(c) <then_branch = t () => (float[64,64] bg) {{ k = MatMul(ag, w) {gelu.format("b", "k")} }},
                   else_branch = e () => (float[64,64] q) {{ q = Sin(ag) }}> }}"""
    weights = {"w": normal(64, 64), "root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    path = saved(graphs.model(text, weights), tmp_path, {"ag": "/outside/g", "bg": "/inside/g", "h": "/outside/h"})
    feed = {"x": normal(64, 64), "c": np.array(True)}
    scopes = {node.op_type: node.scope for node in profile(path, [feed], runs=1).nodes}
    assert set(scopes) == {"MatMul", "Gelu", "If"} and scopes["Gelu"] == "outside"
    traced = trace(path, [feed])
    (run,) = traced.runs
    first, second = [event for event in run.events if event.op_type == "Gelu"]
    assert first.name == second.name and [e for e in outermost(traced.graph, run.events) if e.op_type == "Gelu"] == [
        first
    ]


def test_nodes_without_names_are_told_apart_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, folder = tmp_path / "temporary", tmp_path / "model"
    temporary.mkdir()
    folder.mkdir()
    proto = graphs.proto_of(graphs.model(SLOW, SLOW_WEIGHTS))
    for node in proto.graph.node:
        node.name = "twice" if node.op_type == "MatMul" else ""
    onnx.save(proto, folder / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    found = profile(folder / "model.onnx", [{"x": normal(256, 512)}], runs=1)
    assert len({node.name for node in found.nodes}) == 4 and {node.scope for node in found.nodes} == {UNKNOWN}
    assert not list(temporary.iterdir()) and {p.name for p in folder.iterdir()} == {"model.onnx", "weights"}


def test_work_of_each_node_counted_by_hand_over_all_feeds(tmp_path: Path) -> None:
    text = """g (float[n,8] x, int64[k] i) => (float[k,5] y) { h = MatMul(x, w) s = Softmax(h) y = Gather(s, i) }"""
    path = saved(graphs.model(text, {"w": normal(8, 5)}), tmp_path)
    feeds = [{"x": normal(rows, 8), "i": np.zeros(2, np.int64)} for rows in (3, 4)]
    found = {node.op_type: node for node in profile(path, feeds, runs=2).nodes}
    assert (found["MatMul"].flops, found["MatMul"].bytes) == (2 * 7 * 8 * 5, 4 * (7 * 8 + 7 * 5 + 2 * 8 * 5))
    assert (found["Softmax"].flops, found["Softmax"].bytes) == (0, 4 * 2 * 7 * 5)


def test_fused_nodes_have_the_scope_of_what_they_were_made_of(tmp_path: Path) -> None:
    """Gelu of five nodes and a scaled product keep the name of their result; a Cast put in for fp16 has a new one."""
    text = """g (float[64,64] x, float16[64,64] z) => (float[64,64] y, float16[64,64] o) {
        h = MatMul(x, w) d = Div(h, root) e = Erf(d) p = Add(e, one) m = Mul(h, p) g = Mul(m, half)
        y = MatMul(g, w) n = Neg(z) o = Sin(n) }"""
    weights = {"w": normal(64, 64), "root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    names = {v: f"/act/{v}" for v in ("d", "e", "p", "m", "g")}
    names |= {"h": "/in/h", "y": "/out/y", "n": "/halves/n", "o": "/waves/o"}
    path = saved(graphs.model(text, weights), tmp_path, names)
    found = profile(path, [{"x": normal(64, 64), "z": normal(64, 64).astype(np.float16)}], runs=1)
    scopes = {(node.op_type, node.scope) for node in found.nodes}
    assert ("Gelu", "act") in scopes and not scopes & {("Erf", "act"), ("Div", "act")}
    assert {scope for op_type, scope in scopes if op_type == "Cast"} <= {"halves", "waves"}
    assert any(op_type == "Cast" for op_type, _ in scopes) and UNKNOWN not in {scope for _, scope in scopes}


def test_operators_that_the_runtime_expands_are_found_in_their_order(tmp_path: Path) -> None:
    text = """g (float[64,64] x, float[n] like, float16[n] half) => (float[64,64] y, float16[64,64] z) {
        a = Cast<to = 7>(x) b = CastLike(a, like) y = Sin(b) c = Neg(a) z = CastLike(c, half) }"""
    names = {v: f"/{v}/at" for v in "abycz"}
    feed = {"x": normal(64, 64), "like": normal(1), "half": normal(1).astype(np.float16)}
    found = profile(saved(graphs.model(text), tmp_path, names), [feed], runs=1)
    casts = {node.scope: node.bytes for node in found.nodes if node.op_type == "Cast"}
    assert casts == {"a": 64 * 64 * 12, "b": 64 * 64 * 12, "z": 64 * 64 * 10}


def test_functions_are_profiled_by_what_is_in_them(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
        g (float[64,64] x) => (float[64,64] y) { h = own.twice(x) y = own.twice(h) }
        <opset_import: ["" : 20], domain: "own"> twice (a) => (b) { c = MatMul(a, a) b = Tanh(c) }"""
    found = profile(saved(graphs.model(text), tmp_path), [{"x": normal(64, 64)}], runs=1)
    assert sorted((row.name, row.nodes) for row in found.by("op_type") if row.nodes) == [("MatMul", 2), ("Tanh", 2)]


def test_is_ready_for_json(tmp_path: Path) -> None:
    path = saved(graphs.model(SLOW, SLOW_WEIGHTS), tmp_path)
    made = json.loads(json.dumps(profile(path, [{"x": normal(256, 512)}], runs=1).as_dict()))
    assert set(made) >= {"nodes", "by_op_type", "by_scope", "by_provider", "wall_ms", "between_ms"}
    assert len(made["nodes"]) == 4 and len(made["by_op_type"]) == 4


def test_what_cannot_be_profiled_says_why(tmp_path: Path) -> None:
    path = saved(graphs.model(SLOW, SLOW_WEIGHTS), tmp_path)
    with pytest.raises(OnnxfixError, match="at least one feed"):
        profile(path, [])
    with pytest.raises(RunFailure, match=r"model\.onnx fails in ONNX Runtime"):
        profile(path, [{"x": normal(256, 3)}])
    proto = graphs.proto_of(graphs.model(SLOW, SLOW_WEIGHTS))
    proto.graph.node[1].op_type = "Nothing"
    onnx.save(proto, tmp_path / "unknown.onnx")
    with pytest.raises(LoadFailure, match=r"cannot load unknown\.onnx"):
        profile(tmp_path / "unknown.onnx", [{"x": normal(256, 512)}])
