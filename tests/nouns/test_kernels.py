"""Kernel tables and targets: lookup by version, by type and by argument, as ONNX Runtime resolves them."""

import graphs
import numpy as np
import onnx
import pytest
from provider_names import CPU, CUDA

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.runtime.kernels import UNKNOWN_TYPE, Kernel, KernelTable, available
from onnxfix.nouns.target import Target
from onnxfix.nouns.types import schemas
from onnxfix.nouns.types.inference import infer

FLOAT, HALF, BRAIN, INT = "tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(int64)"

TABLE = KernelTable.load("1.31.1")


def found(op_type: str, opset: int, inputs: list[str | None], outputs: list[str | None], provider: str = CUDA,
          domain: str = "") -> Kernel | None:  # fmt: skip
    schema = TABLE.schema(op_type, domain, opset)
    assert schema is not None
    return TABLE.find(provider, schema, inputs, outputs)


@pytest.mark.parametrize(
    ("op_type", "opset", "kind", "exists"),
    [
        ("Softmax", 20, BRAIN, True),
        ("LogSoftmax", 20, BRAIN, False),
        ("ReduceMax", 20, HALF, True),
        ("ReduceMax", 20, BRAIN, False),
        ("Gelu", 20, HALF, True),
        ("Tan", 20, FLOAT, False),
        ("MaxPool", 21, FLOAT, True),
        ("MaxPool", 22, FLOAT, False),  # the kernel's upper end is open, which covers no newer schema
        ("SplitToSequence", 20, FLOAT, False),
    ],
)
def test_types_and_versions_on_cuda(op_type: str, opset: int, kind: str, exists: bool) -> None:
    assert (found(op_type, opset, [kind], [kind]) is not None) is exists


def test_cpu_has_no_half_precision_matmul() -> None:
    assert found("MatMul", 20, [HALF, HALF], [HALF], CPU) is None
    assert found("MatMul", 20, [FLOAT, FLOAT], [FLOAT], CPU) is not None


@pytest.mark.parametrize(
    ("op_type", "inputs", "host_inputs", "host_outputs"),
    [
        ("Shape", [FLOAT], set(), {0}),
        ("Reshape", [FLOAT, INT], {1}, set()),
        ("Range", [INT, INT, INT], {0, 1, 2}, set()),
        ("Slice", [FLOAT, INT, INT, INT, INT], {1, 2, 3, 4}, set()),
        ("Gather", [FLOAT, INT], set(), set()),
    ],
)
def test_arguments_in_host_memory(
    op_type: str, inputs: list[str | None], host_inputs: set[int], host_outputs: set[int]
) -> None:
    kernel = found(op_type, 17, inputs, [inputs[0] if op_type != "Shape" else INT])
    assert kernel is not None
    assert (kernel.host_inputs, kernel.host_outputs) == (host_inputs, host_outputs)


def test_only_the_first_argument_of_a_constraint_decides() -> None:
    """MatMulInteger on CUDA takes int8; the constraint of an omitted argument is not checked."""
    assert found("MatMulInteger", 20, ["tensor(int8)", "tensor(int8)", None, None], ["tensor(int32)"]) is not None
    assert found("MatMulInteger", 20, ["tensor(uint8)", "tensor(int8)", None, None], ["tensor(int32)"]) is None


def test_an_unknown_type_matches() -> None:
    assert found("LogSoftmax", 20, [UNKNOWN_TYPE], [UNKNOWN_TYPE]) is not None


def test_a_constraint_named_after_a_parameter_of_fixed_type() -> None:
    """Cast's T2 is found on the output; the sequence type of SequenceAt on its first input."""
    assert found("Cast", 20, [FLOAT], ["tensor(string)"]) is None
    assert found("SequenceAt", 20, [f"seq({FLOAT})", INT], [FLOAT]) is not None


def test_contributed_operators() -> None:
    assert found("SkipLayerNormalization", 1, [HALF, HALF, HALF], [HALF], domain="com.microsoft") is not None
    assert found("GroupQueryAttention", 1, [FLOAT], [FLOAT], domain="com.microsoft") is None


def test_schemas_are_those_the_runtime_knows() -> None:
    """onnx defines Attention 25 and opset 28; ONNX Runtime 1.31 stops at 24 and 27."""
    assert TABLE.opset == 27
    newest = TABLE.schema("Attention", "", 28)
    assert newest is not None
    assert newest.since == 24
    assert TABLE.schema("Attention", "ai.onnx", 22) is None
    assert TABLE.schema("Frobnicate", "", 20) is None


