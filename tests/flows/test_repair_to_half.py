"""repair to half precision, from file to file: what it keeps in fp32 by what the plan and the emulation show."""

from __future__ import annotations

from pathlib import Path

import encoder_graphs
import graphs
import numpy as np
import onnx
import pytest
import twins
from oracle.random_graphs import random_model

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.eval.inputs.feeds import Feed
from onnxfix.eval.numerics.emulator import emulated
from onnxfix.flows.repair.repair import repair
from onnxfix.flows.repair.repaired import Repaired
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.recipes import Wish, recipe

CUDA = Target.resolve("cuda")
RNG = np.random.default_rng(0)
UP_AND_DOWN = {
    "w": RNG.normal(0, 0.25, (16, 16)).astype(np.float32),
    "up": np.full(16, 3000, np.float32),
    "down": np.full(16, -3000, np.float32),
}


def repaired(model: Model, precision: str, folder: Path) -> Repaired:
    return repair(model.save(folder / "model.onnx"), Wish(CUDA, precision), folder / "result.onnx")


def test_a_conversion_adds_no_copy_however_the_host_reads(tmp_path: Path) -> None:
    """A random graph with host nodes among half ones, and a value that both read."""
    onnx.save(random_model(180), tmp_path / "model.onnx")
    source = Model.open(tmp_path / "model.onnx")
    plain, _ = recipe(Wish(CUDA, "fp16"), source).apply(source)
    assert len(forecast(plain, CUDA).copies) > len(forecast(source, CUDA).copies), "the passes alone would do"
    done = repair(tmp_path / "model.onnx", Wish(CUDA, "fp16"), tmp_path / "result.onnx", check=False)
    assert len(done.after.plan.copies) <= len(done.before.plan.copies)
    assert any("else one copy more" in note for note in done.outcome.notes)


@pytest.mark.parametrize(("opset", "precision"), [(11, "fp16"), (12, "bf16"), (21, "bf16")])
def test_what_errs_is_kept_at_every_operator_set_and_without_names(opset: int, precision: str, tmp_path: Path) -> None:
    """A large number is added and taken away. bf16 needs operator set 13, in which it is measured, too."""
    text = "g (float[b,16] x) => (float[b,16] y) { a = MatMul(x, w) d = Add(a, up) e = Add(d, down) y = MatMul(e, w) }"
    model = twins.twin(graphs.model(text, UP_AND_DOWN, opset, ir_version=7), twins.unnamed)
    done = repaired(model, precision, tmp_path)
    assert Model.open(tmp_path / "result.onnx").opset >= (13 if precision == "bf16" else opset)
    assert any("loses more than" in note for note in done.outcome.notes)
    assert max(d.rel_l2 for c in done.comparisons for d in c.differences if not d.draws) < (
        1e-3 if precision == "fp16" else 8e-3
    )
    assert max(c.error for c in done.comparisons) < (2e-3 if precision == "fp16" else 1.2e-2), "128 single rows"


def steep(gain: float) -> Model:
    """Nearly a step: half precision moves the result by much, but on few inputs. On all others it is exact."""
    text = "g (float[b,16] x) => (float[b,1] y) { a = MatMul(x, w) d = Sub(a, t) e = Mul(d, k) y = Sigmoid(e) }"
    w = np.random.default_rng(0).normal(0, 0.25, (16, 1)).astype(np.float32)
    return graphs.model(text, {"w": w, "k": np.float32(gain), "t": np.float32(0.3)}, 18, ir_version=8)


def test_what_errs_on_few_inputs_is_not_called_right(tmp_path: Path) -> None:
    """On two made-up feeds the half model answers the same bits as the source does."""
    with pytest.raises(OnnxfixError, match=r"error of 2\.\de-02 in output y over 128 draws \(limit 0\.01\)"):
        repaired(steep(100), "fp16", tmp_path)
    assert not (tmp_path / "result.onnx").exists()


def test_what_errs_on_no_input_is_written_and_right_on_others(tmp_path: Path) -> None:
    done = repaired(steep(3), "fp16", tmp_path)
    assert [d.draws for d in done.comparisons[0].differences] == [0, 0, 128]
    result = emulated(Model.open(tmp_path / "result.onnx"))
    rows = np.random.default_rng(7).standard_normal((200, 1, 16)).astype(np.float32)
    pairs = [(graphs.run(steep(3), {"x": row})["y"], graphs.run(result, {"x": row})["y"]) for row in rows]
    assert max(float(np.abs(after - before).max()) for before, after in pairs) < 2e-3


