"""The bundled demo model is worth diagnosing: it beats its baseline, uses its layers, and loads offline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from demo_model.batches import Rows, rows_of
from demo_model.evaluate import ablations, scores
from demo_model.labels import HEADS
from demo_model.tokenizer import encode
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from onnxfix.eval.demo import CHECKPOINT, HERE, HOLDOUT, RECORD
from onnxfix.eval.demo.model import MultiHeadClassifier

FLOOR = 0.80
MAX_BYTES = 12_000_000


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def model() -> MultiHeadClassifier:
    return MultiHeadClassifier.load(CHECKPOINT, torch.float32, "sdpa")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(CHECKPOINT, local_files_only=True)
    return loaded


@pytest.fixture(scope="module")
def holdout() -> pl.DataFrame:
    return pl.read_parquet(HOLDOUT)


@pytest.fixture(scope="module")
def rows(holdout: pl.DataFrame, tokenizer: PreTrainedTokenizerFast) -> Rows:
    return rows_of(holdout, encode(tokenizer, holdout["text"]))


@pytest.fixture(scope="module")
def intact(model: MultiHeadClassifier, rows: Rows) -> dict[str, float]:
    return scores(model, rows)


@pytest.fixture(scope="module")
def ablated(model: MultiHeadClassifier, rows: Rows) -> dict[str, dict[str, float]]:
    return ablations(model, rows)


@pytest.mark.parametrize("head", HEADS)
def test_macro_f1_reaches_floor_and_baseline(head: str, intact: dict[str, float], record: dict[str, Any]) -> None:
    assert intact[head] >= FLOOR
    assert intact[head] >= record["baseline"][head]["holdout"]


@pytest.mark.parametrize("head", HEADS)
def test_recorded_f1_is_the_checkpoints(head: str, intact: dict[str, float], record: dict[str, Any]) -> None:
    # One row of 1,200 that flips on another processor moves macro F1 by about 0.001.
    assert intact[head] == pytest.approx(record["macro_f1"]["holdout"][head], abs=0.003)


def test_attention_is_used(intact: dict[str, float], ablated: dict[str, dict[str, float]]) -> None:
    assert max(intact[head] - ablated["attention"][head] for head in HEADS) >= 0.2


def test_mlp_is_used(intact: dict[str, float], ablated: dict[str, dict[str, float]]) -> None:
    assert max(intact[head] - ablated["mlp"][head] for head in HEADS) >= 0.03


def test_holdout_has_all_rows_and_labels(holdout: pl.DataFrame) -> None:
    assert holdout.columns == ["text", "category", "spec", "package"]
    assert len(holdout) == 1200
    assert {head: set(holdout[head]) for head in HEADS} == {head: set(labels) for head, labels in HEADS.items()}


def test_holdout_rows_vary_in_length(rows: Rows) -> None:
    lengths = [len(ids) for ids in rows.ids]
    assert max(lengths) <= 200
    assert sum(length > 64 for length in lengths) >= 120  # a tenth outgrows the local attention window


def test_tokenizer_frames_and_pads(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = encode(tokenizer, ["a library for reading images"])[0]
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert tokenizer.pad_token_id == 0


def test_model_has_both_attention_kinds(model: MultiHeadClassifier) -> None:
    config = model.config
    assert set(config.layer_types) == {"full_attention", "sliding_attention"}
    thetas = {kind: rope["rope_theta"] for kind, rope in config.rope_parameters.items()}
    assert thetas == {"full_attention": 160000.0, "sliding_attention": 10000.0}


def test_save_and_load_round_trip(model: MultiHeadClassifier, rows: Rows, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = MultiHeadClassifier.load(tmp_path, torch.float32, "eager")
    ids = torch.tensor([rows.ids[0]])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        for first, second in zip(model(ids, mask), again(ids, mask), strict=True):
            torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)


def test_bundle_is_small() -> None:
    files = [path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES


def test_package_import_is_light() -> None:
    code = "import sys, onnxfix.eval.demo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
