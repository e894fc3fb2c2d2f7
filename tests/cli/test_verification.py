"""What repair refuses to call verified, what it refuses to replace, and options that make no sense."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from terminal import onnxfix

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


@pytest.mark.parametrize(
    "body",
    ["h = RandomNormalLike(x) y = Add(x, h)", "h = Relu(x) y = Dropout(h, ratio, yes)"],
    ids=["random numbers", "dropout in training mode"],
)
def test_a_source_that_does_not_repeat_itself_is_not_blamed_on_the_repair(body: str, tmp_path: Path) -> None:
    weights = {"ratio": np.array(0.5, np.float32), "yes": np.array(True)} if "Dropout" in body else {}
    source = saved(graphs.model(f"g (float[b,64] x) => (float[b,64] y) {{ {body} }}", weights), tmp_path)
    done = onnxfix("repair", source, "--precision", "fp32")
    assert done.returncode == 2 and "does not repeat its own outputs" in done.stderr
    assert onnxfix("repair", source, "--precision", "fp32", "--no-verify").returncode in (0, 1)


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
