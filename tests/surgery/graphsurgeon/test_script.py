"""A user's function over an onnx_graphsurgeon graph, as one pass: what it changes is recorded, what it leaves stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from onnxfix.eval.run.runners import OrtRunner
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import NAME_SCOPES
from onnxfix.surgery.graph_pass import Outcome
from onnxfix.surgery.graphsurgeon.script import Script
from onnxfix.surgery.recipe import Recipe

WEIGHT = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
FEED = {"x": np.random.default_rng(1).normal(size=(2, 64)).astype(np.float32)}


def without_identities(graph: gs.Graph) -> None:
    for node in [n for n in graph.nodes if n.op == "Identity"]:
        for reader in list(node.outputs[0].outputs):
            reader.inputs = [node.inputs[0] if value is node.outputs[0] else value for value in reader.inputs]
        node.outputs.clear()
    graph.cleanup()


def scoped() -> Model:
    """A model with everything that onnx_graphsurgeon drops."""
    proto = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20, "own" : 1, "com.microsoft" : 1]>
        g (float[batch,64] x, bool taken) => (float[batch,64] y) <float[batch,64] h> {
            h = MatMul(x, w)
            i = Identity(h)
            t = own.twice(i)
            y = If (taken) <
                then_branch = yes () => (float[batch,64] a) { b = Neg(t) a = Neg(b) },
                else_branch = no () => (float[batch,64] c) { c = Identity(t) }>
        }
        <domain: "own", opset_import: ["" : 20]>
        twice (v) => (r) { r = Add(v, v) }""")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(WEIGHT, "w"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(WEIGHT[0], "unread"))
    graphs.name_nodes(proto.graph)
    onnx.helper.set_model_props(proto, {"owner": "somebody"})
    proto.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    proto.graph.value_info[0].doc_string = "hidden"
    inner = proto.graph.node[3].attribute[0].g.node[0]
    for node in (*proto.graph.node, inner, proto.functions[0].node[0]):
        node.doc_string = f"doc of {node.name}"
        node.metadata_props.add(key=NAME_SCOPES, value=f"['', 'layers.0', '{node.name}']")
    proto.functions[0].metadata_props.add(key="of", value="function")
    return graphs.opened(proto)


def applied(function: Callable[[gs.Graph], Any], model: Model) -> tuple[Model, Outcome]:
    return Recipe((Script.of(function),)).apply(model)


def read_all(graph: gs.Graph) -> None:
    assert [t.values.shape for t in graph.tensors().values() if isinstance(t, gs.Constant)] == [(64, 64)]


@pytest.mark.parametrize("function", [lambda graph: None, lambda graph: graph, read_all], ids=["none", "same", "read"])
def test_a_script_that_changes_nothing_leaves_every_byte(function: Callable[[gs.Graph], Any]) -> None:
    model = scoped()
    result, outcome = applied(function, model)
    assert result.fingerprint() == model.clone().fingerprint()
    assert not outcome.changes and "changed nothing" in outcome.notes[0]


def test_what_the_library_drops_is_carried_across() -> None:
    model = scoped()
    result, outcome = applied(without_identities, model)
    before, after = graphs.proto_of(model), graphs.proto_of(result)
    assert [n.name for n in after.graph.node] == ["MatMul_h", "twice_t", "If_y"]
    told = {n.name: n for n in before.graph.node}
    for node in after.graph.node:
        assert node.metadata_props == told[node.name].metadata_props and node.doc_string == told[node.name].doc_string
    inner = after.graph.node[2].attribute[0].g.node[0]
    assert inner.metadata_props and inner.metadata_props == before.graph.node[3].attribute[0].g.node[0].metadata_props
    for field in ("functions", "metadata_props", "opset_import"):
        assert list(getattr(after, field)) == list(getattr(before, field))
    assert list(after.graph.input) == list(before.graph.input) and list(after.graph.output) == list(before.graph.output)
    assert list(after.graph.initializer) == list(before.graph.initializer)
    assert [v.doc_string for v in after.graph.value_info if v.name == "h"] == ["hidden"]
    found = {(c.pass_name, c.verb, c.site.node) for c in outcome.changes}
    name = "script without_identities"
    assert {(name, "remove", "Identity_i"), (name, "rewire", "twice_t")} <= found
    feed = {**FEED, "taken": np.array(True)}
    assert np.array_equal(graphs.run(result, feed)["y"], graphs.run(model, feed)["y"])


def test_a_new_node_takes_the_scope_of_the_one_it_replaces() -> None:
    def tanh(graph: gs.Graph) -> gs.Graph:
        old = next(n for n in graph.nodes if n.op == "Identity")
        graph.nodes.append(gs.Node("Tanh", inputs=list(old.inputs), outputs=list(old.outputs)))
        old.outputs.clear()
        return graph.cleanup()  # unsorted: that is put right

    result, outcome = applied(tanh, scoped())
    made = next(n for n in result.graph if n.op_type == "Tanh")
    assert made.name and made.metadata_props[NAME_SCOPES] == "['', 'layers.0', 'Identity_i']"
    assert made.metadata_props["onnxfix.pass"] == "script tanh"
    assert [c.site.op_type for c in outcome.changes if c.verb == "insert"] == ["Tanh"]
    assert np.all(np.isfinite(graphs.run(result, {**FEED, "taken": np.array(True)})["y"]))


