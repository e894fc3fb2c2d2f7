"""A limit of integers by what is kept of the answers: classes that are chosen, F1 of labels, directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from terminal import onnxfix as typed

import onnxfix
from onnxfix.eval import demo
from onnxfix.eval.inputs.feeds import Feed
from onnxfix.eval.inputs.text_workload import load_tokenizer, load_workload, text_feeds
from onnxfix.eval.numerics.compare import compare
from onnxfix.flows.repair.verification.check import Check
from onnxfix.flows.repair.verification.metric import judged, metric_error
from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import OnnxfixError

WIDTH, ROWS = 64, 96
# With which a step of 8 bits is 0.27: numbers of 0.2 to 0.25 become one.
LOUD = 69.0
TOKENS = np.random.default_rng(0).uniform(0.2, 0.25, 50_000).astype(np.float32) * np.where(np.arange(50_000) % 2, 1, -1)
TOKENS[load_tokenizer(demo.CHECKPOINT).pad_token_id] = 0  # a batch is as long as its longest row


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Says which of two kinds of tokens a text has more of. One channel is so loud that a product in 8 bits, which does
    not use it, errs by a quarter of its size."""
    table = np.tile(TOKENS[:, None], (1, WIDTH)).astype(np.float32)
    table[:, 0] = LOUD
    weight = (np.random.default_rng(1).normal(0, 0.02, (WIDTH, WIDTH)) + np.eye(WIDTH)).astype(np.float32)
    weight[0] = 0
    head = np.stack([np.full(WIDTH, -1.0), np.full(WIDTH, 1.0)], axis=1).astype(np.float32)
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 17]>
        g (int64[batch,sequence] input_ids) => (float[batch,2] logits) {
            x = Gather(table, input_ids)
            h = MatMul(x, weight)
            p = ReduceMean<axes = [1], keepdims = 0>(h)
            logits = MatMul(p, head)
        }"""
    )
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name)
        for name, array in (("table", table), ("weight", weight), ("head", head))
    )
    path = tmp_path_factory.mktemp("source") / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    """Real texts. Those of the `clear` table have most of one kind of token; every other one of `close` has least."""
    texts = pl.read_parquet(demo.HOLDOUT).select("text").head(800)
    rows = load_workload(texts, checkpoint=demo.CHECKPOINT).rows
    more = np.array([np.mean(TOKENS[row["input_ids"]]) for row in rows])
    order = np.argsort(-np.abs(more))
    both = np.stack([order[: ROWS // 2], order[-ROWS // 2 :]], axis=1)
    found = texts.with_columns(pl.Series("kind", (more > 0).astype(np.int64)))
    return {"clear": found[order[:ROWS]], "close": found[both.ravel()]}


def options(table: pl.DataFrame, tmp_path: Path) -> dict[str, object]:
    how = {"int8": "dynamic", "migrate_outliers": False, "calibrate": table, "checkpoint": demo.CHECKPOINT}
    return {**how, "output": tmp_path / "out.onnx"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"metric": "argmax"}, "another class in 0.00% of 96 rows of output logits (limit 0.01)"),
        ({"label": "kind"}, "macro F1 1.0000 → 1.0000 by the labels in 96 rows of output logits (limit 0.005)"),
        ({"label": {"logits": "kind"}, "metric": "f1"}, "macro F1 1.0000 → 1.0000 by the labels"),
        ({"metric": "f1"}, "macro F1 1.0000 against the source's choices"),
        ({"metric": "cosine"}, "cosine at least 0.9"),
    ],
)
def test_what_errs_and_chooses_alike_is_written(
    more: dict[str, object], said: str, source: Path, tables: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    done = onnxfix.repair(source, **options(tables["clear"], tmp_path), **more)  # type: ignore[arg-type]
    assert done.output is not None and said in done.verified
    assert any("errs by" in str(note) for note in done.outcome.notes)


@pytest.mark.parametrize(
    ("table", "more", "said"),
    [
        ("close", {"metric": "argmax"}, "another class in"),
        ("close", {"label": "kind"}, "macro F1 1.0000 → 0."),
        ("clear", {}, "relative L2 error of 2"),
    ],
)
def test_what_chooses_otherwise_is_not_nor_what_errs_where_numbers_count(
    table: str, more: dict[str, object], said: str, source: Path, tables: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    with pytest.raises(OnnxfixError, match=said):
        onnxfix.repair(source, **options(tables[table], tmp_path), **more)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_an_optimised_model_is_held_to_what_it_is_for(
    source: Path, tables: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    """Outputs that name no classes keep their direction; labels say that the classes are what counts."""
    how = {"int8": "dynamic", "checkpoint": demo.CHECKPOINT, "calibrate": tables["clear"], "dry_run": True}
    assert "cosine at least" in onnxfix.optimize(source, **how, metric="cosine").verified  # type: ignore[arg-type]
    assert "macro F1 1.0000 → 1.0000" in onnxfix.optimize(source, **how, label="kind").verified  # type: ignore[arg-type]
    # the checkpoint names the classes of its own heads
    assert "another class in 0.00%" in onnxfix.optimize(source, **how).verified  # type: ignore[arg-type]
    made_up = onnxfix.optimize(source, int8="dynamic", max_error=0.5, dry_run=True)
    assert "(limit 0.5" in made_up.verified


def test_a_search_keeps_in_float_what_changes_the_choice(
    source: Path, tables: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    how = {**options(tables["close"], tmp_path), "metric": "argmax", "max_error": 0.05}
    done = onnxfix.repair(source, **how, search=True, quantize_heads=True)  # type: ignore[arg-type]
    assert done.search is not None and done.search.nodes == ("h",)
    assert "another class in" in done.verified and "(limit 0.05)" in done.verified


def test_labels_of_a_file(source: Path, tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    tables["clear"].write_parquet(tmp_path / "rows.parquet")
    how = ("--int8", "dynamic", "--calibrate", tmp_path / "rows.parquet", "--checkpoint", demo.CHECKPOINT, "--dry-run")
    done = typed("repair", source, *how, "--no-migrate-outliers", "--label", "logits=kind")
    assert done.returncode == 0 and "macro F1 1.0000 → 1.0000 by the labels" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"label": "nowhere"}, "no column 'nowhere'"),
        ({"label": "kind", "metric": "argmax"}, "label is for int8='dynamic'"),
        ({"label": "kind", "int8": None}, "label is for int8='dynamic'"),
        ({"label": "kind", "calibrate": None}, "label is for int8='dynamic'"),
        ({"label": {"other": "kind"}}, "no output 'other' to label"),
        ({"metric": "argmax", "int8": None, "calibrate": None}, "metric needs int8 or search=True"),
        ({"metric": "most"}, "metric='most'"),
    ],
)
def test_what_does_not_fit_is_refused(
    more: dict[str, object], said: str, source: Path, tables: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    with pytest.raises(OnnxfixError, match=said):
        onnxfix.repair(source, **{**options(tables["clear"], tmp_path), **more})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


class _Fixed:
    """Answers that lie here."""

    def __init__(self, name: str, *answers: np.ndarray) -> None:
        self.name, self._left = name, list(answers)

    def run(self, feed: object) -> dict[str, np.ndarray]:
        return {"y": self._left.pop(0)}


def _compared(gold: np.ndarray | None, wanted: np.ndarray, found: np.ndarray) -> Comparison:
    """Class numbers as logits, in two feeds."""

    def logits(classes: np.ndarray) -> np.ndarray:
        return np.eye(4)[classes]

    half = len(wanted) // 2
    parts = [slice(0, half), slice(half, None)]
    feeds = [Feed(str(i), {}, gold={} if gold is None else {"y": gold[part]}) for i, part in enumerate(parts)]
    one, other = (_Fixed("", *(logits(each[part]) for part in parts)) for each in (wanted, found))
    return compare(one, other, feeds)  # type: ignore[arg-type]


def test_shares_and_f1_are_of_all_feeds_together() -> None:
    rng = np.random.default_rng(2)
    gold, wanted = rng.integers(0, 4, (2, 60))
    found = wanted.copy()
    found[:3] = (found[:3] + 1) % 4
    each = _compared(None, wanted, found)
    assert metric_error(each, "argmax") == pytest.approx(3 / 60)
    labelled = judged(_compared(gold, wanted, found), "f1")
    assert (labelled.before, labelled.after) == pytest.approx((_f1(gold, wanted), _f1(gold, found)))
    assert metric_error(each, "f1") == pytest.approx(1 - _f1(wanted, found))
    partly = np.where(np.arange(60) < 40, gold, -1)
    assert judged(_compared(partly, wanted, found), "f1").before == pytest.approx(_f1(gold[:40], wanted[:40]))


def _f1(gold: np.ndarray, found: np.ndarray) -> float:
    """From its definition: precision and recall of each class."""
    figures = []
    for each in np.union1d(gold, found):
        hits = np.sum((gold == each) & (found == each))
        precision, recall = hits / max(np.sum(found == each), 1), hits / max(np.sum(gold == each), 1)
        figures.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    return float(np.mean(figures))


def test_another_answer_is_none_whatever_it_chooses() -> None:
    """The same class in every row, from numbers that have nothing else of the source's."""
    wanted = np.zeros(8, np.int64)
    comparison = _compared(None, wanted, wanted)
    check = Check(False, "int8", 0.01, "fp32", metric="argmax")
    assert check.allows(comparison)
    far = compare(_Fixed("", np.tile([1.0, 0, 0], (8, 1))), _Fixed("", np.tile([9.0, 8, 8], (8, 1))), [Feed("a", {})])  # type: ignore[arg-type]
    assert metric_error(far, "argmax") == 0 and not check.allows(far)


def test_labels_of_tokens_are_where_the_tokens_are() -> None:
    frame = pl.DataFrame({"text": [["a", "b", "c"], ["a"]], "tag": [[1, 0, 1], [2]]})
    work = load_workload(frame, checkpoint=demo.CHECKPOINT, labels={"y": "tag"})
    (feed,) = text_feeds(work, {"input_ids": onnxfix_int64()})
    assert feed.gold["y"].shape == feed.arrays["input_ids"].shape
    assert sorted(feed.gold["y"][feed.gold["y"] >= 0]) == [0, 1, 1, 2]
    assert (feed.gold["y"][1, -2:] == -1).all()


def onnxfix_int64() -> object:
    import onnx_ir as ir

    return ir.DataType.INT64
