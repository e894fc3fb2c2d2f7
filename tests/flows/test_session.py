"""onnxfix.Session: outputs in the order given, each row as if it had been alone; errors that name the row."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import onnx_ir
import pytest

import onnxfix
from onnxfix.eval.serve.bindings import Bindings
from onnxfix.nouns.model import Model

RNG = np.random.default_rng(0)
WORDS, WIDTH = 40, 4
WEIGHTS = {"table": RNG.normal(size=(WORDS, WIDTH)).astype(np.float32)}
# Per token, of pairs of tokens, and pooled over the real ones.
BODY = """{
    e = Gather(table, input_ids)
    real = Cast<to = 1>(attention_mask)
    last = Constant<value_ints = [-1]>()
    one = Constant<value_ints = [1]>()
    column = Unsqueeze(real, last)
    tokens = Mul(e, column)
    turned = Transpose<perm = [0, 2, 1]>(tokens)
    pairs = MatMul(tokens, turned)
    sum = ReduceSum<keepdims = 0>(tokens, one)
    count = ReduceSum<keepdims = 1>(real, one)
    pooled = Div(sum, count)
}"""
IDS = "int64[batch,seq] input_ids, int64[batch,seq] attention_mask"
OUT = "float[batch,seq,4] tokens, float[batch,seq,seq] pairs, float[batch,4] pooled"
ROWS = [RNG.integers(1, WORDS, n).tolist() for n in (3, 12, 1, 7, 7, 2, 12, 5)]


def made(inputs: str = IDS, outputs: str = OUT, body: str = BODY, weights: Any = None) -> Model:
    return graphs.model(f"g ({inputs}) => ({outputs}) {body}", WEIGHTS | (weights or {}))


def session(model: Model | None = None, **options: Any) -> onnxfix.Session:
    return onnxfix.Session(graphs.proto_of(model or made()), threads=1, **options)


def right(out: Any, rows: list[list[int]] = ROWS) -> None:
    """All three outputs, row by row, as numpy has them."""
    assert len(out["tokens"]) == len(out["pairs"]) == len(out["pooled"]) == len(rows)
    for at, row in enumerate(rows):
        expected = WEIGHTS["table"][row]
        np.testing.assert_allclose(out["tokens"][at], expected, atol=1e-6)
        np.testing.assert_allclose(out["pairs"][at], expected @ expected.T, atol=1e-5)
        np.testing.assert_allclose(out["pooled"][at], expected.mean(0), atol=1e-6)


@pytest.mark.parametrize("budget", [1, 13, 24, 10_000])
def test_outputs_are_in_the_order_given_and_cut_to_their_rows(budget: int) -> None:
    out = session(max_tokens=budget).run_tokens(ROWS)
    right(out)
    assert isinstance(out["pooled"], np.ndarray) and isinstance(out["tokens"], list)
    assert all(array.base is None for array in out["tokens"]), "no row holds on to the padding of its batch"


def test_a_model_is_a_path_or_in_memory(tmp_path: Path) -> None:
    path = made().save(tmp_path / "m.onnx")
    for given in (path, str(path), onnx.load(path), onnx_ir.load(path)):
        with onnxfix.Session(given) as opened:
            right(opened.run_tokens(ROWS))


def test_names_of_axes_that_say_nothing() -> None:
    """Found by running it at two sizes."""
    right(session(made(outputs="float[a,b,4] tokens, float[c,d,e] pairs, float[f,g] pooled")).run_tokens(ROWS))


@pytest.mark.parametrize("inputs", ["int64[3,seq] input_ids, int64[3,seq] attention_mask",
                                    "int64[batch,16] input_ids, int64[batch,16] attention_mask",
                                    "int64[1,12] input_ids, int64[1,12] attention_mask"])  # fmt: skip
def test_sizes_that_a_model_bakes(inputs: str) -> None:
    rows, length = inputs.removeprefix("int64[").partition("]")[0].split(",")
    opened = session(made(inputs, f"float[{rows},{length},4] tokens, float[{rows},4] pooled"))
    for name, array in opened.run_tokens(ROWS).items():
        expected = [WEIGHTS["table"][row] if name == "tokens" else WEIGHTS["table"][row].mean(0) for row in ROWS]
        for found, wanted in zip(array, expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_types_are_those_of_the_model() -> None:
    right(session(made("int32[batch,seq] input_ids, float[batch,seq] attention_mask")).run_tokens(ROWS))


def test_without_a_mask_no_row_is_padded() -> None:
    """The mean would be of the padding too."""
    body = "{ e = Gather(table, input_ids) axis = Constant<value_ints = [1]>() y = ReduceMean<keepdims = 0>(e, axis) }"
    out = session(made("int64[batch,seq] input_ids", "float[batch,4] y", body)).run_tokens(ROWS)
    np.testing.assert_allclose(out["y"], [WEIGHTS["table"][row].mean(0) for row in ROWS], atol=1e-6)


def test_inputs_that_are_not_given_are_made() -> None:
    body = "{ a = Gather(table, input_ids) b = Gather(kinds, token_type_ids) c = Gather(places, position_ids) " + (
        "ab = Add(a, b) abc = Add(ab, c) m = Cast<to = 1>(attention_mask) last = Constant<value_ints = [-1]>() "
        "w = Unsqueeze(m, last) y = Mul(abc, w) }"
    )
    more = {
        "kinds": RNG.normal(size=(2, WIDTH)).astype(np.float32),
        "places": RNG.normal(size=(64, WIDTH)).astype("f4"),
    }
    names = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    inputs = ", ".join(f"int64[batch,seq] {name}" for name in names)
    opened = session(made(inputs, "float[batch,seq,4] y", body, more), max_tokens=20)
    kinds = [[at % 2 for at in range(len(row))] for row in ROWS]
    for given, segments in ((ROWS, [[0] * len(row) for row in ROWS]),
                            ({"input_ids": ROWS, "token_type_ids": kinds}, kinds)):  # fmt: skip
        for row, segment, y in zip(ROWS, segments, opened.run_tokens(given)["y"], strict=True):
            expected = WEIGHTS["table"][row] + more["kinds"][segment] + more["places"][: len(row)]
            np.testing.assert_allclose(y, expected, atol=1e-6)


def test_no_rows_and_one() -> None:
    opened = session()
    empty = opened.run_tokens([])
    assert empty["tokens"] == [] and empty["pooled"].shape == (0, 4) and empty["pooled"].dtype == np.float32
    right(opened.run_tokens(ROWS[:1]), ROWS[:1])
    right(opened.run_tokens(np.array(ROWS[3:5])), ROWS[3:5])


def test_wanted_outputs_alone() -> None:
    assert list(session(outputs=["pooled"]).run_tokens(ROWS)) == ["pooled"]
    several = made(outputs="float[batch,seq,4] tokens, float[n,4] pooled, float[r,c] count")
    assert set(session(several).run_tokens(ROWS)) == {"tokens", "pooled", "count"}


def test_an_output_that_is_of_no_row() -> None:
    whole = made(outputs="float[batch,4] pooled, int64[n] size", body=BODY.replace("}", "size = Shape(pooled) }"))
    with pytest.raises(onnxfix.OnnxfixError, match="output 'size' cannot be divided among rows"):
        session(whole)
    assert session(whole, outputs="pooled").run_tokens(ROWS)["pooled"].shape == (8, 4)


def test_what_a_file_says_of_its_outputs_and_is_not_so() -> None:
    """Half of the tokens would be cut to the length of the row, and nobody would know."""
    body = BODY.replace("}", "begin = Constant<value_ints = [0]>() end = Constant<value_ints = [2]>() "
                             "first = Slice(tokens, begin, end, one) }")  # fmt: skip
    model = made(outputs="float[batch,seq,4] first", body=body)
    with pytest.raises(
        onnxfix.OnnxfixError, match=r"'first' is of shape \(1, 2, 4\) for 1 × 12 tokens, which the file"
    ):
        session(model, max_tokens=12).run_tokens(ROWS)


def test_inputs_may_be_called_otherwise() -> None:
    body = BODY.replace("input_ids", "tokens_in").replace("attention_mask", "input_mask")
    opened = session(made(IDS.replace("input_ids", "wordids").replace("attention_mask", "input_mask"),
                          body=body.replace("tokens_in", "wordids")), tokenizer=Numbers())  # fmt: skip
    right(opened.run_tokens(ROWS))
    right(opened([" ".join(map(str, row)) for row in ROWS]))


class Numbers:
    """A tokenizer of numbers, as transformers' are called."""

    def __call__(self, texts: list[str], **how: Any) -> dict[str, list[list[int]]]:
        ids = [[int(word) for word in text.split()] for text in texts]
        return {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}


