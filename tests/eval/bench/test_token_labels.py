"""Labels a word, benched: a real checkpoint, its export and a tokenizer that cuts words and makes no segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest

from onnxfix.eval.inputs.text_workload import load_workload
from onnxfix.flows.bench.asked import bench
from onnxfix.flows.bench.benched import Bench
from onnxfix.flows.export import export
from onnxfix.nouns.errors import OnnxfixError

transformers = pytest.importorskip("transformers")
TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG"]
WORDS = [["red", "redred", "pear"], ["pear", "pearpear", "saw", "sawred", "red"], ["saw"], ["red", "saw"]]
LABELS: list[list[Any]] = [["B-PER", "I-PER", "O"], ["O", "B-ORG", "I-ORG", "O", "B-PER"], ["O"], ["B-ORG", "O"]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "##red", "pear", "##pear", "saw"]
    made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=24, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    config = transformers.BertConfig(
        vocab_size=len(pieces), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, id2label=dict(enumerate(TAGS)), initializer_range=1.0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tagger")
    torch.manual_seed(1)
    transformers.BertForTokenClassification(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Path:
    made = export(checkpoint, output=checkpoint / "model.onnx", exporter="legacy", verify=False)
    assert "token_type_ids" in made.inputs, "which the tokenizer does not make"
    return made.path


def said(model: Path) -> list[np.ndarray]:
    """The model's class of the first token of each word, a row at a time and by hand."""
    pieces = {"red": [4], "redred": [4, 5], "pear": [6], "pearpear": [6, 7], "saw": [8], "sawred": [8, 5]}
    session, found = onnxruntime.InferenceSession(str(model)), []
    for row in WORDS:
        cut = [pieces[word] for word in row]
        ids = np.array([[2, *(piece for word in cut for piece in word), 3]])
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        logits = session.run(None, feed)[0][0]
        starts = 1 + np.cumsum([0, *map(len, cut)])[:-1]
        found.append(logits[starts].argmax(1))
    return found


def run(model: Path, table: pl.DataFrame, label: str) -> Bench:
    return bench(model, torch=False, data=table, text="words", label=label, batch=2, rounds=1, provider="cpu")


def test_entity_f1_and_accuracy_of_a_real_export(model: Path) -> None:
    """Padded batches, cut words and all: what one says by hand of each row alone."""
    table = pl.DataFrame({"words": WORDS, "tags": LABELS})
    report = run(model, table, "tags")  # the one output there is
    row, predicted = report.rows[0], said(model)
    gold = [[TAGS.index(tag) for tag in each] for each in LABELS]
    hits = sum(int(p == g) for one, other in zip(predicted, gold, strict=True) for p, g in zip(one, other, strict=True))
    assert row.failure == "" and row.heads["logits"].accuracy == pytest.approx(hits / 11)
    assert 0 < hits < 11, "neither all nor nothing"
    right = there = found = 0
    for one, other in zip(predicted, gold, strict=True):
        a, b = ({*_spans([TAGS[n] for n in each])} for each in (one, other))
        right, found, there = right + len(a & b), found + len(a), there + len(b)
    assert row.heads["logits"].f1 == pytest.approx(2 * right / (found + there))
    assert {entry["class"] for entry in report.classes["logits"]} <= {"PER", "ORG"}


def _spans(tags: list[str]) -> list[tuple[str, int, int]]:
    """As conlleval reads them: a span goes on while B or I of its type is followed by I of it."""
    spans: list[tuple[str, int, int]] = []
    for i, tag in enumerate(tags):
        if tag == "O":
            continue
        goes_on = i > 0 and tag.startswith("I") and tags[i - 1][2:] == tag[2:]
        spans = [*spans[:-1], (tag[2:], spans[-1][1], i)] if goes_on else [*spans, (tag[2:], i, i)]
    return spans


def test_numbers_and_ignored_words_count_as_transformers_has_them(model: Path) -> None:
    numbers = [[TAGS.index(tag) for tag in row] for row in LABELS]
    numbers[1][1] = numbers[0][0] = -100
    row = run(model, pl.DataFrame({"words": WORDS, "tags": numbers}), "logits=tags").rows[0]
    kept = [(p, g) for one, other in zip(said(model), numbers, strict=True) for p, g in zip(one, other, strict=True)]
    kept = [(p, g) for p, g in kept if g != -100]
    assert len(kept) == 9 and row.heads["logits"].accuracy == pytest.approx(np.mean([p == g for p, g in kept]))


def test_words_divided_by_blanks_and_their_first_tokens(checkpoint: Path) -> None:
    table = pl.DataFrame({"text": [" ".join(row) for row in WORDS], "tags": LABELS})
    made = load_workload(table, checkpoint=checkpoint, labels={"logits": "tags"}, classes={"logits": TAGS})
    assert made.rows[0]["input_ids"].tolist() == [2, 4, 4, 5, 6, 3]
    assert made.gold["logits"][0].tolist() == [-1, 1, 2, -1, 0, -1, -1, -1, -1], "9 tokens in the longest row"
    cut = load_workload(table, checkpoint=checkpoint, labels={"logits": "tags"}, classes={"logits": TAGS}, max_length=4)
    assert cut.gold["logits"].shape == (4, 4) and cut.gold["logits"][0].tolist() == [-1, 1, 2, -1]


@pytest.mark.parametrize("left", [False, True])
def test_logits_are_taken_at_the_labelled_tokens(left: bool, checkpoint: Path) -> None:
    from dataclasses import replace

    table = pl.DataFrame({"text": WORDS, "tags": LABELS})
    made = load_workload(table, checkpoint=checkpoint, labels={"logits": "tags"}, classes={"logits": TAGS})
    made = replace(made, pad_left=left)
    batch = made.batches(2)[0]
    at = np.broadcast_to(batch.arrays["input_ids"][:, :, None], (*batch.arrays["input_ids"].shape, 5))
    assert made.labelled("logits", at, 0)[:, 0].tolist() == [4, 4, 6, 6, 6, 8, 8, 4], "the first piece of each word"
    with pytest.raises(ValueError, match="one a token"):
        made.labelled("logits", at[:, 0], 0)


def test_a_row_with_too_few_labels_is_named(checkpoint: Path) -> None:
    table = pl.DataFrame({"text": WORDS, "tags": [LABELS[0], LABELS[1][:3], *LABELS[2:]]})
    with pytest.raises(OnnxfixError, match="row 2 has 3 labels of head 'logits' for 5 words"):
        load_workload(table, checkpoint=checkpoint, labels={"logits": "tags"}, classes={"logits": TAGS})


def test_a_label_of_no_output_is_an_error_that_says_which(model: Path) -> None:
    with pytest.raises(OnnxfixError, match=r"no output 'kind' to label; its outputs: logits; .*label='logits=tags'"):
        run(model, pl.DataFrame({"words": WORDS, "tags": LABELS}), "kind=tags")