def test_a_cell_without_its_first_output_is_measured(tmp_path: Path) -> None:
    """What harms it stands before it, and the node has no name but that of the output that there is."""
    weights = {
        "w1": RNG.normal(0, 0.3, (1, 24, 16)).astype(np.float32),
        "r": RNG.normal(0, 0.3, (1, 24, 6)).astype(np.float32),
        **{name: UP_AND_DOWN[name] for name in ("up", "down")},
    }
    text = """g (float[s,b,16] x) => (float[1,b,6] y) { d = Add(x, up) e = Add(d, down)
        , , h = LSTM<hidden_size = 6>(e, w1, r) y = Tanh(h) }"""
    model = twins.twin(graphs.model(text, weights, 14, ir_version=8), twins.unnamed)
    done = repaired(model, "fp16", tmp_path)
    assert max(c.error for c in done.comparisons) < 1e-3


def test_what_is_lost_on_one_feed_hides_what_is_on_another(tmp_path: Path) -> None:
    """The first difference is beyond half's range on a few rows alone, which show once what is before it is kept."""
    weights = {"mean": np.full(16, 52_000, np.float32), "std": np.full(16, 30_000, np.float32), "w": UP_AND_DOWN["w"]}
    text = "g (float[n,16] x) => (float[n,16] y) { c = Sub(x, mean) z = Div(c, std) h = MatMul(z, w) y = Tanh(h) }"
    done = repaired(graphs.model(text, weights), "fp16", tmp_path)
    kept = {node.name for node in Model.open(tmp_path / "result.onnx").nodes()}
    assert "Sub_c" in kept and max(c.error for c in done.comparisons) < 5e-3


@pytest.mark.parametrize(("gain", "kept"), [(1.35, True), (0.5, False)])
def test_a_row_is_as_long_as_can_be_before_it_is_called_right(gain: float, kept: bool, tmp_path: Path) -> None:
    """A state that grows with every step, of which an input says how many there are: beyond half's range after forty,
    and next to nothing after one."""
    weights = {
        "w": RNG.normal(0, 0.3, (1, 8, 16)).astype(np.float32),
        "r": (gain * np.eye(8, dtype=np.float32))[None],
        "v": RNG.normal(0, 0.3, (8, 8)).astype(np.float32),
    }
    text = """g (float[s,b,16] x, int64[b] count) => (float[1,b,8] y) { few = Cast<to = 6>(count)
        , h = RNN<hidden_size = 8, activations = ["Relu"]>(x, w, r, , few)
        n = LpNormalization(h) y = MatMul(n, v) }"""
    model = graphs.model(text, weights, 14, ir_version=8)
    done = repaired(model, "fp16", tmp_path)
    assert any("what half precision harms" in str(note) for note in done.outcome.notes) is kept
    x = RNG.standard_normal((60, 2, 16)).astype(np.float32)
    feed = {"x": x, "count": np.array([60, 45])}
    found = graphs.run(emulated(Model.open(tmp_path / "result.onnx")), feed)["y"]
    assert np.allclose(found, graphs.run(model, feed)["y"], atol=5e-3)


@pytest.mark.parametrize(("size", "many"), [(300, True), (8, False)])
def test_a_half_model_with_a_mean_of_many_is_made_anew(size: int, many: bool, tmp_path: Path) -> None:
    """It is right on this CPU, and infinite on CUDA; the result is compared with its own weights in fp32."""
    text = """g (float16[b,8,{0},{0}] x) => (float16[b,8] y) {{
        e = Exp(x) m = ReduceMean<keepdims = 0>(e, ax) y = MatMul(m, w) }}"""
    weights = {"ax": np.array([2, 3]), "w": np.eye(8, dtype=np.float16)}
    done = repaired(graphs.model(text.format(size), weights, 18, ir_version=8), "fp16", tmp_path)
    assert any("sums of many values in half precision" in note for note in done.outcome.notes) is many
    assert [counts for key, *counts in done.findings() if "P005" in key] == ([[1, 0]] if many else [])


