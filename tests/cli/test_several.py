"""Several models, budgets and a baseline, as a pipeline has them: one table, one document, one exit code."""

from __future__ import annotations

import json
from pathlib import Path

import graphs
import numpy as np
import pytest
from encoder_graphs import encoder
from terminal import onnxfix as typed

import onnxfix
from onnxfix.flows.diagnosis.baseline import SCHEMA

CHUNK = """g (float[batch,sequence,8] x) => (float[batch,sequence,4] y) {
    h = Relu(x) s = SplitToSequence<axis = -1>(h, four) a = SequenceAt(s, first) b = SequenceAt(s, second) y = Mul(a, b)
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/chunk.onnx` has an error on CUDA, `models/below/encoder.onnx` notes alone."""
    root = tmp_path_factory.mktemp("several")
    (root / "models" / "below").mkdir(parents=True)
    numbers = {"four": np.array(4), "first": np.array(0), "second": np.array(1)}
    graphs.model(CHUNK, numbers).save(root / "models" / "chunk.onnx")
    encoder().save(root / "models" / "below" / "encoder.onnx")
    return root


def test_a_folder_is_one_table_and_one_exit_code(folder: Path) -> None:
    done = typed("diagnose", "models", "--jobs", "2", cwd=folder)
    assert done.returncode == 1 and done.stderr == ""
    assert "models/below/encoder.onnx" in done.stdout and "K001 sequence-op-copies" in done.stdout
    assert done.stdout.rstrip().endswith("2 models: 1 error, 0 warnings, 2 notes")
    assert typed("diagnose", "models/below", cwd=folder).returncode == 0


def test_a_model_that_cannot_be_read_is_a_row(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"none of a model")
    done = typed("diagnose", str(tmp_path), "models/below", "--format", "json", cwd=folder)
    found = json.loads(done.stdout)
    assert done.returncode == 2 and found["schema"] == "onnxfix.diagnoses/1"
    assert [Path(each["path"]).name for each in found["failed"]] == ["broken.onnx"]
    assert "not a whole ONNX file" in found["failed"][0]["error"] and len(found["reports"]) == 1


def test_one_sarif_has_one_run(folder: Path) -> None:
    """Code scanning takes one run of a tool."""
    (run,) = json.loads(typed("diagnose", "models", "--format", "sarif", cwd=folder).stdout)["runs"]
    places = {r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]}
    assert places == {"models/chunk.onnx", "models/below/encoder.onnx"}
    assert [a["location"]["uri"] for a in run["artifacts"]] == sorted(places)
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])


def test_annotations_are_commands_and_what_a_model_says_is_none(folder: Path, tmp_path: Path) -> None:
    done = typed("diagnose", "models/chunk.onnx", "--format", "github", "--max-memcpy", "0", cwd=folder)
    first, over = done.stdout.splitlines()
    assert first.startswith("::error file=models/chunk.onnx,title=onnxfix%3A K001 sequence-op-copies::SplitToSequence")
    assert "%0Arepair (exact): onnxfix repair models/chunk.onnx" in first
    assert over == "::error file=models/chunk.onnx,title=onnxfix%3A over budget::memcpy is 2, and the budget 0"
    evil = graphs.model(CHUNK, {"four": np.array(4), "first": np.array(0), "second": np.array(1)})
    for node in evil.graph:
        node.name = "::set-env name=a::b"
    path = evil.save(tmp_path / "evil.onnx")
    lines = typed("diagnose", str(path), "--format", "github", cwd=tmp_path).stdout.splitlines()
    assert lines and all(line.startswith(("::error file=", "::notice file=")) for line in lines)
    assert not any(":" in line.split("::")[1] for line in lines), "what ends a command's properties"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 1),
        (["--ignore", "K001"], 0),
        (["--ignore", "sequence-op-copies"], 0),
        (["--select", "F"], 0),
        (["--select", "K", "--ignore", "F"], 1),
        (["--ignore", "K", "--max-memcpy", "1"], 1),
        (["--ignore", "K", "--max-memcpy", "2"], 0),
        (["--ignore", "K", "--max-bytes", "10"], 1),
        (["--ignore", "K", "--max-memcpy", "1", "--fail-on", "never"], 0),
    ],
)
def test_what_counts_and_what_fits_decide(options: list[str], code: int, folder: Path) -> None:
    assert typed("diagnose", "models/chunk.onnx", *options, cwd=folder).returncode == code


def test_a_share_of_linears_is_a_budget(folder: Path) -> None:
    report = onnxfix.diagnose(folder / "models" / "below" / "encoder.onnx", min_quantized=0.5)
    assert report.fails("error") and not onnxfix.diagnose(folder / "models" / "below" / "encoder.onnx").fails("error")
    (budget,) = report.budgets
    assert (budget.name, budget.limit, budget.found, budget.is_met) == ("quantized", 0.5, 0.0, False)
    assert "over budget: 0 quantized, at least 0.5" in report.to_markdown()


def test_accepted_findings_are_left_out_and_new_ones_count(folder: Path, tmp_path: Path) -> None:
    """Nodes are called otherwise by every export: one of the same module and operator is the same finding."""
    file, models = tmp_path / "accepted.json", folder / "models"
    first = onnxfix.diagnose_all(models, baseline=file, update_baseline=True)
    assert not first.fails("note") and json.loads(file.read_text())["schema"] == SCHEMA
    again = onnxfix.diagnose(models / "chunk.onnx", baseline=file)
    assert not again.fails("note") and again.accepted == 1 and "1 finding accepted before" in again.to_markdown()
    assert onnxfix.diagnose(models / "chunk.onnx").fails("error")
    assert onnxfix.diagnose(models / "chunk.onnx", target="tensorrt", baseline=file).accepted == 0, "another target"
    twice = CHUNK.replace("y = Mul(a, b)", "c = Mul(a, b) t = SplitToSequence<axis = -1>(c, two) "
                          "d = SequenceAt(t, first) e = SequenceAt(t, second) y = Concat<axis = -1>(d, e)")  # fmt: skip
    numbers = {"four": np.array(4), "first": np.array(0), "second": np.array(1), "two": np.array(2)}
    before = (models / "chunk.onnx").read_bytes()
    try:
        graphs.model(twice, numbers).save(models / "chunk.onnx", force=True)
        newer = onnxfix.diagnose(models / "chunk.onnx", baseline=file)
    finally:
        (models / "chunk.onnx").write_bytes(before)
    assert newer.fails("error") and newer.accepted == 1 and len(newer.findings) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ignore", "host-copi"], "did you mean host-copy?"),
        (["--select", "K9"], "is the beginning of no code"),
        (["--baseline", "absent.json"], "write it with --update-baseline"),
        (["--update-baseline"], "--update-baseline needs --baseline FILE"),
        (["--baseline", "models/chunk.onnx"], "is no baseline of onnxfix"),
    ],
)
def test_errors_say_what_to_do(options: list[str], said: str, folder: Path) -> None:
    done = typed("diagnose", "models/chunk.onnx", *options, cwd=folder)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_no_model_is_an_error(tmp_path: Path) -> None:
    done = typed("diagnose", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2 and "there is no .onnx file in" in done.stderr
