"""Workloads: tables of every kind, labels, padding, batches, and made-up rows, with a real tokenizer."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from onnxfix.eval.inputs.feeds import Feed
from onnxfix.eval.inputs.point import BATCHINGS, Point, timed_batches
from onnxfix.eval.inputs.text_workload import gold_of, load_workload, made_up_text
from onnxfix.eval.inputs.workload import Workload, feed_workload, with_defaults
from onnxfix.nouns.errors import OnnxfixError

transformers = pytest.importorskip("transformers")
CLASSES = {"kind": ["fruit", "tool"]}
FRAME = pl.DataFrame({"text": ["red apple", "a hammer a saw", "pear"], "label": ["fruit", "tool", None]})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[UNK]", "[CLS]", "[SEP]", "red", "apple", "a", "hammer", "saw", "pear", "[PAD]"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=32, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("checkpoint")
    fast.save_pretrained(folder)
    return folder


def _write(path: Path) -> Path:
    writers: dict[str, Any] = {
        ".parquet": FRAME.write_parquet,
        ".csv": FRAME.write_csv,
        ".tsv": lambda p: FRAME.write_csv(p, separator="\t"),
        ".jsonl": FRAME.write_ndjson,
    }
    writers[path.suffix](path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_every_kind_of_table_gives_the_same_rows(suffix: str, tmp_path: Path, checkpoint: Path) -> None:
    path = _write(tmp_path / f"rows{suffix}")
    workload = load_workload(path, checkpoint=checkpoint, labels={"kind": "label"}, classes=CLASSES)
    assert workload.gold["kind"].tolist() == [0, 1, -1]
    first, second = workload.batches(2)
    assert first.arrays["input_ids"].tolist() == [[1, 3, 4, 2, 9, 9], [1, 5, 6, 5, 7, 2]]
    assert first.arrays["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    assert (first.rows, second.rows, second.arrays["input_ids"].shape) == (2, 1, (1, 3))


def test_limit_and_length_cut(tmp_path: Path, checkpoint: Path) -> None:
    path = _write(tmp_path / "rows.csv")
    workload = load_workload(path, checkpoint=checkpoint, limit=2, max_length=4)
    assert [len(row["input_ids"]) for row in workload.rows] == [4, 4]
    assert "2 rows" in workload.description and "4 tokens" in workload.description


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text_column": "words"}, "no column 'words'; its columns are text, label"),
        ({"labels": {"kind": "label"}, "classes": {"kind": ["fruit"]}}, "label 'tool' is no class of head 'kind'"),
        ({"labels": {"kind": "label"}}, "class names of head 'kind' are not known"),
    ],
)
def test_unusable_tables_say_why(arguments: dict[str, Any], message: str, tmp_path: Path, checkpoint: Path) -> None:
    path = _write(tmp_path / "rows.parquet")
    with pytest.raises(OnnxfixError, match=message):
        load_workload(path, checkpoint=checkpoint, **arguments)


def test_a_folder_without_tokenizer_says_so(tmp_path: Path) -> None:
    path = _write(tmp_path / "rows.csv")
    with pytest.raises(OnnxfixError, match="has no tokenizer"):
        load_workload(path, checkpoint=tmp_path)


def test_made_up_rows_are_framed_padded_and_the_same_again(checkpoint: Path) -> None:
    workload, again = made_up_text(checkpoint, rows=9), made_up_text(checkpoint, rows=9)
    lengths = [len(row["input_ids"]) for row in workload.rows]
    assert 8 <= min(lengths) < max(lengths) <= 32 and not workload.gold
    for one, other in zip(workload.rows, again.rows, strict=True):
        assert (one["input_ids"][0], one["input_ids"][-1]) == (1, 2)
        assert np.array_equal(one["input_ids"], other["input_ids"])


def test_left_padding() -> None:
    rows = ({"x": np.array([1, 2])}, {"x": np.array([3])})
    assert Workload("w", rows, {"x": 7}, pad_left=True).batches(2)[0].arrays["x"].tolist() == [[1, 2], [7, 3]]


def test_inputs_that_a_tokenizer_leaves_out_are_filled_as_transformers_does() -> None:
    rows = tuple({"input_ids": np.arange(3 + i)} for i in range(2))
    names = ["input_ids", "attention_mask", "token_type_ids", "position_ids"]
    (batch,) = with_defaults(Workload("rows", rows), names).batches(2)
    assert list(batch.arrays) == names
    assert batch.arrays["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]], "padding is not attended"
    assert not batch.arrays["token_type_ids"].any() and batch.arrays["token_type_ids"].shape == (2, 4)
    assert batch.arrays["position_ids"].tolist() == [[0, 1, 2, 0], [0, 1, 2, 3]]
    long = timed_batches(with_defaults(Workload("rows", rows), names), Point(2, 6))[0]
    assert long.arrays["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5]] * 2, "rows of several have one count"
    given = Workload("rows", tuple(row | {"token_type_ids": np.ones_like(row["input_ids"])} for row in rows))
    assert with_defaults(given, ["input_ids", "token_type_ids", "x"]) is given, "what is there stays, x has no default"


def test_feeds_stay_as_they_are() -> None:
    feeds = [Feed("a", {"x": np.zeros((2, 3))}), Feed("b", {"x": np.zeros((5, 1))})]
    assert [batch.rows for batch in feed_workload(feeds).batches(64)] == [2, 5]


def test_no_rows_and_no_batch_are_refused() -> None:
    with pytest.raises(OnnxfixError, match="has no rows"):
        Workload("nothing").batches(4)
    with pytest.raises(OnnxfixError, match="batch of 0"):
        Workload("nothing").batches(0)


def test_a_checkpoint_without_a_tokenizer_is_said_to_have_none(tmp_path: Path) -> None:
    """transformers makes an empty one of its config, from whose vocabulary no text can be made up."""
    from transformers import BertConfig

    BertConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(OnnxfixError, match="tokenizer"):
        made_up_text(tmp_path)


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([0, -100, 2, -1], ["a", "b", "c"], [0, -1, 2, -1]),
        ([1, 3, 2], ["1", "2", "3"], [0, 2, 1]),  # a table of classes named 1 to 3 is read as numbers
        (["b", "", None, " "], ["a", "b"], [1, -1, -1, -1]),
        ([0, 5], [], [0, 5]),
    ],
)
def test_labels_are_numbers_or_names(labels: list[Any], names: list[str], expected: list[int]) -> None:
    assert gold_of(pl.Series(labels), "head", names).tolist() == expected


@pytest.mark.parametrize(("labels", "names"), [([0, 7], ["a", "b"]), ([-2, 0], ["a", "b"]), ([-5], []), (["c"], ["a"])])
def test_labels_of_no_class_are_refused(labels: list[Any], names: list[str]) -> None:
    with pytest.raises(OnnxfixError, match="is no class of head"):
        gold_of(pl.Series(labels), "head", names)


def test_a_batch_larger_than_the_rows_holds_them_again() -> None:
    rows = tuple({"input_ids": np.arange(3 + i)} for i in range(5))
    workload = Workload("five rows", rows=rows)
    for size in (4, 5, 8, 12):
        assert [batch.rows for batch in timed_batches(workload, Point(size))] == [size]
    assert [batch.rows for batch in timed_batches(workload, Point(2))] == [2, 2]


def _lengths(*lengths: int) -> Workload:
    return Workload("rows", tuple({"input_ids": np.full(length, at)} for at, length in enumerate(lengths, start=1)))


def test_sorted_batches_are_of_the_same_rows_and_hold_the_longest() -> None:
    lengths = np.random.default_rng(0).permutation(np.arange(1, 61))
    rows = _lengths(*lengths.tolist())
    padded, ordered = (timed_batches(rows, Point(16, batching=way), whole=True) for way in BATCHINGS)
    for batches in (padded, ordered):
        assert sorted(np.unique(np.concatenate([b.arrays["input_ids"].ravel() for b in batches]))) == list(range(61))
        assert [batch.rows for batch in batches] == [16, 16, 16, 12]
    assert [batch.arrays["input_ids"].shape[1] for batch in ordered] == [16, 32, 48, 60]
    assert all(batch.arrays["input_ids"].shape[1] > 40 for batch in padded)
    one = timed_batches(rows, Point(16, batching="sorted"))
    assert [batch.rows for batch in one] == [16, 16, 16], "alone, full ones are timed, as padded ones are"


def test_of_many_batches_each_timed_one_stands_for_an_eighth() -> None:
    found = timed_batches(_lengths(*range(1, 161)), Point(4, batching="sorted"), whole=True)
    assert [batch.arrays["input_ids"].shape[1] for batch in found] == [12, 32, 52, 72, 92, 112, 132, 152]
    assert np.isclose(np.mean([batch.arrays["input_ids"].shape[1] for batch in found]), 82, atol=0.1), "of all 40"
