"""What repair refuses to call verified, what it refuses to replace, and options that make no sense."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import onnx_ir
import pytest
from terminal import onnxfix

from onnxfix import repair
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model


def saved(model: Model, folder: Path, name: str = "model.onnx") -> Path:
    onnx.save(graphs.proto_of(model), folder / name)
    return folder / name


def linear(dtype: type = np.float32) -> Model:
    kind = np.dtype(dtype).name.replace("float32", "float")
    weight = np.random.default_rng(0).standard_normal((8, 8)).astype(dtype)
    return graphs.model(f"g ({kind}[b,8] x) => ({kind}[b,8] y) {{ h = MatMul(x, w) y = Tanh(h) }}", {"w": weight})


def test_outputs_that_are_never_finite_verify_nothing(tmp_path: Path) -> None:
    source = saved(linear(), tmp_path)
    np.savez(tmp_path / "nan.npz", x=np.full((2, 8), np.nan, np.float32))
    done = onnxfix("repair", source, "--feeds", tmp_path / "nan.npz")
    assert done.returncode == 2 and "nothing could be compared" in done.stderr
    assert not (tmp_path / "model.fp16.onnx").exists()


def test_an_empty_output_verifies_nothing(tmp_path: Path) -> None:
    text = "g (float[b,8] x) => (float[0,8] y) { e = Tanh(x) y = Slice(e, zero, zero, zero) }"
    done = onnxfix("repair", saved(graphs.model(text, {"zero": np.array([0])}), tmp_path), "--precision", "fp32")
    assert done.returncode == 2 and "nothing could be compared" in done.stderr


def test_an_output_that_is_never_finite_is_named(tmp_path: Path) -> None:
    text = """g (float[b,8] x) => (float[b,8] y, float[b,8] z) { h = Cast<to = 1>(x) y = Tanh(h) m = Mul(h, zero)
        z = Div(m, m) }"""
    done = onnxfix("repair", saved(graphs.model(text, {"zero": np.float32(0) * np.ones(1, np.float32)}), tmp_path))
    assert done.returncode == 0 and "never finite and so not compared: z" in done.stdout


NOISE = """g (float[b,64] x, float[1] scale) => (float[b,64] y) { h = Relu(x) e = %s(h) n = Mul(e, scale) z = Add(h, n)
    y = MatMul(z, w) }"""


@pytest.mark.parametrize("op", ["RandomNormalLike", "Bernoulli"])
def test_a_source_that_draws_on_purpose_is_compared_with_the_same_numbers(op: str, tmp_path: Path) -> None:
    op, bounded = (op, "Sigmoid(x)") if op == "Bernoulli" else (op, "Relu(x)")
    weights = {"w": np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)}
    source = saved(graphs.model((NOISE % op).replace("Relu(x)", bounded), weights), tmp_path)
    for precision in ("fp32", "fp16"):
        done = repair(source, precision=precision)  # type: ignore[arg-type]
        assert f"with the same random numbers of {op} {op}_e in both" in done.verified
        result = Model.open(tmp_path / f"model.{precision}.onnx")
        assert "seed" not in graphs.node_named(result, f"{op}_e").attributes  # it still draws anew each time


def test_a_drawing_node_inside_a_function_is_seeded_like_its_inlined_self(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["" : 18, "mine" : 1]>
    g (float[b,64] x) => (float[b,64] y) { y = mine.Noisy(x) }
    <domain: "mine", opset_import: ["" : 18]> Noisy (a) => (o) { e = RandomNormalLike(a) o = Add(a, e) }"""
    done = repair(saved(graphs.model(text), tmp_path), precision="fp32")
    assert "with the same random numbers of RandomNormalLike" in done.verified


def test_a_result_that_errs_beside_the_noise_is_refused(tmp_path: Path) -> None:
    """The sound twin of the same numbers in both: they hide no error."""
    weights = {"w": np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)}
    source = saved(graphs.model(NOISE % "RandomNormalLike", weights), tmp_path)
    with pytest.raises(OnnxfixError, match="differs from the source"):
        repair(source, max_error=1e-9)


