"""Which weight is which of the other model, by its numbers, in every type and wherever it lies; what each stores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import graphs
import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import onnxfix
from onnxfix.flows.diagnosis.difference.difference import Difference
from onnxfix.flows.diagnosis.difference.weights.contents import Contents

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
W = RNG.normal(size=(24, 32)).astype(np.float32)
V = RNG.normal(size=(32, 16)).astype(np.float32)
TEXT = "g (float[batch,24] x) => (float[batch,16] y) { h = MatMul(x, w) y = MatMul(h, v) }"
HALF = TEXT.replace("float[", "float16[")


def compared(before: Mapping[str, Array], after: Mapping[str, Array], other: str = TEXT, one: str = TEXT) -> Difference:
    return onnxfix.diff(graphs.proto(one, before), graphs.proto(other, after))


def kinds(found: Difference) -> list[tuple[str, int]]:
    return [(group.kind, len(group.names)) for group in found.weights.groups]


def test_names_are_nothing() -> None:
    found = compared({"w": W, "v": V}, {"a": W, "b": V}, TEXT.replace("w)", "a)").replace("v)", "b)"))
    assert found.same and kinds(found) == [("same", 2)] and found.weights.groups[0].names == (("w", "a"), ("v", "b"))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float64])
def test_other_float_types(dtype: Any) -> None:
    text = "g (float[batch,24] x) => (float[batch,16] y) { a = CastLike(w, x) h = MatMul(x, a) y = MatMul(h, v) }"
    found = compared({"w": W, "v": V}, {"w": W.astype(dtype), "v": V}, text, text)
    assert not found.same and not found.weights.removed and not found.weights.added
    group = next(g for g in found.weights.groups if g.kind != "same")
    assert group.kind == ("widened" if dtype is np.float64 else "rounded") and group.unlike == 0
    assert group.largest == pytest.approx(np.abs(W - W.astype(dtype).astype(np.float32)).max())
    assert found.nodes.kept == 3 and found.nodes.altered == 0
    back = compared({"w": W.astype(dtype), "v": V}, {"w": W, "v": V}, text, text)
    assert [g.kind for g in back.weights.groups] == ["same", "rounded" if dtype is np.float64 else "widened"]


def test_half_precision_that_is_not_rounding() -> None:
    """One number was clamped, as a mask is; the names are no help."""
    large = W.copy()
    large[3, 4] = -3e38
    half = np.clip(large, -65504, 65504).astype(np.float16)
    found = compared(
        {"w": large, "v": V}, {"q": half, "r": V.astype(np.float16)}, HALF.replace("w)", "q)").replace("v)", "r)")
    )
    assert [(g.kind, g.unlike, len(g.names)) for g in found.weights.groups] == [("rounded", 1, 2)]
    assert [(p.kind, p.changes) for p in found.ports] == [("input", ("type",)), ("output", ("type",))]
    assert [(t.before, t.after, t.nodes) for m in found.modules.changed() for t in m.retyped] == [
        ("float", "float16", 2)
    ]


def test_transposed_and_reshaped() -> None:
    turned = TEXT.replace("h = MatMul(x, w)", "t = Transpose(w) h = MatMul(x, t)")
    found = compared({"w": W.T.copy(), "v": V}, {"w": W, "v": V}, TEXT, turned)
    assert kinds(found) == [("same", 1), ("transposed", 1)] and not found.same and found.nodes.kept == 2
    found = compared({"w": W.T.copy(), "v": V}, {"w": W.astype(np.float16), "v": V.astype(np.float16)}, HALF, turned)
    assert [(g.kind, g.turned) for g in found.weights.groups] == [("rounded", True), ("rounded", False)]
    flat = TEXT.replace("h = MatMul(x, w)", "s = Reshape(w, n) h = MatMul(x, s)")
    shape = np.array([24, 32])
    assert kinds(compared({"w": W, "v": V}, {"w": W.reshape(-1), "v": V, "n": shape}, flat)) == [
        ("same", 1),
        ("reshaped", 1),
    ]


def test_other_values_by_name_and_by_who_reads_them() -> None:
    tuned = W + 0.01
    found = compared({"w": W, "v": V}, {"w": tuned, "v": V})
    assert not found.same and kinds(found) == [("same", 1), ("other values", 1)]
    assert found.weights.groups[1].largest == pytest.approx(0.01, rel=1e-3)
    assert repr(found).endswith("different: 1 weight with other values>")
    found = compared({"w": W, "v": V}, {"weight": tuned, "v": V}, TEXT.replace("w)", "weight)"))
    assert kinds(found) == [("same", 1), ("other values", 1)] and not found.weights.added


def test_one_element_in_the_middle_of_a_large_weight_is_seen() -> None:
    """Beyond what is sampled, and beyond one piece."""
    large = RNG.normal(size=(1, 700_000)).astype(np.float32)
    text = "g (float[1,700000] x) => (float[1,700000] y) { y = Add(x, w) }"
    other = large.copy()
    other[0, 600_001] += 1.0
    found = compared({"w": large}, {"w": other}, text, text)
    assert (
        not found.same
        and kinds(found) == [("other values", 1)]
        and found.weights.groups[0].largest == pytest.approx(1.0)
    )
    assert compared({"w": large}, {"w": large.copy()}, text, text).same


def quantized(per_channel: bool, zero: bool) -> tuple[Array, Array, Array]:
    scale = np.abs(W).max(axis=0 if per_channel else None) / (100.0 if zero else 127.0)
    point = np.full(np.shape(scale), 3 if zero else 0, np.int8)
    return np.clip(np.round(W / scale) + point, -128, 127).astype(np.int8), np.asarray(scale, np.float32), point


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("zero", [True, False])
def test_integers_behind_dequantize_linear(per_channel: bool, zero: bool) -> None:
    integers, scale, point = quantized(per_channel, zero)
    text = TEXT.replace("h = MatMul(x, w)", "f = DequantizeLinear<axis = 1>(q, s, z) h = MatMul(x, f)")
    found = compared({"w": W, "v": V}, {"q": integers, "s": scale, "z": point, "v": V}, text)
    group = found.weights.groups[1]
    assert (group.kind, group.bits, group.turned, group.types) == ("quantized", 8, False, ("FLOAT", "INT8"))
    step = float(np.max(scale)) / 2
    assert 0 < group.largest <= step * 1.01 and not found.weights.removed
    assert found.weights.added == () and found.weights.scales[1][0] == (2 if per_channel else 0)
    assert found.nodes.kept == 2 and found.nodes.added == 1
    back = compared({"q": integers, "s": scale, "z": point, "v": V}, {"w": W, "v": V}, TEXT, text)
    assert [g.kind for g in back.weights.groups] == ["same", "quantized"] and back.weights.groups[1].types[0] == "INT8"


def test_four_bits_in_blocks() -> None:
    blocks = W.reshape(3, 8, 32)
    scale = (np.abs(blocks).max(axis=1) / 7).astype(np.float32)
    integers = np.round(blocks / scale[:, None]).reshape(24, 32).astype(ml_dtypes.int4)
    text = TEXT.replace("h = MatMul(x, w)", "f = DequantizeLinear<axis = 0, block_size = 8>(q, s) h = MatMul(x, f)")
    proto = graphs.proto(text, {"s": scale, "v": V}, opset=21)
    proto.graph.initializer.append(ir.to_proto(ir.Tensor(integers, name="q")))
    found = onnxfix.diff(graphs.proto(TEXT, {"w": W, "v": V}, opset=21), proto)
    group = found.weights.groups[1]
    assert (group.kind, group.bits, group.types) == ("quantized", 4, ("FLOAT", "INT4")) and 0.03 < group.relative < 0.2
    assert onnxfix.diff(proto, proto).same


def test_weights_that_come_and_go() -> None:
    text = TEXT.replace("y = MatMul(h, v)", "m = MatMul(h, v) y = Add(m, b)")
    bias = RNG.normal(size=16).astype(np.float32)
    found = compared({"w": W, "v": V}, {"w": W, "v": V, "b": bias}, text)
    assert [(w.name, w.type, w.shape, w.bytes) for w in found.weights.added] == [("b", "FLOAT", (16,), 64)]
    assert "1 weight new" in repr(found) and found.weights.removed == ()


def test_what_is_stored_twice_shared_and_unread() -> None:
    square = RNG.normal(size=(40, 40)).astype(np.float32)
    text = "g (float[b,40] x) => (float[b,40] y) { h = MatMul(x, w) y = MatMul(h, v) }"
    one = {"w": square, "v": square.copy(), "u": V}
    found = compared(one, {"w": square}, text.replace("v)", "w)"), text)
    assert found.same and "storage of weights" in repr(found)
    before, after = found.weights.before, found.weights.after
    assert (before.copies, before.shared, before.unread) == ((1, square.nbytes), 0, 1)
    assert (after.copies, after.shared, after.unread) == ((0, 0), 1, 0)


def test_strings_and_sparse_tensors() -> None:
    text = "g (int64[n] x) => (string[n] y) { y = Gather(words, x) }"
    words = [f"word {number}" for number in range(2000)]
    found = [graphs.proto(text, {"words": np.array([*words, last], dtype=object)}) for last in "qr"]
    assert onnxfix.diff(found[0], found[0]).same and not onnxfix.diff(*found).same
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("values", TensorProto.FLOAT, [2], [1.0, 2.0]),
        helper.make_tensor("indices", TensorProto.INT64, [2], [3, 40]),
        [2, 24],
    )
    made = []
    for other in (1.0, 5.0):
        proto = graphs.proto("g (float[2,24] x) => (float[2,24] y) { c = Constant<value_float = 1.0>() y = Add(x, c) }")
        del proto.graph.node[0].attribute[:]
        sparse.values.float_data[0] = other
        proto.graph.node[0].attribute.append(helper.make_attribute("sparse_value", sparse))
        made.append(proto)
    assert onnxfix.diff(made[0], made[0]).same
    found_sparse = onnxfix.diff(*made)
    assert not found_sparse.same and kinds(found_sparse) == [("other values", 1)]


def external(folder: Path, name: str, weights: Mapping[str, Array]) -> Path:
    folder.mkdir()
    proto = graphs.proto(TEXT, weights)
    onnx.save(proto, folder / name, save_as_external_data=True, location=f"{name}.data", size_threshold=0)
    return folder / name


def test_weights_in_data_files(tmp_path: Path) -> None:
    inline = tmp_path / "inline.onnx"
    onnx.save(graphs.proto(TEXT, {"w": W, "v": V}), inline)
    one = external(tmp_path / "one", "m.onnx", {"w": W, "v": V})
    found = onnxfix.diff(inline, one)
    assert found.same and ("weights in data files", "no", "yes") in {(f.name, f.before, f.after) for f in found.facts}
    other = external(tmp_path / "other", "m.onnx", {"w": W, "v": V + 1})
    assert kinds(onnxfix.diff(one, other)) == [("same", 1), ("other values", 1)]
    (tmp_path / "one" / "m.onnx.data").unlink()
    with pytest.raises(onnxfix.OnnxfixError, match=r"external data file m\.onnx\.data is missing"):
        onnxfix.diff(other, one)


def test_only_what_could_be_equal_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxfix.flows.diagnosis.difference.weights import contents

    read = []
    whole = contents._digest
    monkeypatch.setattr(contents, "_digest", lambda tensor: read.append(tensor.name) or whole(tensor))
    tensors = [ir.Tensor(RNG.normal(size=(64, n)).astype(np.float32), name=str(n)) for n in (100, 101, 102)]
    twin = ir.Tensor(tensors[0].numpy().copy(), name="twin")
    found = Contents([*tensors, twin])
    assert len({found.of(t) for t in (*tensors, twin)}) == 3 and read == ["100", "twin"]


def test_bytes_by_type() -> None:
    found = compared(
        {"w": W, "v": V},
        {"w": W.astype(np.float16), "v": V},
        TEXT.replace("w)", "c)").replace("{ h", "{ c = CastLike(w, x) h"),
    )
    assert found.weights.before.types == {"FLOAT": (2, W.nbytes + V.nbytes)}
    assert found.weights.after.types == {"FLOAT": (1, V.nbytes), "FLOAT16": (1, W.nbytes // 2)}


@pytest.mark.parametrize("turned", [False, True])
def test_one_weight_that_becomes_three(turned: bool) -> None:
    packed = RNG.normal(size=(48, 120)).astype(np.float32)
    parts = dict(zip("qkv", np.split(packed, [40, 80], axis=1), strict=True))
    one = "g (float[b,48] x) => (float[b,120] y) { y = MatMul(x, w) }"
    joined = "a = MatMul(x, q) b = MatMul(x, k) c = MatMul(x, v) y = Concat<axis = 1>(a, b, c)"
    three = f"g (float[b,48] x) => (float[b,120] y) {{ {joined} }}"
    if turned:
        parts = {name: np.ascontiguousarray(part.T) for name, part in parts.items()}
        three = three.replace("MatMul(x", "Gemm<transB = 1>(x")
    found = compared({"w": packed}, parts, three, one)
    group = found.weights.groups[0]
    assert (group.kind, group.turned, len(group.names), group.bytes) == (
        "cut",
        turned,
        3,
        (packed.nbytes, packed.nbytes),
    )
    assert not found.weights.removed and not found.weights.added and "3 weights cut" in repr(found)
    back = compared(parts, {"w": packed}, one, three)
    assert kinds(back) == [("joined", 3)]
    parts["q"] = parts["q"] + 1
    assert kinds(compared({"w": packed}, parts, three, one)) == [("cut", 2)]
    parts["k"] = parts["k"] + 1
    assert kinds(compared({"w": packed}, parts, three, one)) == []


def test_integers_of_sizes_that_do_not_fit() -> None:
    """Of files that ONNX Runtime refuses, and not we."""
    text = """g (int64[n] x) => (float[n,32] y) {
        y = com.microsoft.GatherBlockQuantized<bits = -4, block_size = 32, quantize_axis = 1>(q, x, s)
    }"""
    weights = {"q": np.zeros((8, 32), np.uint8), "s": np.ones((8, 1), np.float32)}
    assert compared(weights, weights, text, text).same
    table = "g (int64[n] x) => (float[n,32] y) { y = Gather(w, x) }"
    assert kinds(compared({"w": W[:8]}, weights, text, table)) == []
    text = """g (float[n,32] x) => (float[n,8] y) {
        y = com.microsoft.MatMulNBits<K = 32, N = 0, bits = 8, block_size = 32>(x, q, s)
    }"""
    weights = {"q": np.zeros((8, 1, 32), np.uint8), "s": np.ones(8, np.float32)}
    product = "g (float[n,32] x) => (float[n,8] y) { y = MatMul(x, w) }"
    assert kinds(compared({"w": W[:8].T.copy()}, weights, text, product)) == []
