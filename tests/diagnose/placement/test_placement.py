"""Placement forecast: hand-built graphs, one a rule of ONNX Runtime's CUDA partitioner, each with its sound twin.

The expected placements and copies are those of the real runtime (onnxruntime-gpu 1.31.1, basic optimisations).
"""

from dataclasses import dataclass, field
from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from provider_names import CPU, CUDA

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Copy, Plan
from onnxfix.nouns.target import Target


@dataclass(frozen=True)
class Case:
    """`host`: names of the nodes on the CPU; `copies`: (direction, value); `weights`: type and shape by name."""

    text: str
    host: set[str] = field(default_factory=set)
    copies: set[tuple[str, str]] = field(default_factory=set)
    opset: int = 20
    weights: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)

    def model(self) -> Model:
        arrays = {name: np.ones(shape, dtype) for name, (dtype, shape) in self.weights.items()}
        return graphs.model(self.text, arrays, self.opset)


CASES = {
    "no CUDA kernel at any version: copied out and back": Case(
        """g (float[b,8] x) => (float[b,m] y) { h = Relu(x) s = SplitToSequence<axis = 1>(h, c)
            a = SequenceAt(s, i) y = Exp(a) }""".replace("g (float[b,8] x)", "g (float[b,8] x, int64 c, int64 i)"),
        {"SplitToSequence_s"},
        {("to_host", "h"), ("from_host", "s")},
    ),
    "the same with Split: nothing copied": Case(
        "g (float[b,8] x) => (float[b,4] y) { h = Relu(x) a, c = Split<axis = 1, num_outputs = 2>(h) y = Mul(a, c) }"
    ),
    "shape arithmetic goes to the CPU and its result is read there: nothing copied": Case(
        """g (float[b,s,8] x) => (float[b,n] y) { shape = Shape(x) b0 = Gather<axis = 0>(shape, zero)
            t = Concat<axis = 0>(b0, b0) y = Reshape(x, t) }""",
        {"Gather_b0", "Concat_t"},
        weights={"zero": ("int64", (1,))},
    ),
    "a shape value read by a CUDA node is copied": Case(
        """g (float[b,8] x, float[b,8] z) => (float[b,8] y) { shape = Shape(x) n = Gather<axis = 0>(shape, zero)
            f = Cast<to = 1>(n) e = Exp(z) y = Mul(e, f) }""",
        {"Gather_n", "Cast_f"},
        {("from_host", "f")},
        weights={"zero": ("int64", ())},
    ),
    "float16 ends a shape chain": Case(
        """g (float[b,8] x, float16[b,8] z) => (float16[b,8] y) { shape = Shape(x) n = Gather<axis = 0>(shape, zero)
            f = Cast<to = 10>(n) r = Sqrt(f) y = Mul(z, r) }""",
        {"Gather_n", "Cast_f"},
        {("from_host", "f")},
        weights={"zero": ("int64", ())},
    ),
    "a graph input of any size is dragged into a shape chain, and copied for its other readers": Case(
        """g (int64[b,s] ids) => (int64[b,s] y, int64[b,s] z) { shape = Shape(ids) n = Gather<axis = 0>(shape, zero)
            y = Mul(ids, n) z = Neg(ids) }""",
        {"Gather_n", "Mul_y"},
        {("from_host", "ids")},
        weights={"zero": ("int64", ())},
    ),
    "a computed value is not dragged": Case(
        """g (int64[b,s] ids) => (int64[b,s] y) { shape = Shape(ids) n = Gather<axis = 0>(shape, zero)
            m = Neg(ids) y = Mul(m, n) }""",
        {"Gather_n"},
        {("from_host", "n")},
        weights={"zero": ("int64", ())},
    ),
    "an initializer of 101 elements ends a shape chain": Case(
        """g (float[b,8] x) => (int64[k] y) { n = Size(x) y = Mul(n, table) }""",
        copies={("from_host", "n")},
        weights={"table": ("int64", (101,))},
    ),
    "an initializer of 100 elements does not": Case(
        "g (float[b,8] x) => (int64[k] y) { n = Size(x) y = Mul(n, table) }",
        {"Mul_y"},
        weights={"table": ("int64", (100,))},
    ),
    "an argument that the CUDA kernel reads on the host": Case(
        """g (int64 n, int64 zero) => (int64[k] y) { m = Neg(n) a = Abs(m) y = Range(zero, a, one) }""",
        copies={("to_host", "a")},
        weights={"one": ("int64", ())},
    ),
    "the same argument straight from a graph input": Case(
        "g (int64 n) => (int64[k] y) { y = Range(zero, n, one) }",
        weights={"zero": ("int64", ()), "one": ("int64", ())},
    ),
    "a host argument stops a shape chain: Expand stays on CUDA": Case(
        "g (float[b,8] x, float[1,8] w) => (float[b,8] y) { shape = Shape(x) y = Expand(w, shape) }"
    ),
    "a CPU-only node that a shape chain reaches carries it on": Case(
        """g (float[b,8] x) => (int64[k] y) { shape = Shape(x) u, i, v, c = Unique(shape) y = Neg(u) }""",
        {"Unique_u", "Neg_y"},
    ),
    "the same node without a shape chain does not": Case(
        "g (int64[n] x) => (int64[k] y) { a = Abs(x) u, i, v, c = Unique(a) y = Neg(u) }",
        {"Unique_u"},
        {("to_host", "a"), ("from_host", "u")},
    ),
    "bodies are planned for themselves; what they capture is not copied by the parent": Case(
        """g (float[b,8] x, bool c) => (float[b,8] y) { h = Relu(x)
            y = If(c) <then_branch = t () => (float[b,8] p) { p = Neg(h) },
                       else_branch = e () => (float[b,8] q) { q = Tan(h) }> }""",
        {"Tan_q"},
    ),
    "a captured value read on both sides is copied inside the body": Case(
        """g (float[b,8] x, bool c) => (float[b,8] y) { h = Relu(x)
            y = If(c) <then_branch = t () => (float[b,8] p) { p = Neg(h) },
                       else_branch = e () => (float[b,8] q) { k = Exp(h) r = Tan(h) q = Add(k, r) }> }""",
        {"Tan_r"},
        {("from_host", "h"), ("from_host", "r")},
    ),
    "a captured initializer too, although it is duplicated": Case(
        """g (float[b,8] x, bool c) => (float[b,8] y) {
            y = If(c) <then_branch = t () => (float[b,8] p) { p = Neg(x) },
                       else_branch = e () => (float[b,8] q) { k = Mul(x, w) r = Mean(x, w) q = Add(k, r) }> }""",
        {"Mean_r"},
        {("from_host", "x"), ("from_host", "r"), ("from_host", "w")},
        weights={"w": ("float32", (8,))},
    ),
    "an own initializer is duplicated and not copied": Case(
        "g (float[b,8] x) => (float[b,8] q) { h = Exp(x) k = Mul(h, w) r = Mean(h, w) q = Add(k, r) }",
        {"Mean_r"},
        {("to_host", "h"), ("from_host", "r")},
        weights={"w": ("float32", (8,))},
    ),
    "Loop reads its trip count on the host, carries on the device": Case(
        """g (float[b,8] x, bool go) => (float[b,8] y) { n = Size(x)
            y = Loop(n, go, x) <body = l (int64 i, bool c, float[b,8] s) => (bool d, float[b,8] t)
                { d = Identity(c) t = Tan(s) }> }""",
        {"Tan_t"},
    ),
    "a float16 node without a CUDA kernel runs in float32 on the CPU": Case(
        "g (float16[b,8] x) => (float16[b,8] y) { h = Exp(x) t = Tan(h) y = Neg(t) }",
        {"Tan_t"},
        {("to_host", "h"), ("from_host", "t")},
    ),
    "a float16 function that only the CPU lacks a kernel for stays whole": Case(
        "g (float16[b,8] x) => (float16[b,8] y) { h = Softmax(x) y = Gelu(h) }",
    ),
    "a bfloat16 function too, though its body would have none (ReduceMax)": Case(
        "g (bfloat16[b,8] x) => (bfloat16[b,8] y) { h = Softmax(x) y = Neg(h) }",
    ),
    "a function without any kernel is inlined: CastLike is a Cast": Case(
        "g (float[b,8] x, float16[b,8] z) => (float16[b,8] y) { h = Exp(x) c = CastLike(h, z) y = Add(c, z) }",
    ),
    "a newer schema version than the kernel's": Case(
        "g (float[b,1,8] x) => (float[b,1,m] y) { h = Exp(x) p = MaxPool<kernel_shape = [2]>(h) y = Neg(p) }",
        {"MaxPool_p"},
        {("to_host", "h"), ("from_host", "p")},
        opset=22,
    ),
    "the version before has one": Case(
        "g (float[b,1,8] x) => (float[b,1,m] y) { h = Exp(x) p = MaxPool<kernel_shape = [2]>(h) y = Neg(p) }",
        opset=21,
    ),
    "an attribute that CUDA refuses": Case(
        "g (float[b,8] x) => (int64[b,1] y) { h = Exp(x) y = ArgMax<axis = 1, select_last_index = 1>(h) }",
        {"ArgMax_y"},
        {("to_host", "h")},
    ),
    "the same operator without it": Case(
        "g (float[b,8] x) => (int64[b,1] y) { h = Exp(x) y = ArgMax<axis = 1>(h) }",
    ),
    "contributed operators have CUDA kernels": Case(
        "g (float16[b,8] x) => (float16[b,8] y) { h = com.microsoft.FastGelu(x) y = com.microsoft.QuickGelu(h) }",
    ),
    "quantized inputs: DynamicQuantizeLinear and uint8 MatMulInteger run on the CPU": Case(
        """g (float[b,8] x) => (float[b,4] y) { h = Exp(x) q, s, z = DynamicQuantizeLinear(h)
            m = MatMulInteger(q, w, z) f = Cast<to = 1>(m) y = Mul(f, s) }""",
        {"DynamicQuantizeLinear_q", "MatMulInteger_m"},
        {("to_host", "h"), ("from_host", "m"), ("from_host", "s")},
        weights={"w": ("int8", (8, 4))},
    ),
    "an omitted optional input ends a shape chain": Case(
        "g (float[b,8] x) => (int64[k] y) { shape = Shape(x) y = Clip(shape, , top) }",
        copies={("from_host", "shape")},
        weights={"top": ("int64", ())},
    ),
}