def test_it_may_be_called_from_several_threads() -> None:
    opened, found = session(max_tokens=20), {}

    def call(number: int) -> None:
        found[number] = opened.run_tokens(ROWS[number:])

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        right(found[number], ROWS[number:])


def test_buffers_are_kept_by_shape() -> None:
    """As on a device; here they lie on the host."""
    opened = session(max_tokens=20)
    bindings = Bindings(opened._runner.session, opened.output_names, "cpu", "m")
    opened._run = bindings.run
    for _ in range(2):
        right(opened.run_tokens(ROWS))
        right(opened.run_tokens(ROWS[::-1]), ROWS[::-1])
    shapes = [dict(key)["input_ids"] for key in bindings._kept]
    assert sorted(shapes) == [(1, 12), (2, 7), (4, 5)], "of 16 runs"


TABLE = {"places": np.zeros((32, WIDTH), np.float32), "positions": np.arange(32)[None]}
PLACED = BODY.replace("tokens = Mul(e, column)", """
    begin = Constant<value_ints = [0]>()
    size = Shape<start = 1, end = 2>(input_ids)
    here = Slice(positions, begin, size, one)
    position = Gather(places, here)
    placed = Add(e, position)
    tokens = Mul(placed, column)""")  # fmt: skip
ANGLES = {name: np.ones((24, 2), np.float32) for name in ("cos", "sin")}
TURNED = BODY.replace("tokens = Mul(e, column)", """
    place = Constant<value_ints = [0]>()
    turned_e = com.microsoft.RotaryEmbedding<num_heads = 1>(e, place, cos, sin)
    tokens = Mul(turned_e, column)""")  # fmt: skip