def test_operators_that_only_the_runtime_defines() -> None:
    """ONNX Runtime's own optimiser writes LayerNormalization into graphs below opset 17."""
    schema = TABLE.schema("LayerNormalization", "", 14)
    assert schema is not None
    assert schema.since == 1
    assert TABLE.find(CUDA, schema, [HALF, HALF, HALF], [HALF]) is not None


def test_operators_that_only_the_runtime_defines_have_types() -> None:
    """A graph as ONNX Runtime's optimiser and fusion scripts write it: the norm in the default domain at any opset."""
    model = graphs.model(
        """g (float16[b,8] x) => (float16[b,8] y, int64[k] i) {
            n = SimplifiedLayerNormalization(x, scale) y = Neg(n) i = NonZero(n) }""",
        {"scale": np.ones(8, "float16")},
    )
    types = infer(model.ir)
    assert not types.unknown_ops
    assert types.get(graphs.node_named(model, "SimplifiedLayerNormalization_n").outputs[0]) == HALF
    plan = forecast(model, Target.resolve("cuda"))
    assert {n.op_type: n.provider for n in plan.nodes} == dict.fromkeys(
        ("SimplifiedLayerNormalization", "Neg", "NonZero"), CUDA
    )
    assert not plan.note


def test_schemas_agree_with_the_installed_libraries() -> None:
    """A table needs neither onnx nor ONNX Runtime; where they know a schema too, it is the same."""
    found = [s for versions in TABLE.operators.values() for s in versions]
    assert len(found) > 800
    other = [s for s in found if schemas.find(s.op_type, s.domain, s.since) != s]
    # ONNX Runtime's Python does not say that GroupNormalization 18 is deprecated
    assert [(s.op_type, s.since) for s in other if not onnx_is_older(s)] == [("GroupNormalization", 18)]


def onnx_is_older(schema: schemas.Schema) -> bool:
    return schema.domain == "" and schema.since > onnx.defs.onnx_opset_version()


@pytest.mark.parametrize("version", available())
def test_every_table_is_whole(version: str) -> None:
    table = KernelTable.load(version)
    assert (table.version, table.exact) == (version, True)
    assert sum(map(len, table.kernels.values())) > 1000
    reshape = table.schema("Reshape", "", 20)
    assert reshape is not None
    kernel = table.find(CUDA, reshape, [FLOAT, INT], [FLOAT])
    assert kernel is not None
    assert kernel.host_inputs == {1}
    assert all(table.knows(op_type, domain) for _, domain, op_type in table.kernels)


def test_nearest_table() -> None:
    assert {"1.24.4", "1.31.1"} <= set(available())
    assert TABLE.exact
    other = KernelTable.load("1.24.2")
    assert (other.version, other.requested, other.exact) == ("1.24.4", "1.24.2", False)
    assert KernelTable.load("1.32.0.dev20260901").version == "1.31.1"


def test_releases_differ() -> None:
    """Opset 27 revised Range; 1.24 ends at opset 25."""
    older = KernelTable.load("1.24.4")
    assert (older.opset, TABLE.opset) == (25, 27)
    assert {k.since for k in older.candidates(CUDA, "Range", "")} == {11}
    assert {k.since for k in TABLE.candidates(CUDA, "Range", "")} == {11, 27}


def test_candidates_are_of_all_versions() -> None:
    assert {k.since for k in TABLE.candidates(CUDA, "Softmax", "ai.onnx")} == {1, 11, 13}
    assert TABLE.candidates(CUDA, "SplitToSequence", "") == ()


@pytest.mark.parametrize(
    ("provider", "op_type", "domain", "kind", "answer"),
    [
        ("cuda", "Softmax", "", HALF, "yes"),
        ("cuda", "Tan", "", HALF, "no"),
        ("cpu", "Softmax", "", HALF, "no"),
        ("tensorrt", "Softmax", "", HALF, "yes"),
        ("openvino", "Softmax", "", HALF, "unknown"),
        ("cuda", "MyOp", "my.domain", HALF, "unknown"),
    ],
)
def test_target_supports(provider: str, op_type: str, domain: str, kind: str, answer: str) -> None:
    assert Target.resolve(provider).supports(op_type, domain, 20, [kind], [kind]) == answer


def test_target_names() -> None:
    assert Target.resolve("cuda").ep_names() == [CUDA, CPU]
    assert Target.resolve("openvino").engine == "unknown"
    with pytest.raises(OnnxfixError, match="unknown target 'npu'"):
        Target.resolve("npu")
