"""What is written is what onnx reads back: inline and beside the graph, streamed or not, of every type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import graphs
import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxfix.nouns.model import Model
from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import PIECE, Elementwise
from onnxfix.nouns.weights.writer import write
from onnxfix.surgery.half.rounding import to_half

RNG = np.random.default_rng(0)
TEXT = "g (float[b,8] x) => (float[b,8] y) { y = Tanh(x) }"


def weights() -> dict[str, np.ndarray]:
    """Small and large ones, and one of more than two pieces that ends in the middle of a third."""
    return {
        "small": RNG.standard_normal((2, 3)).astype(np.float32),
        "large": RNG.standard_normal((257, 129)).astype(np.float32),
        "long": RNG.standard_normal(2 * PIECE + 5).astype(np.float32),
        "half": RNG.standard_normal((300, 200)).astype(np.float16),
        "bf16": RNG.standard_normal((300, 200)).astype(ml_dtypes.bfloat16),
        "ids": RNG.integers(0, 9, (50, 900)),
        "scalar": np.array(7.5, np.float32),
        "empty": np.zeros((0, 4), np.float32),
    }


def read_back(path: Path) -> dict[str, np.ndarray]:
    proto = onnx.load(path)
    onnx.checker.check_model(proto)
    return {t.name: ir.from_proto(t).numpy() for t in proto.graph.initializer}


@pytest.mark.parametrize("data_name", [None, "weights.bin"])
def test_weights_survive_bit_for_bit_and_in_order(data_name: str | None, tmp_path: Path) -> None:
    wanted = weights()
    model = graphs.model(TEXT, wanted)
    before = model.fingerprint()
    write(model.ir, tmp_path / "m.onnx", data_name)
    found = read_back(tmp_path / "m.onnx")
    assert list(found) == list(model.graph.initializers)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array), name
    assert model.fingerprint() == before
    assert {p.name for p in tmp_path.iterdir()} == {"m.onnx"} | ({data_name} if data_name else set())


@pytest.mark.parametrize("data_name", [None, "m.data"])
@pytest.mark.parametrize("again", [None, "m2.data"])
def test_weights_that_lie_in_a_file_are_copied_from_there(
    data_name: str | None, again: str | None, tmp_path: Path
) -> None:
    wanted = weights()
    write(graphs.model(TEXT, wanted).ir, tmp_path / "m.onnx", data_name)
    opened = Model.open(tmp_path / "m.onnx")
    long = opened.graph.initializers["long"].const_value
    assert long is not None and weight_data.file_range(long) is not None
    write(opened.ir, tmp_path / "m2.onnx", again)
    found = read_back(tmp_path / "m2.onnx")
    assert all(np.array_equal(found[name], array) for name, array in wanted.items())


@pytest.mark.parametrize("data_name", [None, "m2.data"])
def test_small_weights_of_a_data_file_do_not_stay_there(data_name: str | None, tmp_path: Path) -> None:
    """Below a kilobyte nothing is worth a place in a data file, and the old one may be gone tomorrow."""
    wanted = weights()
    folder = tmp_path / "source"
    folder.mkdir()
    proto = graphs.proto_of(graphs.model(TEXT, wanted))
    onnx.save(proto, folder / "m.onnx", save_as_external_data=True, location="old.data", size_threshold=0)
    write(Model.open(folder / "m.onnx").ir, tmp_path / "m2.onnx", data_name)
    found = read_back(tmp_path / "m2.onnx")
    assert all(np.array_equal(found[name], array) for name, array in wanted.items())
    assert b"old.data" not in (tmp_path / "m2.onnx").read_bytes()


def converted(kind: ir.DataType) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: to_half(array, kind)


@pytest.mark.parametrize("kind", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16])
@pytest.mark.parametrize("in_file", [True, False])
def test_a_weight_is_converted_piece_by_piece(kind: ir.DataType, in_file: bool, tmp_path: Path) -> None:
    wanted = weights()["long"]
    wanted[[0, PIECE - 1, PIECE, -1]] = [np.inf, 1e6, -1e6, np.nan]
    model = graphs.model(TEXT, {"long": wanted})
    if in_file:
        write(model.ir, tmp_path / "source.onnx")
        model = Model.open(tmp_path / "source.onnx")
    value = model.graph.initializers["long"]
    if not in_file:
        value.const_value = ir.Tensor(wanted, name="long")
    assert value.const_value is not None
    value.const_value = Elementwise(value.const_value, kind, converted(kind), "long")
    assert len(list(weight_data.pieces(value.const_value))) == (3 if in_file else 1)
    write(model.ir, tmp_path / "m.onnx", None)
    found = read_back(tmp_path / "m.onnx")["long"]
    assert np.array_equal(found, to_half(wanted, kind), equal_nan=True)
    if kind == ir.DataType.FLOAT16:
        assert found[[0, PIECE - 1, PIECE]].tolist() == [np.inf, 65504, -65504] and np.isnan(found[-1])


@pytest.mark.parametrize("kind", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16])
@pytest.mark.parametrize("in_file", [True, False])
def test_a_transposed_weight_is_converted_before_it_is_moved(kind: ir.DataType, in_file: bool, tmp_path: Path) -> None:
    wanted = weights()["long"][: 700 * 130].reshape(700, 130) * 100
    wanted[0, :2] = np.inf, 1e6
    model = graphs.model(TEXT, {"long": wanted})
    if in_file:
        write(model.ir, tmp_path / "source.onnx")
        model = Model.open(tmp_path / "source.onnx")
    value = model.graph.initializers["long"]
    assert value.const_value is not None
    moved = weight_data.Moved(value.const_value, (130, 700), np.transpose, "long")
    assert np.array_equal(moved.numpy(), wanted.T) and moved.numpy().flags.c_contiguous
    assert np.array_equal(weight_data.array(moved), wanted.T)
    value.const_value = Elementwise(moved, kind, converted(kind), "long")
    assert np.array_equal(weight_data.array(value.const_value), to_half(wanted.T, kind))
    write(model.ir, tmp_path / "m.onnx", None)
    assert np.array_equal(read_back(tmp_path / "m.onnx")["long"], to_half(wanted.T, kind))


def test_bodies_and_packed_integers(tmp_path: Path) -> None:
    model = graphs.model(
        """g (bool c, float[2,64] x) => (float[2,64] y) { y = If (c) <
            then_branch = t () => (float[2,64] p) { p = MatMul(x, w) },
            else_branch = e () => (float[2,64] n) { n = Neg(x) }> }""",
        {"w": RNG.standard_normal((64, 64)).astype(np.float32)},
    )
    packed = RNG.integers(0, 255, 40_000).astype(np.uint8)
    four = ir.PackedTensor(packed, ir.DataType.UINT4, shape=[80_000], name="four")
    model.graph.register_initializer(ir.Value(name="four", const_value=four))
    for name, data in (("a.onnx", None), ("b.onnx", "b.data")):
        write(model.ir, tmp_path / name, data)
        proto = onnx.load(tmp_path / name)
        found = next(t for t in proto.graph.initializer if t.name == "four")
        assert found.raw_data == packed.tobytes() and found.data_type == onnx.TensorProto.UINT4


def test_a_source_that_lost_its_end_is_an_error_and_not_zeros(tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    write(graphs.model(TEXT, {"long": weights()["long"]}).ir, source)
    opened = Model.open(source)
    with source.open("r+b") as file:
        file.truncate(PIECE)
    with pytest.raises(OSError, match="ends before the weight does"):
        write(opened.ir, tmp_path / "m.onnx", None)


@pytest.mark.parametrize("data_name", [None, "m.data"])
def test_fields_stand_in_the_order_of_their_numbers(data_name: str | None, tmp_path: Path) -> None:
    """OpenVINO's reader takes no file whose second operator set stands in front of the graph."""
    model = graphs.model(TEXT, {"large": np.ones((257, 129), np.float32)})
    model.ir.opset_imports["com.microsoft"] = 1
    write(model.ir, tmp_path / "m.onnx", data_name)
    numbers, at, content = [], 0, (tmp_path / "m.onnx").read_bytes()
    while at < len(content):
        key, at = varint(content, at)
        length, at = varint(content, at)
        at += length if key & 7 == 2 else 0
        numbers.append(key >> 3)
    assert numbers == sorted(numbers) and numbers.count(8) == 2


def varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = content[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