def planned(case: Case, provider: str = "cuda") -> Plan:
    return forecast(case.model(), Target.resolve(provider))


@pytest.mark.parametrize("name", CASES)
def test_placement_and_copies(name: str) -> None:
    case = CASES[name]
    plan = planned(case)
    assert not plan.load_error
    assert not plan.failures
    assert {n.name for n in plan.nodes if n.provider == CPU} == case.host
    assert {n.provider for n in plan.nodes} <= {CPU, CUDA}
    assert sorted((c.direction, c.value) for c in plan.copies) == sorted(case.copies)


@pytest.mark.parametrize("name", CASES)
def test_on_the_cpu_nothing_is_copied(name: str) -> None:
    plan = planned(CASES[name], "cpu")
    assert not plan.copies
    assert {n.provider for n in plan.nodes} <= {CPU, ""}


def copies_of(name: str) -> dict[str, Copy]:
    return {c.value: c for c in planned(CASES[name]).copies}


def test_both_copies_around_a_node_without_kernel_blame_it() -> None:
    found = copies_of("no CUDA kernel at any version: copied out and back")
    assert {(c.cause_node, c.cause_op_type) for c in found.values()} == {("SplitToSequence_s", "SplitToSequence")}
    assert found["h"].severity == found["s"].severity == "error"
    assert found["h"].grows
    assert "no CUDA kernel" in found["h"].cause


