"""The contract of every rule and pass, held by walking the folders: a new file without its test fails here."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import graphs
import numpy as np
import onnx
import pytest
import twins
from twins import TWINS

from onnxfix.diagnose.registry import all_rules
from onnxfix.diagnose.run import diagnose
from onnxfix.eval.inputs.feeds import make_feeds
from onnxfix.nouns.finding import Applicability, Finding
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.graph_pass import Pass, all_passes

HERE = Path(__file__).parent
RULES = all_rules()
PASSES = all_passes()
RUN_THE_GRAPH = ("make-shape-values-on-device", "migrate-outliers", "quantize-static")
REPAIRED = [(name, code) for name, kind in PASSES.items() for code in kind.repairs]
# Of what the names of nodes are the matter itself.
OF_NAMES = {"K009", "name-nodes-apart"}


@functools.cache
def case(folder: str, module: str) -> ModuleType:
    """The test module of a rule or pass, which holds its BAD and SOUND graphs."""
    path = HERE / folder / f"test_{module}.py"
    assert path.exists(), (
        f"{path.relative_to(HERE)} is missing: every rule and pass has a test with BAD and SOUND graphs"
    )
    spec = importlib.util.spec_from_file_location(f"contract_{module}", path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def rule_case(code: str) -> ModuleType:
    return case("diagnose/rules", RULES[code].__module__.rpartition(".")[2])


def pass_case(name: str) -> ModuleType:
    return case("surgery/passes", PASSES[name].__module__.rpartition(".")[2])


def findings(model: Model, code: str, target: str) -> list[Finding]:
    """Of one rule; those of measurements get what their test's AGAINST measures."""
    return [f for f in all_findings(model, code, target) if f.code == code]


def all_findings(model: Model, code: str, target: str) -> list[Finding]:
    """Of all rules, on a graph that is one rule's case."""
    before, measure = model.fingerprint(), getattr(rule_case(code), "AGAINST", None)
    against = measure(model) if measure is not None else None
    found = list(diagnose(model, Target.resolve(target), against=against).findings)
    assert model.fingerprint() == before, "a rule changed the model"
    return found


@pytest.mark.parametrize("code", RULES)
def test_rule_is_documented_and_named_after_its_file(code: str) -> None:
    rule = RULES[code]
    assert re.fullmatch(r"[KPQSFWX]\d{3}", code)
    assert rule.name == rule.__module__.rpartition(".")[2].replace("_", "-")
    assert len((rule.__doc__ or "").strip().splitlines()) >= 4, "say what is wrong, why, and what to do"


@pytest.mark.parametrize("code", RULES)
def test_rule_fires_exactly_where_stated(code: str) -> None:
    module = rule_case(code)
    found = findings(module.BAD(), code, getattr(module, "TARGET", "cuda"))
    assert {f.site.node or f.site.value for f in found} == set(module.SITES)
    for finding in found:
        assert finding.name == RULES[code].name and finding.message
        scalars = (str, int, float, bool, type(None), list)
        assert all(isinstance(v, scalars) for v in finding.evidence.values())


@pytest.mark.parametrize("code", RULES)
def test_rule_is_silent_on_the_sound_twin(code: str) -> None:
    module = rule_case(code)
    assert findings(module.SOUND(), code, getattr(module, "TARGET", "cuda")) == []


@pytest.mark.parametrize("name", PASSES)
def test_pass_is_documented_and_named_after_its_file(name: str) -> None:
    kind = PASSES[name]
    assert name == kind.__module__.rpartition(".")[2].replace("_", "-")
    assert len((kind.__doc__ or "").strip().splitlines()) >= 4
    assert kind.applicability is not Applicability.NUMERIC or hasattr(kind, "measure")


def bad(name: str) -> tuple[Pass, Model, Model]:
    """A pass, its bad graph, and what the pass makes of it."""
    module = pass_case(name)
    step: Pass = module.PASS
    source: Model = module.BAD()
    result = source.clone()
    outcome = graph_pass.run(step, result)
    assert outcome.changes, "the pass does nothing on its own bad graph"
    assert result.fingerprint() != source.fingerprint()
    return step, source, result


@pytest.mark.parametrize("name", PASSES)
def test_pass_records_a_change_if_and_only_if_the_graph_moved(name: str) -> None:
    step, _, result = bad(name)
    for model in (result, pass_case(name).SOUND()):
        before = model.fingerprint()
        outcome = graph_pass.run(step, model)
        assert (model.fingerprint() != before) == bool(outcome.changes)
        assert not outcome.changes, "a second run, or a run on the sound twin, must do nothing"


