"""Q004: what it says of a QDQ graph is held against the graph that ONNX Runtime makes of the whole model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

TARGET = "cpu"
SITES = ["Gemm_y"]
RNG = np.random.default_rng(0)
NARROW = onnx.helper.make_tensor("narrow", onnx.TensorProto.UINT4, [32, 16], bytes(256), raw=True)
WEIGHTS: dict[str, Any] = {
    "s": np.float32(0.1), "t": np.float32(0.2), "z": np.uint8(3), "z8": np.int8(0), "z16": np.uint16(3),
    "h": np.float16(0.1), "w": RNG.integers(-9, 9, (32, 16), np.int8), "ws": np.full(16, 0.1, np.float32),
    "wh": np.full(16, 0.1, np.float16), "wz": np.zeros(16, np.int8), "wt": RNG.integers(-9, 9, (16, 32), np.int8),
    "f": RNG.normal(size=(32, 16)).astype(np.float32), "b": np.full(16, 0.1, np.float32), "bi": np.zeros(16, np.int32),
    "cs": np.full(32, 0.1, np.float32), "cz": np.full(32, 3, np.uint8), "ns": np.full((1, 16), 0.1, np.float32),
    "g": np.ones(32, np.float32), "k": RNG.integers(-9, 9, (4, 3, 3, 3), np.int8), "kb": np.zeros(4, np.float32),
    "ks": np.full(4, 0.1, np.float32), "kz": np.zeros(4, np.int8), "rows": RNG.integers(-9, 9, (99, 32), np.int8),
    "flat": np.array([-1, 32]),
}  # fmt: skip
MATRIX, CUBE = ("g (float[n,32] x) => (float[n,16] y)", "g (float[a,n,32] x) => (float[a,n,16] y)")
SAME, HALF = "g (float[n,32] x) => (float[n,32] y)", "g (float16[n,32] x) => (float16[n,16] y)"
IMAGE, IDS = "g (float[1,3,8,8] x) => (float[1,4,6,6] y)", "g (int64[n] ids) => (float[n,32] y)"
SCORES = "g (float[n,h,s,32] x, float[n,h,32,s] k1) => (float[n,h,s,s] y)"
X = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) "
X8 = "q = QuantizeLinear(x, s, z8) d = DequantizeLinear(q, s, z8) "
W = "e = DequantizeLinear<axis = 1>(w, ws, wz) "
K = "e = DequantizeLinear<axis = 0>(k, ks, kz) "
Y = " p = QuantizeLinear(m, t, z) y = DequantizeLinear(p, t, z)"
XH = "q = QuantizeLinear(x, h, z) d = DequantizeLinear(q, h, z) e = DequantizeLinear<axis = 1>(w, wh, wz) "

FUSED = {
    "a product": (MATRIX, X + W + "y = MatMul(d, e)"),
    "its result quantized": (MATRIX, X + W + "m = MatMul(d, e)" + Y),
    "int8 activations": (MATRIX, X8 + W + "y = MatMul(d, e)"),
    "int8 in, uint8 out": (MATRIX, X8 + W + "m = MatMul(d, e)" + Y),
    "a computed scale": (MATRIX, "a = Abs(x) c = ReduceMax<keepdims = 0>(a) r = Mul(c, s) q = QuantizeLinear(x, r, z) "
                         "d = DequantizeLinear(q, r, z) " + W + "y = MatMul(d, e)"),
    "a transposed weight": (MATRIX, X + "e = DequantizeLinear<axis = 0>(wt, ws, wz) "
                            "v = Transpose<perm = [1, 0]>(e) y = MatMul(d, v)"),
    "a reshaped activation": (MATRIX, X + "r = Reshape(d, flat) " + W + "y = MatMul(r, e)"),
    "a bias in int32": (MATRIX, X + W + "c = DequantizeLinear<axis = 0>(bi, b) y = Gemm(d, e, c)"),
    "an added bias in three dimensions": (CUBE, X + W + "m = MatMul(d, e) y = Add(m, b)"),
    "a weight alone": (CUBE, W + "y = MatMul(x, e)"),
    "a weight alone in half": (HALF, "e = DequantizeLinear<axis = 1>(w, wh, wz) y = MatMul(x, e)"),
    "a weight alone in blocks": (MATRIX, "e = DequantizeLinear<axis = 0, block_size = 32>(narrow, ns) "
                                 "y = MatMul(x, e)"),
    "attention": (SCORES, X + "r = QuantizeLinear(k1, s, z) e = DequantizeLinear(r, s, z) y = MatMul(d, e)"),
    "a convolution": (IMAGE, X + K + "m = Conv(d, e, kb)" + Y),
    "a sum": (SAME, X + "r = QuantizeLinear(x, t, z) e = DequantizeLinear(r, t, z) m = Add(d, e)" + Y),
    "integers without pairs": (MATRIX, "q = QuantizeLinear(x, s, z8) m = MatMulInteger(q, w) c = Cast<to = 1>(m) "
                               "y = Mul(c, s)"),
}  # fmt: skip
UNFUSED = {
    "a float bias": (MATRIX, X + W + "y = Gemm(d, e, b)", "its bias is in float"),
    "a float bias added": (MATRIX, X + W + "m = MatMul(d, e) y = Add(m, b)", "its bias is in float"),
    "16 bits": (MATRIX, "q = QuantizeLinear(x, s, z16) d = DequantizeLinear(q, s, z16) " + W + "y = MatMul(d, e)",
                "16 bits"),
    "half precision": (HALF, XH + "y = MatMul(d, e)", "half precision"),
    "a float weight": (MATRIX, X + "y = MatMul(d, f)", "its weight is not"),
    "a weight alone, the result quantized": (MATRIX, W + "m = MatMul(x, e)" + Y, "its activation is not, and its"),
    "a result read twice": (MATRIX, X + W + "m = MatMul(d, e) p = QuantizeLinear(m, t, z) "
                            "o = DequantizeLinear(p, t, z) i = Neg(o) y = Mul(i, m)", "read quantized and in float"),
    "a convolution whose result stays": (IMAGE, X + K + "y = Conv(d, e)", "no QuantizeLinear reads"),
    "a table": (IDS, "e = DequantizeLinear(rows, s, z8) y = Gather(e, ids)", "whole table"),
    "a norm": (SAME, X + "m = LayerNormalization(d, g)" + Y, "rounded for nothing"),
    "an activation function": (SAME, X + "m = Gelu(d)" + Y, "rounded for nothing"),
}  # fmt: skip
ON_CUDA = {"a weight alone", "a weight alone in half", "a weight alone in blocks", "integers without pairs"}


def model(head: str, body: str) -> Model:
    """A QDQ graph with the weights that it reads."""
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    read = {name: array for name, array in WEIGHTS.items() if name in words}
    proto = graphs.proto(f"{head} {{ {body} }}", read, opset=21)
    if "narrow" in words:
        proto.graph.initializer.append(NARROW)
    return graphs.opened(proto)


def BAD() -> Model:
    return model(*UNFUSED["a float bias"][:2])


def SOUND() -> Model:
    return model(*FUSED["a product"])


def found(subject: Model, target: str = "cpu") -> list[Finding]:
    return [f for f in diagnose(subject, Target.resolve(target)).findings if f.code == "Q004"]


def in_float(subject: Model, folder: Path) -> list[str]:
    """Products, lookups and norms of the graph that a session runs whose operand a DequantizeLinear makes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(
        graphs.proto_of(subject).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    graph = onnx.load(folder / "optimised.onnx").graph
    made = {name: node for node in graph.node for name in node.output}

    def dequantized(name: str) -> bool:
        while name in made and made[name].op_type == "Cast":
            name = made[name].input[0]
        return name in made and made[name].op_type == "DequantizeLinear"

    wanted = ("MatMul", "Gemm", "Conv", "Gather", "LayerNormalization", "Gelu")
    return [n.op_type for n in graph.node if n.op_type in wanted and any(map(dequantized, n.input))]


@pytest.mark.parametrize("name", FUSED)
def test_what_the_runtime_fuses_is_no_finding(name: str, tmp_path: Path) -> None:
    subject = model(*FUSED[name])
    assert in_float(subject, tmp_path) == []
    assert found(subject) == []


@pytest.mark.parametrize("name", UNFUSED)
def test_what_the_runtime_leaves_in_float_is_one_with_its_reason(name: str, tmp_path: Path) -> None:
    head, body, reason = UNFUSED[name]
    subject = model(head, body)
    (finding,) = found(subject)
    assert in_float(subject, tmp_path) == [finding.site.op_type]
    assert reason in finding.message and finding.evidence["count"] == 1
    assert finding.severity is (Severity.NOTE if "for nothing" in reason else Severity.WARNING)


@pytest.mark.parametrize("name", FUSED)
def test_cuda_fuses_a_weight_alone_and_nothing_else(name: str) -> None:
    assert (found(model(*FUSED[name]), "cuda") == []) == (name in ON_CUDA)


@pytest.mark.parametrize("target", ["tensorrt", "openvino"])
def test_who_reads_the_pairs_itself_is_not_judged(target: str) -> None:
    assert found(BAD(), target) == []


def test_a_scale_a_channel_on_an_activation_is_fused_and_does_not_run() -> None:
    body = "q = QuantizeLinear<axis = 1>(x, cs, cz) d = DequantizeLinear<axis = 1>(q, cs, cz) " + W + "y = MatMul(d, e)"
    subject = model(MATRIX, body)
    (finding,) = found(subject)
    assert finding.severity is Severity.ERROR and "MatMulIntegerToFloat" in finding.message
    with pytest.raises(Exception, match="Per-Channel is not supported"):
        graphs.run(subject, {"x": np.ones((2, 32), np.float32)}, level="all")


def test_what_keeps_the_fused_graph_from_loading_is_an_error_and_hides_no_other_cause() -> None:
    body = (
        "q = QuantizeLinear<axis = 1>(x, cs, cz) d = DequantizeLinear<axis = 1>(q, cs, cz) m = Add(d, d) "
        "p = QuantizeLinear(m, t, z) o = DequantizeLinear(p, t, z) " + W + "y = Gemm(o, e, b)"
    )
    first, second = found(model(MATRIX, body))
    assert first.severity is Severity.ERROR and "must be a scalar" in first.message
    assert second.severity is Severity.WARNING and "bias" in second.message


def test_layers_of_one_cause_are_one_finding_that_names_them() -> None:
    numbers = range(5)
    layers = "".join(
        f"q{i} = QuantizeLinear(x, s{i}, z) d{i} = DequantizeLinear(q{i}, s{i}, z) "
        f"e{i} = DequantizeLinear(w{i}, s, z8) h{i} = Gemm(d{i}, e{i}, b{i}) "
        for i in numbers
    )
    weights: dict[str, Any] = {name: WEIGHTS[name] for name in ("s", "z", "z8")}
    for i in numbers:  # of different widths and scales: the cause is one
        weights |= {f"w{i}": np.ones((32, 32 + 16 * i), np.int8), f"b{i}": np.ones(32 + 16 * i, np.float32)}
        weights[f"s{i}"] = np.float32(0.1 + i)
    parts = ", ".join(f"h{i}" for i in numbers)
    text = f"g (float[n,32] x) => (float[n,320] y) {{ {layers} y = Concat<axis = 1>({parts}) }}"
    (finding,) = found(graphs.model(text, weights, opset=21))
    assert finding.evidence["nodes"] == [f"Gemm_h{i}" for i in numbers]
    assert finding.message.startswith("5 × Gemm ")


CHILD = """import sys
from onnxruntime import GraphOptimizationLevel, SessionOptions, set_default_logger_severity
from onnxruntime.capi.onnxruntime_pybind11_state import InferenceSession
set_default_logger_severity(0)
for path in sys.argv[1:]:
    options = SessionOptions()
    options.log_severity_level = 0
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.compile_only", "1")
    print("model", path, file=sys.stderr, flush=True)
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    InferenceSession(options, path, True, False).initialize_session(providers, [{}, {}], set())
"""


def test_the_cuda_provider_fuses_the_same(tmp_path: Path) -> None:
    """A session planned with stub libraries says in its log whether the transformer of QDQ units changed the graph."""
    stub_libraries = pytest.importorskip("stub_libraries")
    try:
        folder = stub_libraries.build()
    except stub_libraries.StubError as error:
        pytest.skip(str(error))
    paths = [str(tmp_path / f"{i}.onnx") for i in range(len(FUSED))]
    for path, case in zip(paths, FUSED.values(), strict=True):
        onnx.save(graphs.proto_of(model(*case)), path)
    environment = os.environ | {"LD_LIBRARY_PATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *paths], env=environment, capture_output=True, text=True, check=True
    )
    logs = ("\n" + done.stderr).split("\nmodel ")[1:]
    assert len(logs) == len(paths) and "Failed to" not in done.stderr
    changed = {name for name, log in zip(FUSED, logs, strict=True) if "QDQSelectorActionTransformer modified: 1" in log}
    assert changed == ON_CUDA - {"integers without pairs"}


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_no_int8_is_advised_for_a_convolution(target: str) -> None:
    """--int8 takes linears alone and ends in an error on a model without one."""
    (convolution,) = found(model(*UNFUSED["a convolution whose result stays"][:2]), target)
    (linear,) = found(BAD(), target)
    assert "--int8" not in convolution.repair and convolution.repair
    assert "--int8" in linear.repair
