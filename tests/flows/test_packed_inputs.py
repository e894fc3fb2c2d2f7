"""`--packed-inputs`: a model that takes real tokens alone, held against its source, and run by a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from encoder_graphs import HEAD, MLP, WORDS, encoder, feeds, seeing
from oracle.runtime import Oracle

import onnxfix
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.serve.buckets import bucket, filled
from onnxfix.eval.serve.tokens import Padding
from onnxfix.flows.repair.naming import default_output
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery.passes import take_packed_tokens
from onnxfix.surgery.recipes import Wish
from onnxfix.surgery.written.unpacked import Batch

RNG = np.random.default_rng(5)
POOLED = MLP.replace("\n}", "\n    none = Constant<value_int = 0>() first = Gather<axis = 1>(y, none)"
                     " pooled = MatMul(first, up)\n}")  # fmt: skip
ROWS = [RNG.integers(1, WORDS, n).tolist() for n in (3, 12, 1, 7, 40, 7, 2, 12, 5)]


def source(kind: str = "a band") -> Model:
    head = HEAD.replace("y) {", "y, float[batch,40] pooled) {")
    return encoder(POOLED, head) if kind == "pooled" else seeing(kind)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return source().save(tmp_path / "model.onnx")


def inputs(model: Model) -> list[str]:
    return [str(value.name) for value in model.graph.inputs]


@pytest.mark.parametrize("int8", [None, "dynamic"])
def test_on_a_cpu(int8: Any, path: Path) -> None:
    done = onnxfix.optimize(path, packed_inputs=True, int8=int8, feeds=feeds(3, 13)[1])
    assert "; with packed inputs on " in done.verified and done.output is not None
    scheme = "-int8-dynamic" if int8 else ""
    assert done.output.name == f"model.fastest{scheme}-packed-inputs.onnx"
    assert inputs(Model.open(done.output)) == ["input_ids", "cu_seqlens", "token_offset"]
    assert not [f for f in done.after.findings if f.code in ("S002", "F004")]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_for_cuda_nothing_is_copied_and_no_kernel_waits(precision: Any, path: Path, oracle: Oracle) -> None:
    done = onnxfix.optimize(path, packed_inputs=True, target="cuda", precision=precision, feeds=feeds(3, 13)[1])
    assert done.output is not None and "; with packed inputs on 1 feed" in done.verified
    plan = oracle.plan(done.output)
    assert plan.error == "" and plan.copies == () and done.after.plan.copies == ()
    assert not {"NonZero", "Where"} & {op for provider, _, op in plan.nodes if provider == "CPUExecutionProvider"}
    assert "NonZero" not in graphs.op_types(Model.open(done.output))
    batches = onnxfix.optimize(path, target="cuda", precision=precision, feeds=feeds(3, 13)[1])
    assert batches.output is not None and "NonZero" in graphs.op_types(Model.open(batches.output))


def test_by_repair_and_its_name(path: Path) -> None:
    done = onnxfix.repair(path, target="cpu", precision="fp32", pack_tokens=True, packed_inputs=True)
    assert done.output is not None and done.output.name == "model.fp32.packed-inputs.onnx"
    again = Wish(Target.resolve("cpu"), "fp32")
    assert default_output(Path("model.fastest-packed-inputs.onnx"), again, "fused").name == "model.fused.onnx"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing packed": ({"target": "cpu", "precision": "fp32"}, "needs packed tokens"),
    "another runtime": ({"target": "openvino", "precision": "fp32", "recipe": "packed"}, "needs target='cpu' or "),
    "padding at the left": (
        {"target": "cpu", "precision": "fp32", "recipe": "packed", "feeds": feeds(3, 13)[2]}, "no feed has rows that"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str, path: Path) -> None:
    keywords, said = REFUSED[name]
    with pytest.raises(OnnxfixError, match=said):
        onnxfix.repair(path, packed_inputs=True, **keywords)
    assert list(path.parent.glob("*.onnx")) == [path]


def test_the_reason_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    """Verified or not: where nothing is packed, and where an output is made of ids at padding."""
    pooled = HEAD.replace("y) {", "y, float[batch,40] pooled) {")
    counted = HEAD.replace("y) {", "y, int64[batch] counted) {")
    counted = counted.replace("e0 = Gather", "counted = ReduceSum<keepdims = 0>(input_ids, ends) e0 = Gather")
    largest = POOLED.replace("Gather<axis = 1>(y, none)", "ReduceMax(y, ends)")
    models = {
        "reads what stands at tokens of": encoder(largest, pooled),
        "counted is made of input_ids": encoder(MLP, counted),
    }  # fmt: skip
    for at, (said, model) in enumerate(models.items()):
        path = model.save(tmp_path / f"{at}.onnx")
        for verify in (True, False):
            with pytest.raises(OnnxfixError, match=said):
                onnxfix.repair(path, target="cpu", precision="fp32", recipe="packed", packed_inputs=True, verify=verify)
    assert len(list(tmp_path.iterdir())) == len(models)


def test_outputs_of_other_axes(tmp_path: Path) -> None:
    """A number of the whole batch, features of two layers in front of rows, and the mask itself."""
    head = HEAD.replace("y) {", "y, float all, float[2,batch,24] both, int64[batch,sequence] twice) {")
    more = MLP.replace("\n}", """
    shown = Cast<to = 1>(attention_mask) all = ReduceSum<keepdims = 0>(shown) column = Unsqueeze(shown, last)
    weighed = Mul(y, column) first = ReduceSum<keepdims = 0>(weighed, ends) second = Neg(first)
    one = Unsqueeze(first, begin) two = Unsqueeze(second, begin) both = Concat<axis = 0>(one, two)
    twice = Add(attention_mask, attention_mask)
}""")  # fmt: skip
    path = encoder(more, head).save(tmp_path / "model.onnx")
    done = onnxfix.optimize(path, packed_inputs=True)
    assert done.output is not None
    wanted = ("both", "twice")
    expected = onnxfix.Session(path, threads=1, outputs=wanted).run_tokens(ROWS)
    for fills in (False, True):
        session = onnxfix.Session(done.output, threads=1, max_tokens=30, outputs=wanted)
        session._run = session._of_packed(session._runner.run, fills)
        found = session.run_tokens(ROWS)
        np.testing.assert_allclose(found["both"], expected["both"], atol=2e-4)
        assert all((one == other).all() for one, other in zip(found["twice"], expected["twice"], strict=True))


def test_a_mask_keeps_its_name_and_a_second_one_is_refused(tmp_path: Path) -> None:
    path = encoder(MLP, HEAD.replace("attention_mask", "mask0")).save(tmp_path / "model.onnx")
    done = onnxfix.optimize(path, packed_inputs=True)
    rows = [[1, 2, 3], [4, 5]]
    found = onnxfix.Session(done.output, threads=1).run_tokens({"input_ids": rows, "mask0": [[1, 1, 1], [1, 1]]})
    assert [len(each) for each in found["y"]] == [3, 2]
    more = "attention_mask, int64[batch,sequence] global_attention_mask)"
    head = HEAD.replace("attention_mask)", more, 1).replace("e = Add(e0, here)", """
    gf = Cast<to = 1>(global_attention_mask) gu = Unsqueeze(gf, last)
    e1 = Add(e0, here) e = Add(e1, gu)""")  # fmt: skip
    done = onnxfix.optimize(encoder(MLP, head).save(tmp_path / "two.onnx"), packed_inputs=True)
    with pytest.raises(OnnxfixError, match="its input 'global_attention_mask' is none of these"):
        onnxfix.Session(done.output)


def test_other_commands_of_a_packed_model(path: Path, tmp_path: Path) -> None:
    done = onnxfix.optimize(path, packed_inputs=True)
    assert done.output is not None
    with pytest.raises(OnnxfixError, match="takes packed tokens already"):
        onnxfix.optimize(done.output)
    loaded = OnnxRuntime().load(done.output, provider="cpu", threads=1, name="packed")
    feed = feeds(3, 13)[1]
    found = loaded.runner.run(loaded.inputs(feed))["y"]
    real = feed["attention_mask"] != 0
    np.testing.assert_allclose(found[real], graphs.run(Model.open(path), feed)["y"][real], atol=2e-5)


def test_a_result_of_other_places_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are put back one token late."""
    right = take_packed_tokens.write_batch

    def wrong(write: Any, tokens: Any, ends: Any, places: Any) -> Batch:
        batch = right(write, tokens, ends, places)
        late = write("Sub", [batch.back, write.integers("one", 1)], "late")
        return Batch(batch.taken, write("Max", [late, write.integers("zero", 0)], "from_the_first"), batch.real)

    monkeypatch.setattr(take_packed_tokens, "write_batch", wrong)
    with pytest.raises(OnnxfixError, match="with packed inputs the model differs"):
        onnxfix.optimize(path, packed_inputs=True)
    assert list(path.parent.glob("*.onnx")) == [path]


