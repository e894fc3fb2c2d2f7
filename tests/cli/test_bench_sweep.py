"""`onnxfix bench --sweep` on the bundled model: every row is there, made or with its reason; the options of bench."""

from __future__ import annotations

import json
from pathlib import Path

import graphs
import polars as pl
import pytest
from terminal import Done, onnxfix

from onnxfix.flows.bench.rows import rows_of

pytest.importorskip("torch")
SEED = [row.name for row in rows_of(["seed"])]
OWN_METRIC = '''
def top(gold, logits):
    """Two numbers by name, from labels and logits."""
    right = {head: float((logits[head].argmax(1) == gold[head]).mean()) for head in gold}
    return {f"right {head}": share for head, share in right.items()}
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def swept(folder: Path) -> Done:
    (folder / "own.py").write_text(OWN_METRIC)
    done = onnxfix(
        "bench", "--sweep", "seed", "--limit", "96", "--rounds", "2", "--no-verify", "--provider", "cpu",
        "--metric", "own:top", "-o", folder / "bench", "--format", "json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def rows(done: Done) -> dict[str, dict[str, object]]:
    return {row["variant"]: row for row in json.loads(done.stdout)["rows"]}


def test_all_rows_of_the_report_that_gave_up(swept: Done) -> None:
    found = rows(swept)
    assert list(found) == SEED
    every = rows_of(["all"])
    assert len({row.name for row in every}) == len(every) > len(SEED)
    results = {name: str(row["result"]) for name, row in found.items()}
    assert "unusable on CUDA: 12 Memcpy (K001)" in results["onnx-fp32 (unoptimized)"]
    assert results["onnx-int8 (unoptimized)"].startswith("no-op: 2 of 18 linears in int8 (Q002)")
    assert "does not load" in results["onnx-fp16 (legacy)"] and results["onnx-fp16 (legacy)"].endswith("(K004, P001)")
    assert "falls back to the CPU on CUDA: 53 Memcpy (Q003)" in results["onnx-int8 (legacy)"]
    assert "flash" in results["torch bf16 (flash-attention-2)"].lower(), "a reason, not a row that is missing"
    for name in (
        "torch fp32",
        "torch bf16",
        "onnx-fp32 (unoptimized)",
        "onnx-int8 (unoptimized)",
        "onnx-fp32 (legacy)",
    ):
        row = found[name]
        assert row["failure"] == "" and all(float(str(row[f"f1_{head}"])) > 0.7 for head in ("category", "spec"))
        assert float(str(row["ratio_low"])) <= float(str(row["ratio"])) <= float(str(row["ratio_high"]))
        assert row["metric_right category"] == row["accuracy_category"]
    assert found["onnx-fp32 (legacy)"]["made_by"].startswith("onnxfix export ")  # type: ignore[attr-defined]


def test_the_files_agree_with_what_was_printed(swept: Done, folder: Path) -> None:
    assert json.loads(swept.stdout) == json.loads((folder / "bench" / "summary.json").read_text())
    frame = pl.read_parquet(folder / "bench" / "results.parquet")
    assert frame["variant"].to_list() == SEED and frame["main"].all()
    text = (folder / "bench" / "REPORT.md").read_text()
    assert all(f"| {name} |" in text for name in SEED) and "## F1 by class of spec" in text


def test_what_diagnose_says_is_in_the_document(swept: Done) -> None:
    found = json.loads(swept.stdout)["diagnoses"]["onnx-fp32 (unoptimized)"]
    assert found["target"] == "cuda" and found["memcpy"] == 12
    assert sum(nodes for _, nodes, _ in found["runs"]) == sum(found["providers"].values())
    assert sum(copies for _, _, copies in found["runs"]) == 12
    assert "K001" in {finding["code"] for finding in found["findings"]}


SAME = ("bench", "--sweep", "seed", "--limit", "96", "--rounds", "2", "--no-verify", "--provider", "cpu", "--resume")


def test_resumed_nothing_is_made_or_measured_again_and_against_itself_nothing_is_worse(
    swept: Done, folder: Path
) -> None:
    made = {path: path.stat().st_mtime_ns for path in (folder / "bench" / "models").glob("*.onnx")}
    own = ("--metric", "own:top", "-o", folder / "bench", "--baseline", folder / "bench" / "results.parquet")
    again = onnxfix(*SAME, *own, cwd=folder)
    assert again.returncode == 0 and "nothing is worse than it was" in again.stdout
    kept = json.loads((folder / "bench" / "summary.json").read_text())
    assert kept["rows"] == json.loads(swept.stdout)["rows"] and not kept["regressions"]
    assert made == {path: path.stat().st_mtime_ns for path in (folder / "bench" / "models").glob("*.onnx")}


def test_against_a_better_one_much_is_worse(swept: Done, folder: Path) -> None:
    results = folder / "bench" / "results.parquet"
    better = pl.read_parquet(results).with_columns(pl.col("size_mb") / 2, pl.col("f1_category") + 0.1)
    better.write_parquet(folder / "better.parquet")
    own = ("--metric", "own:top", "-o", folder / "bench", "--baseline", folder / "better.parquet")
    worse = onnxfix(*SAME, *own, cwd=folder)
    assert worse.returncode == 1
    assert "worse: onnx-fp32 (legacy): size 3.9 → 7.9 MB" in worse.stdout
    assert "worse: torch fp32: category F1" in worse.stdout
    kept = json.loads((folder / "bench" / "summary.json").read_text())["regressions"]
    assert {each["what"] for each in kept} == {"size", "category F1"}


def saved(folder: Path) -> Path:
    model = graphs.model("g (float[batch,4] x) => (float[batch,4] y) { y = Relu(x) }")
    return model.save(folder / "model.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sweep", "seed", "--no-torch"), "--sweep makes its files from torch"),
        (("--sweep", "seed", "--checkpoint", "nowhere"), "checkpoint nowhere is not a folder"),
        (("--sweep", "other"), "is not one of 'seed', 'repaired', 'all'"),
        (("--batch", "8,x"), "is no list of numbers such as 1,8,64"),
        (("--batch", "8,8"), "holds a number below 1 or one twice"),
        (("--metric", "own"), "--metric own is not of the form MODULE:FUNCTION"),
        (("--metric", "nowhere:top"), "No module named 'nowhere'"),
    ],
)
def test_wrong_options_say_what_to_do(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    model = () if "--sweep" in options else (saved(tmp_path), "--no-torch")
    done = onnxfix("bench", *model, *options, "-o", tmp_path / "bench")
    assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "bench" / "summary.json").exists()