def test_a_shape_value_is_a_note_and_blames_the_chain() -> None:
    copy = copies_of("a shape value read by a CUDA node is copied")["f"]
    assert (copy.severity, copy.cause_op_type, copy.grows) == ("note", "Cast", False)
    assert "Shape 'Shape_shape'" in copy.cause


def test_a_dragged_input_is_an_error() -> None:
    copy = copies_of("a graph input of any size is dragged into a shape chain, and copied for its other readers")["ids"]
    assert (copy.severity, copy.cause_node, set(copy.consumers)) == ("error", "Mul_y", {"Neg_z", "Shape_shape"})


def test_a_host_argument_is_named() -> None:
    copy = copies_of("an argument that the CUDA kernel reads on the host")["a"]
    assert (copy.cause_node, copy.severity) == ("Range_y", "note")
    assert "input 1 (limit)" in copy.cause


def test_reasons_name_the_kernels_that_exist() -> None:
    newer = planned(CASES["a newer schema version than the kernel's"])
    reason = next(n.reason for n in newer.nodes if n.name == "MaxPool_p")
    assert "version 22" in reason
    assert "12 to" not in reason
    quantized = planned(CASES["quantized inputs: DynamicQuantizeLinear and uint8 MatMulInteger run on the CPU"])
    reason = next(n.reason for n in quantized.nodes if n.name == "MatMulInteger_m")
    assert "T1 = int8" in reason


def test_shape_arithmetic_does_not_lack_a_kernel() -> None:
    plan = planned(CASES["a CPU-only node that a shape chain reaches carries it on"])
    assert {n.name: n.lacks_kernel for n in plan.nodes if n.provider == CPU} == {"Unique_u": True, "Neg_y": False}


