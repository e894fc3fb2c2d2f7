"""Files that no runtime takes, which once ended in an error of ours: each is diagnosed, and repair says why not."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest

import onnxfix
from onnxfix.nouns.errors import OnnxfixError

W = {"w": np.ones((3, 4), np.float32)}
FUNCTION = """<ir_version: 10, opset_import: ["" : 20, "local" : 1]>
    g (float[b,4] x) => (float[b,4] y) { y = local.F(x) }
    <domain: "local", opset_import: ["" : 20]> F (a) => (c) { c = Neg(a) }
    <domain: "local", opset_import: ["" : 20, "local" : 1]> G (a) => (c) { c = local.G(a) }"""
STRANGE = {
    "an operator of another domain with no input": (
        "g (float[b,4] x) => (float[b,2] y) { t = Transpose<perm = [1, 0]>(w) h = MatMul(x, t) "
        "k = other.Transpose<value = float[3,2] {1, 2, 3, 4, 5, 6}>() y = MatMul(h, k) }"
    ),
    "a product of a number": "g (float x, float[3,4] y0) => (float[m] y) { y = MatMul(x, y0) }",
    "an attribute of another type in another domain": (
        "g (float[b,3] x) => (float[b,4] y) { y = other.Gemm<transB = [1, 0]>(x, w) }"
    ),
    "an Einsum without an equation": "g (float[2,3] x) => (float[m,n] y) { y = Einsum(x) }",
    "a function that calls itself and is called by nobody": FUNCTION,
    "a packed weight of another domain that states no size": (
        "g (float[b,32] x) => (float[b,2] y) <uint8[2,1,2] w = {1, 2, 3, 4}, float[2,1] s = {0.1, 0.1}> "
        "{ y = other.MatMulNBits<K = 32, bits = 8, block_size = 32>(x, w, s) }"
    ),
    "parts of an axis of 2⁴⁰": (
        "g (float[b,8,1099511627776] x, int64 first) => (float[b,8,k] y) <int64 size = {4}, int64 one = {0}> "
        "{ s = SplitToSequence<axis = -1>(x, size) a = SequenceAt(s, one) y = Exp(a) }"
    ),
    "an input that no memory holds": "g (float[b,8] x, int64[9223372036854775807,8] n) => (float[b,8] y) "
    "{ f = Cast<to = 1>(n) y = Mul(x, f) }",
}


@pytest.mark.parametrize("kind", STRANGE)
def test_it_is_told(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(graphs.proto(STRANGE[kind], W if "w)" in STRANGE[kind] else None), path)
    for target in ("cpu", "cuda"):
        assert onnxfix.diagnose(path, target=target).model["path"]
    with pytest.raises(OnnxfixError):
        onnxfix.repair(path, dry_run=True)


def test_a_shape_that_is_too_large_is_said_of_its_input(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(graphs.proto(STRANGE["an input that no memory holds"]), path)
    with pytest.raises(OnnxfixError, match="for input 'n': its shape is 9223372036854775807x8; state a smaller one"):
        onnxfix.repair(path, dry_run=True)