@pytest.mark.parametrize("kind", ["a band", "those before", "pooled"])
def test_a_session_makes_such_inputs(kind: str, tmp_path: Path) -> None:
    model = source(kind).save(tmp_path / "model.onnx")
    done = onnxfix.optimize(model, packed_inputs=True)
    assert done.output is not None
    expected = onnxfix.Session(model, threads=1).run_tokens(ROWS)
    for budget in (1, 20, 10_000):
        with onnxfix.Session(done.output, threads=1, max_tokens=budget) as session:
            assert "real tokens" in repr(session)
            session._padding = Padding(left=budget == 20)  # a tokenizer's, which is for rows with padding
            each = session.run_tokens(ROWS)
        assert list(each) == list(expected)
        for name, outputs in expected.items():
            assert len(each[name]) == len(ROWS)
            for one, other in zip(each[name], outputs, strict=True):
                np.testing.assert_allclose(one, other, atol=2e-5)


def test_buckets_have_few_sizes(path: Path) -> None:
    """As on a device; here on the host. What fills them up is of nobody."""
    done = onnxfix.optimize(path, packed_inputs=True)
    assert done.output is not None
    expected = onnxfix.Session(path, threads=1).run_tokens(ROWS)["y"]
    session = onnxfix.Session(done.output, threads=1, max_tokens=30)
    sizes = set()

    def run(feed: dict[str, Any]) -> dict[str, Any]:
        sizes.add(tuple((name, array.shape) for name, array in feed.items()))
        assert feed["cu_seqlens"][-1] == len(feed["input_ids"]), "each token has a row"
        return session._runner.run(feed)

    session._run = session._of_packed(run, True)
    for count in range(1, len(ROWS) + 1):
        for one, other in zip(session.run_tokens(ROWS[:count])["y"], expected, strict=False):
            np.testing.assert_allclose(one, other, atol=2e-5)
    assert all(size == bucket(size) for each in sizes for name, (size, *_) in each if name == "input_ids")