def test_only_a_changed_weight_leaves_its_file(tmp_path: Path) -> None:
    """Weights in a data file stay there, also when they were looked at and when the working folder is another."""
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[b,64] x) => (float[b,64] y) { h = MatMul(x, kept) y = MatMul(h, doubled) }""")
    graphs.name_nodes(proto.graph)
    for name in ("kept", "doubled"):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(WEIGHT, name))
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    source = Model.open(tmp_path / "m.onnx")

    def double(graph: gs.Graph) -> None:
        tensors = graph.tensors()
        assert tensors["kept"].values[0, 0] == WEIGHT[0, 0]
        tensors["doubled"].values *= 2

    result, outcome = applied(double, source)
    assert [str(c) for c in outcome.changes] == ["replace initializer doubled"]
    weights = result.graph.initializers
    assert weights["kept"].const_value is source.graph.initializers["kept"].const_value
    assert np.array_equal(weights["doubled"].const_value.numpy(), WEIGHT * 2)  # type: ignore[union-attr]
    reopened = Model.open(result.save(tmp_path / "result.onnx"))
    assert [f.name for f in reopened.external_files] == ["result.onnx.data"]
    expected = FEED["x"] @ WEIGHT @ (WEIGHT * 2)
    assert np.allclose(OrtRunner(reopened.path).run(FEED)["y"], expected, rtol=1e-4, atol=1e-4)


def cycle(graph: gs.Graph) -> None:
    graph.nodes[0].inputs[0] = graph.nodes[1].outputs[0]


def missing(graph: gs.Graph) -> None:
    graph.nodes[1].inputs[0] = gs.Variable("nowhere")


def twice(graph: gs.Graph) -> None:
    graph.nodes.append(gs.Node("Neg", inputs=list(graph.nodes[0].inputs[:1]), outputs=list(graph.nodes[0].outputs)))


def no_outputs(graph: gs.Graph) -> None:
    graph.outputs = []


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda graph: graph.nodes[99], "fails in test_script.py, line "),
        (lambda graph: 3, "returned int, not an onnx_graphsurgeon.Graph or None"),
        (cycle, "contains a cycle"),
        (missing, "leaves Identity Identity_i in layers.0 without its value nowhere"),
        (twice, "leaves an invalid graph: "),
        (no_outputs, "leaves a graph without outputs"),
    ],
    ids=["raises", "number", "cycle", "missing", "twice", "no outputs"],
)
def test_nonsense_is_one_line(function: Callable[[gs.Graph], Any], message: str) -> None:
    with pytest.raises(OnnxfixError) as caught:
        applied(function, scoped())
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_is_loaded_by_its_path_and_nothing_beside_it_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scripts").mkdir()
    for folder in (tmp_path, tmp_path / "scripts"):
        (folder / "numpy.py").write_text("raise SystemExit('imported')")
    (tmp_path / "scripts" / "beside.py").write_text("OPERATOR = 'Identity'")
    file = tmp_path / "scripts" / "mine.py"
    file.write_text("import numpy.linalg\nfrom beside import OPERATOR\ndef cut(graph): pass\ndef other(x): pass\n")
    monkeypatch.chdir(tmp_path)
    assert Script.load(str(file)).name == "script mine.py:cut"
    assert Script.load(f"{file}:other").name == "script mine.py:other"
    assert not (file.parent / "__pycache__" / "mine.cpython-311.pyc").exists()


@pytest.mark.parametrize(
    ("text", "asked", "message"),
    [
        ("def surgery(graph):\n  return graph +", "", "mine.py, line 2: SyntaxError"),
        ("x = 1\nx.y", "", "mine.py, line 2: AttributeError"),
        ("def a(graph): pass\ndef b(graph): pass", "", "no function surgery"),
        ("def a(graph): pass", ":b", "no function b; its functions: a"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_one_line(tmp_path: Path, text: str, asked: str, message: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(OnnxfixError, match=message):
        Script.load(f"{file}{asked}")
    with pytest.raises(OnnxfixError, match="does not exist"):
        Script.load(str(tmp_path / "none.py"))


def two_parameters(graph: gs.Graph, other: gs.Graph) -> None: ...


def no_parameter() -> None: ...


@pytest.mark.parametrize(
    ("function", "said"), [(two_parameters, "two_parameters takes "), (no_parameter, "no_parameter takes ()")]
)
def test_a_script_of_other_parameters_is_told_which_it_takes(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(OnnxfixError) as raised:
        applied(function, scoped())
    assert said in str(raised.value) and "one onnx_graphsurgeon.Graph" in str(raised.value)
    assert ".py" not in str(raised.value), "no line of ours is blamed"


def test_a_script_of_more_parameters_with_defaults_runs() -> None:
    def shaped(graph: gs.Graph, *more: Any, deep: bool = False, **rest: Any) -> None:
        assert not more and not rest and not deep
        without_identities(graph)

    assert applied(shaped, scoped())[1].changes


def test_the_log_of_the_library_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    from onnx_graphsurgeon.logger import G_LOGGER

    def loud(graph: gs.Graph) -> None:
        G_LOGGER.warning("loud")
        G_LOGGER.critical("louder")  # which raises as well

    with pytest.raises(OnnxfixError, match="louder"):
        applied(loud, scoped())
    assert "loud" not in capfd.readouterr().err
    G_LOGGER.warning("afterwards")
    assert "afterwards" in capfd.readouterr().out, "others hear it as before"
