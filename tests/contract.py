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
REPAIRED = [(name, code) for name, kind in PASSES.items() for code in kind.repairs]


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
    before, measure = model.fingerprint(), getattr(rule_case(code), "AGAINST", None)
    against = measure(model) if measure is not None else None
    found = [f for f in diagnose(model, Target.resolve(target), against=against).findings if f.code == code]
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
    for feed in make_feeds(source):
        graphs.run(result, feed.arrays, level="all")


@pytest.mark.parametrize("name", [n for n, k in PASSES.items() if k.applicability is Applicability.EXACT])
def test_exact_pass_changes_no_bit(name: str) -> None:
    """Without prepacking: a weight that becomes an initializer is prepacked, and then summed in another order."""
    _, source, result = bad(name)
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
