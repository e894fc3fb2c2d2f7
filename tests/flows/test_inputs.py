"""What a caller gives as inputs: an error speaks of the parameter it was given as, and nothing given is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import numpy as np
import polars as pl
import pytest
from terminal import onnxfix as command

import onnxfix
from onnxfix.eval import demo
from onnxfix.flows.bench.data import Wanted, workload
from onnxfix.flows.inputs import feeds_of
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.provenance import Provenance

X = np.ones((2, 4), dtype=np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    weight = {"w": np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)}
    made = graphs.model("g (float[batch,4] x) => (float[batch,4] y) { y = MatMul(x, w) }", weight)
    return made.save(tmp_path / "model.onnx")


GIVEN: list[tuple[Any, str]] = [
    ([], "is empty"),
    (3, "is of type int, which is no feed; a feed is a dict of the model's inputs by name, numpy arrays"),
    (X, "is of type ndarray, which is no feed"),
    ([X], "is of type list of ndarray, which is no feed"),
    ({"x": X.tolist()}, "is of type list, not an array; make it one with numpy.asarray"),
    ([{"x": X}, {"x": 1.0}], "input 'x' of feed 2 in "),
    (pl.Series([1.0]), "is a polars Series, not a DataFrame"),
    (pl.LazyFrame({"text": ["a"]}), "is a polars LazyFrame, not a DataFrame; collect() it"),
    ("nope.npz", "='nope.npz' does not exist"),
]


@pytest.mark.parametrize(("given", "message"), GIVEN, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("name", ["feeds", "calibrate"])
def test_what_is_no_feed_is_said_of_the_parameter_that_was_given(
    name: str, given: Any, message: str, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(OnnxfixError) as raised:
        onnxfix.repair(model, output=tmp_path / "out.onnx", **{name: given})
    other = {"feeds": "calibrate", "calibrate": "feeds"}[name]
    said = str(raised.value)
    assert name in said and other not in said and "data" not in said.replace("DataFrame", "")
    if name == "calibrate" or "polars" not in message:
        assert message in said
    assert not (tmp_path / "out.onnx").exists()


def test_feeds_that_are_arrays_are_taken(model: Path, tmp_path: Path) -> None:
    done = onnxfix.repair(model, output=tmp_path / "out.onnx", feeds=[{"x": X}], calibrate={"x": X})
    assert done.output is not None and done.output.exists()


@pytest.mark.parametrize("name", ["calibrate", "feeds"])
def test_a_missing_file_is_said_of_the_option_that_named_it(name: str, model: Path) -> None:
    done = command("repair", model, f"--{name}", "nope.npz")
    assert done.returncode == 2 and f"--{name} nope.npz does not exist" in done.stderr


@pytest.mark.parametrize("ending", ["csv", "parquet", "txt"])
def test_a_table_is_said_of_the_option_that_named_it(ending: str, model: Path, tmp_path: Path) -> None:
    repaired = command("repair", model, "--calibrate", f"nope.{ending}", "--checkpoint", tmp_path)
    assert repaired.returncode == 2 and "--calibrate" in repaired.stderr and "--data" not in repaired.stderr
    diagnosed = command(
        "diagnose", model, "--against", model, "--calibrate", f"nope.{ending}", "--checkpoint", tmp_path
    )
    assert diagnosed.returncode == 2 and "--calibrate" in diagnosed.stderr and "--data" not in diagnosed.stderr
    benched = command("bench", model, "--no-torch", "--data", f"nope.{ending}", "--checkpoint", tmp_path)
    assert benched.returncode == 2 and "--data" in benched.stderr and "--calibrate" not in benched.stderr


def test_a_table_of_bench_is_a_frame(model: Path) -> None:
    given: Any = pl.LazyFrame({"text": ["a"]})
    with pytest.raises(OnnxfixError, match=r"data is a polars LazyFrame, not a DataFrame; collect\(\) it"):
        onnxfix.bench(model, data=given)
    given = {"text": ["a"]}
    with pytest.raises(OnnxfixError, match="data is of type dict, not a table; give a polars DataFrame"):
        onnxfix.bench(model, data=given)


@pytest.mark.parametrize(("rows", "longest"), [(64, 64), (300, 192)])
def test_texts_are_no_longer_than_the_model_has_positions_for(rows: int, longest: int, tmp_path: Path) -> None:
    """Where its tokenizer, which says 192, knows nothing of that: in a bench, made up or of a table, and in ranges."""
    text = """g (int64[batch,sequence] input_ids, int64[batch,sequence] attention_mask) => (float[batch,sequence,8] y) {
        words = Gather(table, input_ids)
        length = Shape<start = 1, end = 2>(input_ids)
        first = Constant<value_ints = [0]>()
        second = Constant<value_ints = [1]>()
        taken = Slice(numbers, first, length, second)
        places = Gather(positions, taken)
        y = Add(words, places)
    }"""
    weights = {"table": np.ones((8000, 8), np.float32), "positions": np.ones((rows, 8), np.float32)}
    path = graphs.model(text, weights | {"numbers": np.arange(rows)[None]}).save(tmp_path / "model.onnx")
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).write_bytes((demo.CHECKPOINT / name).read_bytes())
    table = pl.DataFrame({"text": ["word " * 400]})
    made_up = workload(Wanted(checkpoint=checkpoint), Provenance(str(checkpoint)), [path])
    given = workload(Wanted(checkpoint=checkpoint, data=table), Provenance(str(checkpoint)), [path])
    (feed,) = feeds_of(table, path, checkpoint=checkpoint, text="text", rows=8)
    assert longest - 16 < max(len(row["input_ids"]) for row in made_up.rows) <= longest
    assert len(given.rows[0]["input_ids"]) == feed.arrays["input_ids"].shape[1] == longest
