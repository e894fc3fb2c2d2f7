"""SARIF: what the 2.1.0 schema and code scanning require, checked by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import rendered_models
from terminal import onnxfix

from onnxfix.diagnose.registry import all_rules
from onnxfix.diagnose.report import sarif


def log(name: str, folder: Path) -> dict[str, Any]:
    """As JSON and back: what a reader gets."""
    document = sarif.document([rendered_models.report(name)], all_rules(), "1.2.3", folder)
    loaded: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
    return loaded


@pytest.mark.parametrize("name", list(rendered_models.MODELS))
def test_the_log_keeps_to_the_schema(name: str, tmp_path: Path) -> None:
    document = log(name, tmp_path)
    assert set(document) == {"$schema", "version", "runs"} and document["version"] == "2.1.0"
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "onnxfix" and re.fullmatch(r"\d+\.\d+\.\d+", driver["semanticVersion"])
    assert all(isinstance(i["executionSuccessful"], bool) for i in run["invocations"])
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    for rule in driver["rules"]:
        for key in ("shortDescription", "fullDescription", "help"):
            assert rule[key]["text"].strip()
        assert rule["help"]["markdown"] and re.fullmatch(r"[A-Z][A-Za-z0-9]+", rule["name"])
    assert len(run["results"]) == len(rendered_models.report(name).findings)
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error") and result["message"]["text"]
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        assert physical["region"]["startLine"] >= 1
        assert re.fullmatch(r"[A-Za-z0-9._~/%:-]+", physical["artifactLocation"]["uri"]), "an encoded URI reference"
        assert all(isinstance(v, str) for v in result["partialFingerprints"].values())
    prints = [tuple(r["partialFingerprints"].values()) for r in run["results"]]
    assert len(set(prints)) == len(prints)


def test_levels_places_and_help_are_the_findings(tmp_path: Path) -> None:
    (run,) = log("gated", tmp_path)["runs"]
    result = next(r for r in run["results"] if r["ruleId"] == "K001")
    logical = result["locations"][0]["logicalLocations"][0]
    assert result["level"] == "error" and "onnxfix repair" in result["message"]["text"]
    assert logical["fullyQualifiedName"] == "model.layers.0.mlp//model/layers.0/mlp/chunk"
    rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert rule["name"] == "SequenceOpCopies" and "no CUDA kernel" in rule["help"]["text"]


def test_a_model_below_the_folder_has_a_relative_address(tmp_path: Path) -> None:
    (tmp_path / "my models").mkdir()
    rendered_models.saved("gated", tmp_path / "my models", "é #1.onnx")
    done = onnxfix("diagnose", Path("my models") / "é #1.onnx", "--format", "sarif", cwd=tmp_path)
    (run,) = json.loads(done.stdout)["runs"]
    address = run["artifacts"][0]["location"]
    assert address["uriBaseId"] == "%SRCROOT%" and unquote(address["uri"]) == "my models/é #1.onnx"
    assert " " not in address["uri"] and "#" not in address["uri"]
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    moved = onnxfix("diagnose", tmp_path / "my models" / "é #1.onnx", "--format", "sarif", cwd=elsewhere)
    (other,) = json.loads(moved.stdout)["runs"]
    assert other["artifacts"][0]["location"]["uri"].startswith("file:///")
    assert [r["partialFingerprints"] for r in other["results"]] == [r["partialFingerprints"] for r in run["results"]]
