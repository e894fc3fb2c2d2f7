"""Feeds made up for any model fit it, stay within its tables, and differ in shape; feeds from files are checked."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.eval.inputs.feed_files import check_feed, load_feeds
from onnxfix.eval.inputs.feeds import Feed, make_feeds
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.eval.run.session import on_disk
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model


def model_of(text: str, folder: Path, initializers: dict[str, np.ndarray] | None = None) -> Model:
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 18]>\n' + text)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in (initializers or {}).items())
    path = folder / "model.onnx"
    onnx.save(proto, path)
    return Model.open(path)


ENCODER = """
g (int64[batch, sequence] input_ids, int64[batch, sequence] attention_mask, int64[batch, sequence] token_type_ids,
   int64[batch, sequence] position_ids) => (float[batch, sequence, 4] y) {
  wide = Cast<to=7>(input_ids)
  words = Gather<axis=0>(words_table, wide)
  segments = Gather<axis=0>(segment_table, token_type_ids)
  positions = Gather<axis=0>(position_table, position_ids)
  a = Add(words, segments)
  b = Add(a, positions)
  axes = Constant<value_ints=[-1]>()
  mask = Cast<to=1>(attention_mask)
  mask3 = Unsqueeze(mask, axes)
  y = Mul(b, mask3)
}
"""


def tables(words: int = 30, positions: int = 600) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = {"words_table": words, "segment_table": 2, "position_table": positions}
    return {name: rng.standard_normal((n, 4)).astype(np.float32) for name, n in rows.items()}


def test_a_text_encoder_gets_three_shapes_padding_and_512_tokens(tmp_path: Path) -> None:
    feeds = make_feeds(model_of(ENCODER, tmp_path, tables()))
    assert [f.name for f in feeds] == ["unpadded", "padded", "long"]
    shapes = [f.arrays["input_ids"].shape for f in feeds]
    assert len({s[0] for s in shapes}) == 3
    assert len({s[1] for s in shapes}) == 3
    assert shapes[2][1] == 512
    unpadded, padded, _ = (f.arrays["attention_mask"] for f in feeds)
    assert unpadded.all()
    assert np.all(np.diff(padded, axis=1) <= 0), "padding is at the right"
    assert padded[0].all()
    assert 0 < padded[-1].sum() < padded.shape[1]


def test_integers_stay_within_the_tables_they_index(tmp_path: Path) -> None:
    for feed in make_feeds(model_of(ENCODER, tmp_path, tables(words=30))):
        assert feed.arrays["input_ids"].max() < 30
        assert set(np.unique(feed.arrays["token_type_ids"])) <= {0, 1}
        assert np.array_equal(feed.arrays["position_ids"][0], np.arange(feed.arrays["position_ids"].shape[1]))


def test_the_vocabulary_is_used(tmp_path: Path) -> None:
    assert make_feeds(model_of(ENCODER, tmp_path, tables(words=30)))[2].arrays["input_ids"].max() > 20


@pytest.mark.parametrize(("rows", "expected"), [(128, 128), (130, 128), (40, 40)])
def test_a_position_table_given_as_input_or_not_limits_the_length(tmp_path: Path, rows: int, expected: int) -> None:
    text = """
    g (int64[batch, sequence] input_ids) => (float[batch, sequence, 4] y) {
      words = Gather<axis=0>(words_table, input_ids)
      shape = Shape(input_ids)
      one = Constant<value_int=1>()
      zero = Constant<value_int=0>()
      length = Gather<axis=0>(shape, one)
      range = Range(zero, length, one)
      positions = Gather<axis=0>(position_table, range)
      y = Add(words, positions)
    }
    """
    feeds = make_feeds(model_of(text, tmp_path, tables(positions=rows)))
    lengths = [f.arrays["input_ids"].shape[1] for f in feeds]
    assert max(lengths) == expected
    assert len(set(lengths)) == 3


def test_the_feeds_run_and_are_reproducible(tmp_path: Path) -> None:
    model = model_of(ENCODER, tmp_path, tables())
    with on_disk(model) as path:
        runner = OrtRunner(path)
        for feed, again in zip(make_feeds(model), make_feeds(model), strict=True):
            check_feed(model, feed)
            assert runner.run(feed.arrays)["y"].shape == (*feed.arrays["input_ids"].shape, 4)
            assert all(np.array_equal(feed.arrays[k], again.arrays[k]) for k in feed.arrays)
        runner.close()


def test_other_models_named_and_static_dimensions(tmp_path: Path) -> None:
    float32, float16, int64 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64
    inputs = {
        "pixel_values": (float32, ["batch", 3, "height", "width"]),
        "past_key_values.0.key": (float32, ["batch", 2, "past_sequence_length", 4]),
        "attention_mask": (int64, ["batch", "past_sequence_length + 1"]),  # as optimum names it
        "flag": (onnx.TensorProto.BOOL, []),
        "half": (float16, ["batch", 7]),
        "square": (onnx.TensorProto.UINT8, ["N", "N"]),
    }
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["pixel_values"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info(name, *declared) for name, declared in inputs.items()],
        [onnx.helper.make_tensor_value_info("y", float32, ["batch", 3, "height", "width"])],
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    feeds = make_feeds(Model.open(tmp_path / "model.onnx"))
    assert len(feeds) == 2
    for feed in feeds:
        batch = feed.arrays["pixel_values"].shape[0]
        past = feed.arrays["past_key_values.0.key"]
        assert past.shape[:2] == (batch, 2)
        assert feed.arrays["attention_mask"].shape == (batch, past.shape[2] + 1)
        assert feed.arrays["half"].shape == (batch, 7)
        assert feed.arrays["half"].dtype == np.float16
        assert feed.arrays["square"].shape[0] == feed.arrays["square"].shape[1]
        assert feed.arrays["flag"].shape == ()
        assert feed.arrays["flag"].dtype == np.bool_
    assert feeds[0].arrays["pixel_values"].shape != feeds[1].arrays["pixel_values"].shape


def test_a_string_input_is_refused_with_the_way_out(tmp_path: Path) -> None:
    model = model_of("g (string[N] words) => (string[N] y) { y = Identity(words) }", tmp_path)
    with pytest.raises(OnnxfixError, match=r"'words'.*string.*feeds='FILE"):
        make_feeds(model)


def test_feeds_from_a_file(tmp_path: Path) -> None:
    ids = np.ones((2, 3), dtype=np.int64)
    np.savez(tmp_path / "one.npz", input_ids=ids)
    assert [(f.name, list(f.arrays)) for f in load_feeds(tmp_path / "one.npz")] == [("one", ["input_ids"])]
    np.savez(tmp_path / "two.npz", **{"short/input_ids": ids, "long/input_ids": np.tile(ids, 4)})
    assert [f.name for f in load_feeds(tmp_path / "two.npz")] == ["short", "long"]


@pytest.mark.parametrize("content", [None, b"", b"not a zip", b"PK\x03\x04 cut"])
def test_a_bad_feeds_file_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "feeds.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OnnxfixError, match=r"feeds\.npz"):
        load_feeds(path)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "feeds.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(OnnxfixError, match="plain arrays"):
        load_feeds(tmp_path / "feeds.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": None}, "lacks input_ids"),
        ({"extra": np.zeros(1)}, "unknown input extra"),
        ({"input_ids": np.zeros((2, 5), np.int32)}, "int32"),
        ({"input_ids": np.zeros(5, np.int64)}, "rank 1"),
        ({"input_ids": np.zeros((2, 6), np.int64)}, "sequence"),
    ],
)
def test_a_feed_that_does_not_fit_is_named(tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    model = model_of(ENCODER, tmp_path, tables())
    names = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    arrays = {name: np.zeros((2, 5), np.int64) for name in names} | change
    with pytest.raises(OnnxfixError, match=message):
        check_feed(model, Feed("mine", {k: v for k, v in arrays.items() if v is not None}))


def test_draws_are_many_small_feeds_louder_and_softer(tmp_path: Path) -> None:
    model = model_of("g (float[b, frames, 8] x) => (float[b, frames, 8] y) { y = Relu(x) }", tmp_path)
    draws = make_feeds(model, draws=64)
    assert len(draws) == 64 and all(feed.drawn and feed.arrays["x"].shape[0] == 1 for feed in draws)
    assert {feed.arrays["x"].shape[1] for feed in draws} == {17, 43, 160, 512}
    deviations = sorted(float(feed.arrays["x"].std()) for feed in draws)
    assert deviations[0] < 0.04 and 0.8 < deviations[-1] < 1.2
    again = make_feeds(model, draws=64)
    assert all(np.array_equal(a.arrays["x"], b.arrays["x"]) for a, b in zip(draws, again, strict=True))
    assert not any(feed.drawn for feed in make_feeds(model))


def test_nothing_is_drawn_without_inputs(tmp_path: Path) -> None:
    assert (
        make_feeds(model_of("g () => (float[2] y) { y = Constant<value_floats=[1.0, 2.0]>() }", tmp_path), draws=8)
        == []
    )


RATES = """
g (float[b, n] x, int64 rate) => (float[b, n] y) {
  known = Constant<value_ints=[16000]>()
  wide = Cast<to=7>(rate)
  one = Constant<value_ints=[1]>()
  flat = Reshape(wide, one)
  first = Constant<value_int=0>()
  only = Gather<axis=0>(flat, first)
  is = Equal(only, known)
  scalar = Squeeze(is)
  y = If(scalar)<then_branch = t () => (float[b, n] u) { u = Relu(x) },
                 else_branch = e () => (float[b, n] v) { v = Neg(x) }>
}
"""


def test_a_setting_gets_the_number_that_the_model_knows(tmp_path: Path) -> None:
    """And in draws now and then another one, so that the other branch is compared, too."""
    model = model_of(RATES, tmp_path)
    assert [int(feed.arrays["rate"]) for feed in make_feeds(model)] == [16000, 16000]
    drawn = [int(feed.arrays["rate"]) for feed in make_feeds(model, draws=32)]
    assert 4 < drawn.count(16000) < 28 and set(drawn) <= {0, 1, 16000}


def test_other_inputs_are_no_settings(tmp_path: Path) -> None:
    """Floats, and several integers, which are of several kinds."""
    text = """g (CHANGE) => (bool[n] y) { known = Constant<value_ints=[7]>() wide = Cast<to=7>(rate)
        y = Equal(wide, known) }"""
    feeds = make_feeds(model_of(text.replace("CHANGE", "float rate"), tmp_path))
    assert all(float(np.abs(feed.arrays["rate"]).max()) < 7 for feed in feeds)
    drawn = make_feeds(model_of(text.replace("CHANGE", "int64[9] rate"), tmp_path), draws=32)
    assert {int(n) for feed in drawn for n in feed.arrays["rate"]} == {0, 1, 6, 7, 8}


def test_an_input_of_too_many_numbers_is_refused_before_they_are_drawn() -> None:
    """A fuzzed Reshape asks for two million tokens: a dozen such feeds took minutes."""
    sizes = "<int64[4] split = {0, 2097152, 3, 8}>"
    text = f"g (float[b,n,24] x) => (float[b,m,3,8] y) {sizes} {{ y = Reshape(x, split) }}"
    model = graphs.model(text)
    with pytest.raises(OnnxfixError, match="its shape is 2x2097152x24; state a smaller one"):
        make_feeds(model)
