"""Documents keep to the schemas that are published, and schemas take no other."""

from __future__ import annotations

import copy
import json
from importlib import resources
from pathlib import Path
from typing import Any

import graphs
import jsonschema
import numpy as np
import pytest
import rendered_models
from encoder_graphs import encoder

import onnxfix

ROOT = resources.files("onnxfix.schemas")
NAMES = sorted(file.name for file in ROOT.iterdir() if file.name.endswith(".json"))


def schema(name: str) -> Any:
    return json.loads((ROOT / f"{name.replace('/', '-')}.json").read_text(encoding="utf-8"))


def check(document: Any) -> None:
    jsonschema.validate(document, schema(document["schema"].removeprefix("onnxfix.")))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder().save(tmp_path_factory.mktemp("schemas") / "model.onnx")


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_schemas(name: str) -> None:
    found = json.loads((ROOT / name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["properties"]["schema"]["const"] == f"onnxfix.{name.removesuffix('.json').replace('-', '/')}"


@pytest.mark.parametrize("name", rendered_models.MODELS)
def test_every_report(name: str) -> None:
    check(json.loads(json.dumps(rendered_models.report(name).as_dict())))


def test_reports_of_several_with_budgets_and_a_baseline(path: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"none")
    baseline = tmp_path / "accepted.json"
    onnxfix.diagnose_all([path], baseline=baseline, update_baseline=True)
    check(json.loads(baseline.read_text()))
    found = onnxfix.diagnose_all([path, tmp_path / "broken.onnx"], baseline=baseline, max_memcpy=0, min_quantized=0.5)
    document = json.loads(found.to_json())
    check(document)
    assert document["failed"] and document["reports"][0]["budgets"] and document["reports"][0]["accepted"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_repair(precision: Any, path: Path, tmp_path: Path) -> None:
    check(json.loads(onnxfix.repair(path, precision=precision, output=tmp_path / "result.onnx").to_json()))


def test_a_part(tmp_path: Path) -> None:
    text = "g (float[batch,8] x) => (float[batch,8] y) { h = MatMul(x, w) a = Relu(h) y = MatMul(a, w) }"
    model = graphs.model(text, {"w": np.eye(8, dtype=np.float32)}).save(tmp_path / "model.onnx")
    found = onnxfix.extract(model, output=tmp_path / "part.onnx", inputs=["h"], outputs=["a"])
    check(json.loads(found.to_json()))


def test_a_difference(path: Path, tmp_path: Path) -> None:
    half = onnxfix.repair(path, precision="fp16", output=tmp_path / "half.onnx").output
    assert half is not None
    for other, same in ((half, False), (path, True)):
        document = json.loads(onnxfix.diff(path, other, target="cuda").to_json())
        check(document)
        assert document["same"] is same and document["placement"]["target"] == "cuda"
        with pytest.raises(jsonschema.ValidationError):
            check({key: value for key, value in document.items() if key != "weights"})


@pytest.mark.parametrize("gone", ["findings", "summary", "schema"])
def test_what_lacks_a_part_is_none(gone: str, path: Path) -> None:
    document = json.loads(onnxfix.diagnose(path).to_json())
    broken = copy.deepcopy(document)
    del broken[gone]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema("diagnose/1"))