def test_a_source_in_training_mode_is_not_blamed_on_the_repair(tmp_path: Path) -> None:
    weights = {"ratio": np.array(0.5, np.float32), "yes": np.array(True)}
    text = "g (float[b,64] x) => (float[b,64] y) { h = Relu(x) y = Dropout(h, ratio, yes) }"
    source = saved(graphs.model(text, weights), tmp_path)
    done = onnxfix("repair", source, "--precision", "fp32")
    assert done.returncode == 2 and "does not repeat its own outputs" in done.stderr
    assert "Dropout Dropout_y is in training mode; export it in eval mode" in done.stderr
    assert onnxfix("repair", source, "--precision", "fp32", "--no-verify").returncode in (0, 1)


def test_text_is_fed_as_a_plain_array(tmp_path: Path) -> None:
    text = (
        "g (string[n,1] word, float[n,4] x) => (string[n,1] same, float[n,4] y) { same = Identity(word) y = Tanh(x) }"
    )
    source = saved(graphs.model(text), tmp_path)
    np.savez(tmp_path / "feeds.npz", word=np.array([["rot"], ["grün"]]), x=np.ones((2, 4), np.float32))
    done = onnxfix("repair", source, "--precision", "fp32", "--feeds", tmp_path / "feeds.npz")
    assert done.returncode == 0 and "verified: identical outputs on 1 feed" in done.stdout


def test_a_shape_in_one_line(tmp_path: Path) -> None:
    weights = {"w": np.random.default_rng(0).standard_normal((777, 4)).astype(np.float32)}
    text = "g (float[b,n] x, float[b,m] z) => (float[b,4] y) { c = Concat <axis = 1> (x, z) y = MatMul(c, w) }"
    source = saved(graphs.model(text, weights), tmp_path)
    done = onnxfix("repair", source)
    assert done.returncode == 2 and "looks wrong: state its shape, as in --input x=" in done.stderr
    assert onnxfix("repair", source, "--input", "x=3x700", "--input", "z=3x77").returncode == 0
    done = onnxfix("repair", source, "--input", "x=3by700")
    assert done.returncode == 2 and "--input x=3by700 is no shape" in done.stderr


MASKED = """g (int64[b,s] input_ids, int64[b,s] attention_mask) => (float[b,s,16] y)
    <int64[1] a1 = {1}, int64[1] a2 = {2}> {
    x = Gather(table, input_ids)
    k = Unsqueeze(attention_mask, a1) q = Unsqueeze(attention_mask, a2) both = Mul(k, q) seen = Cast <to = 9> (both)
    bias = %s
    v = MatMul(x, w)
    t = Transpose <perm = [0,2,1]> (v)
    s0 = MatMul(v, t)
    s1 = Add(s0, bias)
    p = Softmax <axis = -1> (s1)
    c = MatMul(p, v)
    y = MatMul(c, u)
}"""


def masked(bias: str, text: str = MASKED) -> Model:
    rng = np.random.default_rng(0)
    weights = {name: (rng.standard_normal((16, 16)) * 0.2).astype(np.float32) for name in "wu"}
    weights["table"] = rng.standard_normal((50, 16)).astype(np.float32)
    numbers = {"zero": 0.0, "never": -np.inf, "one": 1.0}
    weights |= {name: np.array(number, np.float32) for name, number in numbers.items() if name in bias}
    return graphs.model(text % bias, weights, opset=17)


def test_a_source_that_makes_nan_is_named_with_the_node(tmp_path: Path) -> None:
    (note,) = repair(saved(masked("Where(seen, zero, never)"), tmp_path), precision="fp32").outcome.notes
    assert note.startswith("the source itself makes NaN in") and "of output y on the padded feed" in note
    assert note.endswith("first in Softmax Softmax_p: compared where it is finite")


def test_a_source_without_nan_is_not(tmp_path: Path) -> None:
    source = masked("Where(seen, zero, never)")
    source.graph.initializers["never"].const_value = onnx_ir.tensor(np.array(-1e9, np.float32))
    assert repair(saved(source, tmp_path), precision="fp32").outcome.notes == ()