def test_what_calibration_keeps_is_kept_in_a_result_that_is_not_verified(tmp_path: Path) -> None:
    """Squares of 300 overflow half, and those of 3 do not."""
    source = graphs.model("g (float[batch,4] x) => (float[batch,4] y) { k = Mul(x, x)\n y = Sigmoid(k) }")
    path = source.save(tmp_path / "model.onnx")
    for factor, kept in ((300, 1), (3, 0)):
        real = Feed("real", {"x": np.full((2, 4), factor, np.float32)})
        result = tmp_path / f"{factor}.onnx"
        done = repair(path, Wish(Target.resolve("cuda"), "fp16"), result, check=False, calibration=[real])
        (note,) = (note for note in done.outcome.notes if note.startswith("calibrated"))
        assert note.startswith(f"calibrated on 1 feed: {kept} nodes kept in fp32")
        made = Model.open(result)
        (product,) = (node for node in made.nodes() if node.op_type == "Mul")
        assert infer(made.ir).get(product.outputs[0]) == ("tensor(float)" if kept else "tensor(float16)")


def causal(output: str) -> Model:
    """Attention of two layers, the second over tokens before, and one output besides what stands at each token."""
    rest = encoder_graphs.MLP.replace("y = Add(r, d)", f"z = Add(r, d) y = Mul(z, single) {output}")
    head = encoder_graphs.HEAD.replace("24] y)", "24] y, float[batch,24] pooled)")
    numbers = {"lowest": np.array(np.finfo(np.float32).min), "single": np.array(1.0)}
    return encoder_graphs.seeing("those before", rest=rest, head=head, **numbers)


MEAN = "pooled = ReduceMean<keepdims = 0>(z, ends)"
LAST = "behind = Constant<value_ints = [-1]>() at = Gather<axis = 1>(z, behind) pooled = Squeeze(at, ends)"


@pytest.mark.parametrize(
    ("output", "precision", "kept"), [(MEAN, "fp16", True), (MEAN, "bf16", False), (LAST, "fp16", False)]
)
def test_rows_that_see_no_key_are_even_where_something_reads_them(
    output: str, precision: str, kept: bool, tmp_path: Path
) -> None:
    """Causal attention over padding at the left. A mean over all tokens takes these rows too, and gets its masks in
    fp32, but in bf16, where 16,384 swallows what is below 64; of the last token, which is real, no more is kept."""
    done = repaired(causal(output), precision, tmp_path)
    assert any("masks and scores" in note for note in done.outcome.notes) == kept
    assert "padding not compared" in done.verified
    mask = np.ones((3, 33), np.int64)
    mask[1, :8], mask[2, :30] = 0, 0
    feed = {"input_ids": RNG.integers(0, encoder_graphs.WORDS, mask.shape), "attention_mask": mask}
    expected = graphs.run(Model.open(tmp_path / "model.onnx"), feed)
    found = graphs.run(emulated(Model.open(tmp_path / "result.onnx")), feed)
    limit = 1e-2 if precision == "fp16" else 5e-2
    assert graphs.rel_l2(expected["pooled"], found["pooled"]) < limit
    assert graphs.rel_l2(expected["y"][mask > 0], found["y"][mask > 0]) < limit


@pytest.mark.parametrize(("lowest", "compared"), [(-np.inf, False), (-1e9, True)])
def test_rows_in_which_the_source_makes_nan_mean_nothing(lowest: float, compared: bool, tmp_path: Path) -> None:
    """-inf on all keys of a row, as a causal mask leaves it at padding on the left: a maximum of what is not hidden
    takes NaN for less than all else, and makes a number of it that no other precision has to make."""
    rest = encoder_graphs.MLP.replace(
        "y = Add(r, d)",
        "z = Add(r, d) two9 = Constant<value_ints = [2]>() shown9 = Unsqueeze(seen, two9) h9 = Where(shown9, z, far9) "
        "y = ReduceMax<keepdims = 0>(h9, ends)",
    )
    head = encoder_graphs.HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y")
    model = encoder_graphs.seeing("those before", rest=rest, head=head, lowest=np.array(lowest),
                                  far9=np.array(-1e4))  # fmt: skip
    done = repaired(model, "fp16", tmp_path)
    names = {d.feed for c in done.comparisons for d in c.differences}
    assert ("left-padded" in names) is compared and "padded" in names