def test_bfloat16_without_a_kernel_fails() -> None:
    plan = planned(Case("g (bfloat16[b,8] x) => (bfloat16[b,8] y) { y = LogSoftmax(x) }"))
    assert plan.failures
    assert {n.op_type for n in plan.nodes if not n.provider} == {"ReduceMax", "Log"}


def test_torch_scope_and_source_survive_the_optimiser() -> None:
    model = CASES["no CUDA kernel at any version: copied out and back"].model()
    for node in model.nodes():
        node.metadata_props["pkg.torch.onnx.name_scopes"] = f"['', 'layers.0.{node.op_type}', 'chunk']"
    plan = forecast(model, Target.resolve("cuda"))
    placed = next(n for n in plan.nodes if n.op_type == "SplitToSequence")
    assert (placed.scope, placed.source) == ("layers.0.SplitToSequence", ("SplitToSequence_s",))
    assert {c.scope for c in plan.copies} == {"layers.0.SplitToSequence"}


def test_local_functions_are_inlined() -> None:
    model = graphs.model("""<ir_version: 10, opset_import: ["" : 20, "local" : 1]>
        g (float[b,8] x) => (float[b,8] y) { h = Exp(x) y = local.Halves(h) }
        <domain: "local", opset_import: ["" : 20]> Halves (a) => (c) { t = Tan(a) c = Neg(t) }""")
    plan = forecast(model, Target.resolve("cuda"))
    assert {n.op_type: n.provider for n in plan.nodes} == {"Exp": CUDA, "Tan": CPU, "Neg": CUDA}
    assert len(plan.copies) == 2


def test_a_model_that_does_not_load_is_still_planned() -> None:
    model = graphs.model("g (float[b,8] x, int64[b,8] z) => (float[b,8] y) { h = Add(x, z) t = Tan(h) y = Exp(t) }")
    plan = forecast(model, Target.resolve("cuda"))
    assert "Add" in plan.load_error
    assert "model.onnx" not in plan.load_error
    assert {n.op_type: n.provider for n in plan.nodes}["Tan"] == CPU


def test_weights_are_not_read() -> None:
    """A folded transpose of a large weight needs its shape only; the model and its tensors stay as they are."""
    case = Case(
        "g (float[b,512] x) => (float[b,512] y) { t = Transpose<perm = [1, 0]>(w) y = MatMul(x, t) }",
        weights={"w": ("float32", (512, 512))},
    )
    model = case.model()
    before = model.fingerprint()
    plan = forecast(model, Target.resolve("cuda"))
    assert [n.op_type for n in plan.nodes] == ["MatMul"]
    assert model.fingerprint() == before


def test_external_shapes_are_refused_as_by_the_runtime(tmp_path: Path) -> None:
    """ONNX Runtime infers shapes from inline constants only: the forecast must not load what a session will not."""
    text = "g (float[b,8] x) => (float[b,2,4] y) { y = Reshape(x, s) }"
    model = graphs.model(text, {"s": np.array([0, 2, 4], "int64")})
    proto = graphs.proto_of(model)
    onnx.save_model(proto, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    assert not forecast(model, Target.resolve("cuda")).load_error
    assert "external" in forecast(Model.open(tmp_path / "m.onnx"), Target.resolve("cuda")).load_error


def test_small_external_tensors_keep_their_values(tmp_path: Path) -> None:
    """The optimiser takes out a product with one, wherever the file keeps the one."""
    text = "g (float[b,8] x) => (float[b,8] y) { h = Exp(x) m = Mul(h, one) y = Neg(m) }"
    proto = graphs.proto_of(graphs.model(text, {"one": np.array(1.0, "float32")}))
    onnx.save_model(proto, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    plan = forecast(Model.open(tmp_path / "m.onnx"), Target.resolve("cuda"))
    assert [n.op_type for n in plan.nodes] == ["Exp", "Neg"]


def test_casts_that_the_runtime_removes_are_not_copied() -> None:
    """A float16 node in float32 on the CPU, cast to float32 for another CPU node: the pair of casts goes."""
    plan = planned(
        Case("g (float16[b,8] x) => (float[b,8] y) { h = Exp(x) t = Tan(h) c = Cast<to = 1>(t) y = Asin(c) }")
    )
    assert [(c.direction, c.value) for c in plan.copies] == [("to_host", "h")]
    assert {n.op_type: n.provider for n in plan.nodes} == {"Exp": CUDA, "Tan": CPU, "Cast": CUDA, "Asin": CPU}


def test_providers_without_tables_are_unknown() -> None:
    plan = planned(CASES["the same with Split: nothing copied"], "openvino")
    assert (plan.engine, plan.nodes) == ("unknown", ())
    assert plan.note