def test_no_bucket_is_longer_than_the_model_has_positions(tmp_path: Path) -> None:
    """600 of them, and rows of 590 tokens, whose bucket is 640."""
    head = HEAD.replace("here = Slice(places, begin, size, begin)", """
    from0 = Constant<value_int = 0>() by1 = Constant<value_int = 1>() to = Squeeze(size)
    row = Range(from0, to, by1) here = Gather(places, row)""")  # fmt: skip
    path = encoder(MLP, head).save(tmp_path / "model.onnx")
    done = onnxfix.optimize(path, packed_inputs=True, recipe="packed")
    session = onnxfix.Session(done.output, threads=1)
    session._run = session._of_packed(session._runner.run, True)
    rows = [RNG.integers(1, WORDS, n).tolist() for n in (590, 3)]
    expected = onnxfix.Session(path, threads=1).run_tokens(rows)["y"]
    assert session._interface.most == 600
    for one, other in zip(session.run_tokens(rows)["y"], expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_sizes_of_buckets() -> None:
    assert [bucket(n) for n in (1, 2, 15, 16, 17, 33, 100, 1000, 16384)] == [1, 2, 15, 16, 18, 36, 104, 1024, 16384]
    assert len({bucket(n) for n in range(1, 16385)}) < 100
    assert all(n <= bucket(n) <= max(n + 1, n * 1.125) for n in range(1, 5000))
    for rows, length in ((1, 1), (3, 9), (5, 130), (1, 2048)):
        real = np.arange(length)[None] < RNG.integers(0, length + 1, (rows, 1))
        whole = filled(real)
        assert whole.sum() == bucket(int(real.sum())) and (whole[:rows, :length] == real).all()
        assert not (~whole[:, :-1] & whole[:, 1:]).any() and bin(len(whole)).count("1") == 1
