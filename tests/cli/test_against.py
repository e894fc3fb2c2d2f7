"""`onnxfix diagnose --against` on models as they come: quantized results, broken scales, no names, wrong pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from terminal import Done, onnxfix

from onnxfix.nouns.model import Model

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(60, 8)).astype(np.float32)
TWO = "g (float[batch,8] x) => (float[batch,8] y) { a = MatMul(x, w) r = Tanh(a) y = MatMul(r, v) }"
GEMM = TWO.replace("a = MatMul(x, w)", "a = Gemm(x, w, c)")


def arrays(scale: float = 1.0) -> dict[str, np.ndarray[Any, Any]]:
    shapes = {"w": (8, 8), "v": (8, 8), "c": (8,)}
    return {name: (scale * RNG.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def saved(folder: Path, text: str, found: Mapping[str, np.ndarray[Any, Any]], feed: np.ndarray[Any, Any]) -> None:
    used = {name: array for name, array in found.items() if f"{name})" in text or f"{name}," in text}
    graphs.model(text, used).save(folder / "model.onnx")
    np.savez(folder / "inputs.npz", x=feed)


def quantized(folder: Path, *options: str) -> None:
    done = onnxfix("repair", *options, "--max-error", "1", "--quantize-heads", "-o", "int8.onnx", "--force", cwd=folder)
    assert done.returncode == 0, done.stderr


def diagnosed(folder: Path, *options: str) -> Done:
    pair = ("--against", "model.onnx", "--calibrate", "inputs.npz", "--target", "cpu")
    return onnxfix("diagnose", "int8.onnx", *pair, *options, cwd=folder)


def layers(folder: Path) -> dict[str, dict[str, Any]]:
    document = json.loads(diagnosed(folder, "--format", "json").stdout)
    return {layer["site"]["value"]: layer for layer in document["against"]["layers"]}


STATIC = ("--int8", "static", "--calibrate", "inputs.npz")


def test_a_gemm_whose_result_is_quantized_too(tmp_path: Path) -> None:
    """Its float result is not in the graph that saturates, which gives it again under its name."""
    saved(tmp_path, GEMM, arrays(4.0), INPUTS)
    quantized(tmp_path, *STATIC)
    found = layers(tmp_path)
    assert set(found) == {"a", "r", "y"} and all(20 < layer["snr_db"] < 60 for layer in found.values())
    assert found["a"]["without_vnni_db"] is not None
    assert found["a"]["without_vnni_db"] <= found["a"]["snr_db"] + 0.1


@pytest.mark.parametrize("scale", [np.nan, 3e38])
def test_what_becomes_nan_is_no_perfect_layer(tmp_path: Path, scale: float) -> None:
    saved(tmp_path, TWO, arrays(), INPUTS)
    quantized(tmp_path, *STATIC)
    model = Model.open(tmp_path / "int8.onnx")
    broken = model.clone()
    value = broken.graph.initializers["w_scale"]
    value.const_value = ir.Tensor(np.full(value.const_value.shape.numpy(), scale, np.float32), name="w_scale")
    (tmp_path / "int8.onnx").write_bytes(graphs.proto_of(broken).SerializeToString())
    done = diagnosed(tmp_path)
    assert done.returncode == 1 and "NaN or infinite where the float model's" in " ".join(done.stdout.split())
    assert layers(tmp_path)["a"]["snr_db"] == -200.0


def test_nameless_nodes(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 20]>' + TWO)
    for name in ("w", "v"):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(arrays()[name], name))
    assert not any(node.name for node in proto.graph.node)
    onnx.save(proto, tmp_path / "model.onnx")
    np.savez(tmp_path / "inputs.npz", x=INPUTS)
    quantized(tmp_path, "--int8", "dynamic")
    assert set(layers(tmp_path)) == {"a", "y"}
    search = ("--search", "--max-error", "1e-6", "--quantize-heads", "-o", "found.onnx")
    done = onnxfix("repair", "--int8", "dynamic", *search, cwd=tmp_path)
    assert done.returncode == 2 and "only with every node in float" in done.stderr


def test_a_constant_left_operand(tmp_path: Path) -> None:
    text = "g (float[8,8] x) => (float[8,8] y) { a = MatMul(w, x) r = Relu(a) y = MatMul(r, v) }"
    found = arrays()
    found["w"][:, [1, 5]] *= 100
    saved(tmp_path, text, found, INPUTS[:8])
    quantized(tmp_path, *STATIC, "--no-migrate-outliers")
    assert diagnosed(tmp_path).returncode in (0, 1)


def test_initializers_that_are_inputs_as_well(tmp_path: Path) -> None:
    saved(tmp_path, TWO, arrays(), INPUTS)
    quantized(tmp_path, "--int8", "dynamic")
    for name in ("model.onnx", "int8.onnx"):
        proto = onnx.load(tmp_path / name)
        for tensor in proto.graph.initializer:
            proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        onnx.save(proto, tmp_path / name)
    assert set(layers(tmp_path)) == {"a", "y"}


def test_large_numbers_count_in_full(tmp_path: Path) -> None:
    """±16,000 is where a mask ends, not an activation."""
    text = (
        "g (float[batch,8] x) => (float[batch,8] y) { a = MatMul(x, w) b = LayerNormalization(a, c) y = MatMul(b, v) }"
    )
    found = arrays()
    found["w"] *= 1e5
    saved(tmp_path, text, found, INPUTS)
    quantized(tmp_path, "--int8", "dynamic")
    large = layers(tmp_path)["a"]
    found["w"] /= 1e5
    saved(tmp_path, text, found, INPUTS)
    quantized(tmp_path, "--int8", "dynamic")
    assert large["snr_db"] == pytest.approx(layers(tmp_path)["a"]["snr_db"], abs=0.2)


def test_wrong_pairs_in_one_line(tmp_path: Path) -> None:
    saved(tmp_path, TWO, arrays(), INPUTS)
    quantized(tmp_path, "--int8", "dynamic")
    other = TWO.replace("float[batch,8] x)", "float[batch,8] x, float[batch,8] z)").replace("Tanh(a)", "Add(a, z)")
    for text in (TWO.replace("x", "other"), other):
        both = text is other
        used = {name: array for name, array in arrays().items() if name != "c"}
        graphs.model(text, used).save(tmp_path / ("int8.onnx" if both else "model.onnx"))
        done = diagnosed(tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "internal error" not in done.stderr
    # values of the same names and another width
    narrow = TWO.replace("batch,8] y", "batch,4] y")
    used = {"w": arrays()["w"][:, :4], "v": arrays()["v"][:4, :4]}
    graphs.model(narrow, used).save(tmp_path / "int8.onnx")
    saved(tmp_path, TWO, arrays(), INPUTS)
    done = diagnosed(tmp_path)
    assert done.returncode == 2 and "internal error" not in done.stderr and done.stderr.count("\n") == 1
