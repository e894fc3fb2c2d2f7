"""What a bench takes as reference, and the command: its files, its record, its refusals. No times are asserted."""

import json
from functools import partial
from pathlib import Path

import bench_models as models
import pytest

from onnxfix.cli.main import main
from onnxfix.eval.bench.bench import Course, Variant, run_bench
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.inputs.workload import Workload
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.run.engines.pytorch import PyTorch
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.provenance import Provenance

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def workload() -> Workload:
    return models.workload()


def test_a_failing_reference_hands_over_to_the_next(tmp_path: Path) -> None:
    good = models.save_onnx(tmp_path / "good.onnx")
    picky = Variant("torch fp32", PyTorch(), models.picky_classifier)
    report = run_bench(
        [picky, Variant("good", OnnxRuntime(), good)], models.workload(20), Course((Point(8),), 1, threads=1)
    )
    assert "4 rows" in report.rows[0].result, "fails on the short last batch, when the first two are done"
    assert (report.method.reference, report.method.baseline) == ("good", "good")
    assert report.rows[1].result == "the baseline"


def test_a_factory_with_arguments_and_no_labels(tmp_path: Path, workload: Workload) -> None:
    unlabelled = Workload("unlabelled", workload.rows, classes=workload.classes)
    flipped = Variant("flipped", PyTorch(), partial(models.torch_classifier, -1.0))
    right = Variant("right", OnnxRuntime(), models.save_onnx(tmp_path / "right.onnx"))
    report = run_bench([flipped, right], unlabelled, Course(rounds=1, threads=1))
    assert report.heads == []
    assert report.method.reference == "flipped", "torch before ONNX"
    assert report.rows[1].result.startswith("other answers: ")


def test_two_variants_of_one_name_are_refused(workload: Workload) -> None:
    twin = Variant("twin", OnnxRuntime(), Path("a.onnx"))
    with pytest.raises(OnnxfixError, match="two variants are named 'twin'"):
        run_bench([twin, twin], workload)


def _stamped(path: Path, provenance: Provenance) -> Path:
    model = Model.open(path)
    provenance.write(model.ir)
    return model.save(path.with_name(f"stamped.{path.name}"))


def _command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_without_a_record_of_the_checkpoint_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = models.save_onnx(tmp_path / "model.onnx")
    assert _command(str(path), "-o", str(tmp_path / "bench")) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "--checkpoint DIR" in message and "--no-torch" in message
    assert not (tmp_path / "bench").exists()


def test_onnx_files_alone_by_default_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    models.save_onnx(tmp_path / "model.onnx")
    models.save_onnx(tmp_path / "model.fp16.onnx")
    models.save_onnx(tmp_path / "other.onnx")
    (tmp_path / "model.int8.onnx").write_bytes(b"not a model")
    assert _command("--no-torch", "--rounds", "1", "--format", "json", "--provider", "cpu") == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["variant"] for row in document["rows"]] == ["model", "model.fp16", "model.int8"]
    assert document["rows"][2]["result"].startswith("does not load: ")
    assert document["rows"][1]["rel_l2_logits"] == 0.0
    assert document == json.loads((tmp_path / "bench" / "summary.json").read_text())


def test_torch_comes_from_the_record_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])  # a factory is looked for in the current folder
    made = Provenance(factory="bench_models:torch_module", exporter="by hand", outputs=("category",))
    path = _stamped(models.save_onnx(tmp_path / "model.onnx"), made)
    assert _command(str(path)) == 2, "a function that only the file names is not run"
    assert "--factory bench_models:torch_module" in capsys.readouterr().err
    allowed = ("--factory", "bench_models:torch_module", "--rounds", "1", "-o", str(tmp_path), "--provider", "cpu")
    assert _command(str(path), *allowed) == 0
    assert "torch bf16" in capsys.readouterr().out
    assert "| by hand |" in (tmp_path / "REPORT.md").read_text()
    rows = {row["variant"]: row for row in json.loads((tmp_path / "summary.json").read_text())["rows"]}
    assert rows[str(path)]["rel_l2_logits"] < 1e-5 and rows[str(path)]["exporter"] == "by hand"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.onnx"], "missing.onnx does not exist"),
        (["{model}", "--no-torch", "--label", "category=c"], "--data"),
        (["{model}", "--no-torch", "--data", "rows.csv"], "--checkpoint DIR"),
        (["{model}", "--checkpoint", "nowhere"], "checkpoint nowhere is not a folder"),
        (["{model}", "--no-torch", "--batching", "both"], "--batching cannot sort these inputs"),
        (["{model}", "--no-torch", "--bucket"], "--batching cannot sort these inputs"),
        (["{model}", "--no-torch", "--bucket", "--batching", "both"], "--bucket is short for --batching sorted"),
        (["{model}", "--no-torch", "--seq", "8", "--batching", "both"], "--seq makes rows of one length"),
    ],
)
def test_wrong_options_say_what_to_do(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = models.save_onnx(tmp_path / "model.onnx")
    assert _command(*(a.format(model=path) for a in arguments)) == 2
    assert message in capsys.readouterr().err