def test_nan_of_a_mask_reaches_no_scale_of_dynamic_int8(tmp_path: Path) -> None:
    done = repair(saved(masked("Where(seen, zero, never)"), tmp_path), int8="dynamic")
    assert any(note.startswith("masks of -inf are -1e30") for note in done.outcome.notes)
    assert all(c.sound and c.rel_l2 < 5e-2 for c in done.comparisons)


def test_nan_that_no_constant_makes_refuses_dynamic_int8_for_that_reason(tmp_path: Path) -> None:
    source = masked("Log(number)", MASKED.replace("bias =", "number = Cast <to = 1> (both) bias ="))
    with pytest.raises(OnnxfixError) as caught:
        repair(saved(source, tmp_path), int8="dynamic")
    assert "the source itself makes NaN in" in str(caught.value) and "first in Softmax Softmax_p" in str(caught.value)
    assert "max_error" not in str(caught.value)


def test_weights_that_are_half_become_fp32_exactly_with_a_word(tmp_path: Path) -> None:
    model = linear(np.float16)
    done = onnxfix("repair", saved(model, tmp_path), "--precision", "fp32")
    assert done.returncode == 0 and "what rounding took of 1 weight cannot be brought back" in done.stdout
    before, after = (m.graph.initializers["w"].const_value for m in (model, Model.open(tmp_path / "model.fp32.onnx")))
    assert before is not None and after is not None and after.dtype.name == "FLOAT"
    assert np.array_equal(after.numpy(), before.numpy().astype(np.float32))


def test_a_block_list_that_keeps_everything_is_an_error(tmp_path: Path) -> None:
    done = onnxfix("repair", saved(linear(), tmp_path), "--block-node", ".*")
    assert done.returncode == 2 and "keeps every node in fp32" in done.stderr
    assert onnxfix("repair", tmp_path / "model.onnx", "--block-node", "Tanh").returncode == 0


@pytest.mark.parametrize("limit", ["nan", "-1"])
def test_a_limit_that_compares_with_nothing_is_refused(limit: str, tmp_path: Path) -> None:
    done = onnxfix("repair", saved(linear(), tmp_path), "--max-error", limit)
    assert done.returncode == 2 and "not a number of 0 or more" in done.stderr


def test_an_earlier_result_is_replaced_and_a_foreign_file_is_not(tmp_path: Path) -> None:
    source = saved(linear(), tmp_path)
    assert onnxfix("repair", source).returncode == 0 and onnxfix("repair", source).returncode == 0
    foreign = saved(linear(), tmp_path, "other.onnx")
    before = foreign.read_bytes()
    done = onnxfix("repair", source, "-o", foreign)
    assert done.returncode == 2 and "--force" in done.stderr and foreign.read_bytes() == before
    assert onnxfix("repair", source, "-o", foreign, "--force").returncode == 0 and foreign.read_bytes() != before


def test_a_folder_as_output_is_named(tmp_path: Path) -> None:
    done = onnxfix("repair", saved(linear(), tmp_path), "-o", tmp_path)
    assert done.returncode == 2 and "is a folder; name a file" in done.stderr


@pytest.mark.parametrize(("hidden", "found"), [("lowest", -16384.0), ("few", -3e7)])
def test_a_mask_that_is_an_output_is_no_error_in_half(hidden: str, found: float, tmp_path: Path) -> None:
    """As a layer cut out of its model has it: finfo.min is another number there, and hides as well. 3e7 is a number
    that half cannot hold, which stays as it is."""
    text = f"""g (float[b,8] x, bool[b,8] seen) => (float[b,8] y, float[b,8] mask) {{
        mask = Where(seen, zero, {hidden}) s = Add(x, mask) p = Softmax(s) y = MatMul(p, w) }}"""
    numbers = {"zero": 0, "lowest": np.finfo(np.float32).min, "few": -3e7}
    weights = {name: np.array(number, np.float32) for name, number in numbers.items()}
    made = repair(saved(graphs.model(text, weights | {"w": np.eye(8, dtype=np.float32)}), tmp_path)).output
    assert made is not None
    feed = {"x": np.ones((1, 8), np.float32), "seen": np.arange(8)[None] < 4}
    assert graphs.run(Model.open(made), feed)["mask"].tolist() == [[0.0] * 4 + [found] * 4]
