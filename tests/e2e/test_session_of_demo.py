"""The bundled model in a session: texts by its tokenizer, as one batch of the runtime alone has them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest

import onnxfix
from onnxfix.eval.demo import CHECKPOINT, HOLDOUT
from onnxfix.eval.inputs.text_workload import load_tokenizer
from onnxfix.nouns.errors import OnnxfixError

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "session_speed.py"
TEXTS = [str(text) for text in pl.read_parquet(HOLDOUT)["text"][:48]]


@pytest.fixture(scope="module")
def expected(exports: dict[str, Path]) -> dict[str, np.ndarray]:
    tokens = load_tokenizer(CHECKPOINT)(TEXTS, padding=True, return_tensors="np")
    session = onnxruntime.InferenceSession(exports["legacy"], providers=["CPUExecutionProvider"])
    feed = {each.name: tokens[each.name].astype(np.int64) for each in session.get_inputs()}
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, feed), strict=True))


def test_texts_by_a_folder_by_the_files_record_and_by_a_tokenizer(
    exports: dict[str, Path], expected: dict[str, np.ndarray]
) -> None:
    import tokenizers

    rust = tokenizers.Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    rust.enable_padding(length=300)
    for tokenizer in (CHECKPOINT, str(CHECKPOINT), None, load_tokenizer(CHECKPOINT), rust):
        with onnxfix.Session(exports["legacy"], tokenizer=tokenizer, max_tokens=512) as session:
            found = session(TEXTS)
            assert found.keys() == expected.keys()
            for name, logits in expected.items():
                np.testing.assert_allclose(found[name], logits, atol=1e-4)
            np.testing.assert_allclose(session(TEXTS[3])["category"], expected["category"][3:4], atol=1e-4)


def test_long_texts_are_cut_where_that_is_asked_for(exports: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(CHECKPOINT)
    ids = tokenizer(TEXTS, truncation=True, max_length=16)["input_ids"]
    with onnxfix.Session(exports["legacy"], tokenizer=tokenizer, max_length=16) as session:
        np.testing.assert_array_equal(session(TEXTS)["spec"], session.run_tokens(ids)["spec"])
        pair = session([(TEXTS[0], TEXTS[1])])["spec"]
        ids = tokenizer(TEXTS[0], TEXTS[1], truncation=True, max_length=16)["input_ids"]
        np.testing.assert_array_equal(pair, session.run_tokens([ids])["spec"])


def test_code_of_a_folder_is_not_run(exports: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["planted.Tokenizer", null]}}')
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Tokenizer: pass\n")
    with pytest.raises(OnnxfixError, match="tokenizer"):
        onnxfix.Session(exports["legacy"], tokenizer=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_benchmark_compares_it_with_batches_of_the_runtime(exports: dict[str, Path]) -> None:
    asked = ("--rows", "24", "--batch", "8", "--rounds", "1", "--threads", "1")
    command = [sys.executable, str(BENCHMARK), str(exports["legacy"]), *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr  # a time of 24 rows says nothing
    rows = {line[:15].strip(): line[15:].split() for line in done.stdout.splitlines()[2:5]}
    assert list(rows) == ["Session", "8 rows, padded", "8 rows, sorted"] and rows["Session"][2:] == ["1.00", "x"]
    assert all(float(row[0]) > 0 for row in rows.values())
    (worst,) = re.findall(r"largest difference of a result: (\S+);", done.stdout)
    assert float(worst) < 1e-4 and done.stdout.splitlines()[-1].startswith("24 rows of ")