@pytest.mark.parametrize("name", PASSES)
def test_result_is_valid_and_loads(name: str) -> None:
    _, source, result = bad(name)
    onnx.checker.check_model(graphs.proto_of(result), full_check=True)
    fed = getattr(pass_case(name), "FED", dict)  # where the result takes other inputs
    for feed in make_feeds(source):
        graphs.run(result, fed(feed.arrays), level="all")


@pytest.mark.parametrize("name", [n for n, k in PASSES.items() if k.applicability is Applicability.EXACT])
def test_exact_pass_changes_no_bit(name: str) -> None:
    """Without prepacking: a weight that becomes an initializer is prepacked, and then summed in another order."""
    _, source, result = bad(name)
    source = getattr(pass_case(name), "MEANT", lambda: source)()
    for feed in make_feeds(source):
        for level, limit in (("none", 0.0), ("all", 2e-6)):
            expected = graphs.run(source, feed.arrays, level, prepack=False)
            actual = graphs.run(result, feed.arrays, level, prepack=False)
            assert list(expected) == list(actual)
            for key, value in expected.items():
                np.testing.assert_allclose(actual[key], value, rtol=limit, atol=0, strict=True)


@pytest.mark.parametrize("name", [n for n, k in PASSES.items() if k.applicability is Applicability.NUMERIC])
def test_numeric_pass_improves_its_measure(name: str) -> None:
    step, source, result = bad(name)
    measure = step.measure  # type: ignore[attr-defined]
    assert measure(result) < measure(source)


@pytest.mark.parametrize(("name", "code"), REPAIRED)
def test_rule_falls_silent_after_its_pass(name: str, code: str) -> None:
    """On the bad graphs of both: what the rule suggested to repair is repaired."""
    target, repaired = getattr(rule_case(code), "TARGET", "cuda"), 0
    for model in (rule_case(code).BAD(), pass_case(name).BAD()):
        suggested = [f for f in findings(model, code, target) if f.repair]
        graph_pass.run(pass_case(name).PASS, model)
        assert [f for f in findings(model, code, target) if f.repair] == []
        repaired += len(suggested)
    assert repaired, "neither graph shows what the pass repairs"


@pytest.mark.parametrize("names", TWINS)
@pytest.mark.parametrize("code", [code for code in RULES if code not in OF_NAMES])
def test_rule_says_the_same_whatever_nodes_are_called(code: str, names: str) -> None:
    """And so do all others on its graphs."""
    module = rule_case(code)
    for make in (module.BAD, module.SOUND):
        source, target = make(), getattr(module, "TARGET", "cuda")
        other = twins.twin(source, TWINS[names])
        if not twins.is_valid(other):  # the runtime does not come to placing its nodes
            continue
        expected, found = all_findings(source, code, target), all_findings(other, code, target)
        assert twins.told(found, (source, other)) == twins.told(expected, (source, other))


@pytest.mark.parametrize("names", TWINS)
@pytest.mark.parametrize("name", [name for name in PASSES if name not in OF_NAMES])
def test_pass_does_the_same_whatever_nodes_are_called(name: str, names: str) -> None:
    """Also where all are called alike, against the specification, but for passes that run the graph as it is."""
    module = pass_case(name)
    for make in (module.BAD, module.SOUND):
        result = make()
        other = twins.twin(result, TWINS[names])
        valid = twins.is_valid(other)
        if not valid and name in RUN_THE_GRAPH:
            continue
        expected, outcome = graph_pass.run(module.PASS, result), graph_pass.run(module.PASS, other)
        assert twins.done(outcome) == twins.done(expected)
        assert not twins.difference(twins.form(other), twins.form(result))
        assert twins.is_valid(other) or not valid
        assert not twins.done(graph_pass.run(module.PASS, other)), "a second run must do nothing"


@pytest.mark.parametrize(("name", "code"), [pair for pair in REPAIRED if pair[0] not in OF_NAMES])
def test_rule_falls_silent_after_its_pass_on_nodes_without_names(name: str, code: str) -> None:
    """What a rule suggests to repair is what its pass repairs, where nothing has a name."""
    target = getattr(rule_case(code), "TARGET", "cuda")
    for make in (rule_case(code).BAD, pass_case(name).BAD):
        model = twins.twin(make(), TWINS["unnamed"])
        suggested, named = ([f for f in findings(m, code, target) if f.repair] for m in (model, make()))
        assert len(suggested) == len(named)
        graph_pass.run(pass_case(name).PASS, model)
        assert [f for f in findings(model, code, target) if f.repair] == []