WRONG = {
    "long": (lambda: session(made(body=PLACED, weights=TABLE)).run_tokens([[1], [2] * 33]),
             r"rows\[1\] has 33 tokens and the model takes 32; shorten it, or have texts cut with max_length=32"),
    "long for its angles": (
        lambda: session(made(body=TURNED, weights=ANGLES)).run_tokens([[1] * 24, [1] * 25]),
        r"rows\[1\] has 25 tokens and the model takes 24"),
    "long for what is baked": (
        lambda: session(made(IDS.replace("seq", "8"), OUT.replace("seq", "8"))).run_tokens([[1] * 9]),
        r"rows\[0\] has 9 tokens and the model takes 8"),
    "empty": (lambda: session().run_tokens([[1], []]), r"rows\[1\] has no token"),
    "flat": (lambda: session().run_tokens([1, 2]), r"rows\[0\] is no row of whole numbers for 'input_ids'"),
    "floats": (lambda: session().run_tokens([[1], [0.5]]), r"rows\[1\] is no row of whole numbers"),
    "unlike": (lambda: session().run_tokens({"input_ids": [[1], [1, 2]], "attention_mask": [[1], [1]]}),
               r"rows\[1\] has not as many entries in 'attention_mask' as in 'input_ids'"),
    "fewer": (lambda: session().run_tokens({"input_ids": [[1], [1, 2]], "attention_mask": [[1]]}),
              r"rows\[1\] has not as many entries"),
    "unknown input": (lambda: session().run_tokens({"input_ids": [[1]], "x": [[1]]}), "model has no input 'x'"),
    "no ids": (lambda: session().run_tokens({"attention_mask": [[1]]}), "the input 'input_ids' is missing"),
    "no tokenizer": (lambda: session()(["a"]), "texts need a tokenizer; name its folder with tokenizer="),
    "no text": (lambda: session(tokenizer=print)(["a", None]), r"texts\[1\] is of type NoneType"),  # type: ignore[list-item]
    "no such tokenizer": (lambda: session(tokenizer="nowhere"), "nowhere has no tokenizer"),
    "odd tokenizer": (lambda: session(tokenizer=3)(["a"]), "tokenizer is of type int, which makes no tokens"),
    "unknown output": (lambda: session(outputs="y"), "the model has no output 'y'; its outputs are tokens, pairs"),
    "an id beyond the table": (lambda: session().run_tokens([[99]]), "fails in ONNX Runtime"),
    "an image": (lambda: onnxfix.Session(graphs.proto_of(graphs.model(
        "g (float[b,3,8,8] pixels) => (float[b,3,8,8] y) { y = Relu(pixels) }"))),
        "a session runs models of token ids.*'pixels' is none of these"),
    "max_tokens": (lambda: session(max_tokens=0), "max_tokens=0 is no whole number of 1 or more"),
    "provider": (lambda: session(provider="abacus"), "provider='abacus' is not known"),
    "no model": (lambda: onnxfix.Session("nowhere.onnx"), "nowhere.onnx does not exist"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "said"), WRONG.values(), ids=WRONG)
def test_errors_name_the_row_and_are_one_line(call: Any, said: str) -> None:
    with pytest.raises(onnxfix.OnnxfixError, match=said) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1 and " --" not in str(caught.value)


@pytest.mark.parametrize(("rows", "most"), [(32, 32), (34, 32), (77, 77)], ids=["BERT", "RoBERTa", "CLIP"])
def test_a_row_as_long_as_the_table_of_positions_runs(rows: int, most: int) -> None:
    """RoBERTa's has two rows more than tokens."""
    table = {"places": np.zeros((rows, WIDTH), np.float32), "positions": np.arange(rows)[None]}
    opened = session(made(body=PLACED, weights=table))
    given = [[5] * most, [7]]
    right(opened.run_tokens(given), given)
    with pytest.raises(onnxfix.OnnxfixError, match=f"has {most + 1} tokens and the model takes {most}"):
        opened.run_tokens([[5] * (most + 1)])


def test_a_closed_session_says_so() -> None:
    with session() as opened:
        right(opened.run_tokens(ROWS))
    with pytest.raises(onnxfix.OnnxfixError, match="is closed; open another"):
        opened.run_tokens(ROWS)
    assert repr(opened) == "<Session of model.onnx on cpu: batches of 512 tokens>"
