"""Measured placement: real sessions of real files in a child process, with stub CUDA libraries in place of a GPU.

The partitioner, the copies and the messages are the real runtime's; only planned, never run, which the stubs allow.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import graphs
import numpy as np
import onnx
import onnxruntime
import pytest
from provider_names import CPU, CUDA
from terminal import onnxfix

from onnxfix.diagnose.placement.engines import placement
from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.diagnose.placement.measured import session as measured
from onnxfix.diagnose.placement.measured.session import MeasurementError, measure
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.runtime.cuda_devices import cuda_devices
from onnxfix.nouns.target import Target

ROOT = Path(__file__).parents[3]

SEQUENCE = """g (float[b,8] x, int64 c, int64 i) => (float[b,m] y) { h = Relu(x)
    s = SplitToSequence<axis = 1>(h, c) a = SequenceAt(s, i) y = Exp(a) }"""
SPLIT = "g (float[b,8] x) => (float[b,4] y) { h = Relu(x) a, c = Split<axis = 1, num_outputs = 2>(h) y = Mul(a, c) }"
SHAPES = """g (float[b,8] x, float[b,8] z) => (float[b,8] y) { shape = Shape(x) n = Gather<axis = 0>(shape, zero)
    f = Cast<to = 1>(n) e = Exp(z) y = Mul(e, f) }"""
BODIES = """g (float[b,8] x, bool c) => (float[b,8] y) { h = Relu(x)
    y = If(c) <then_branch = t () => (float[b,8] p) { p = Neg(h) },
               else_branch = e () => (float[b,8] q) { k = Exp(h) r = Tan(h) q = Add(k, r) }> }"""
HALF = "g (float16[b,8] x) => (float16[b,8] y) { h = Exp(x) t = Tan(h) y = Neg(t) }"
FUNCTION = """<ir_version: 10, opset_import: ["" : 20, "local" : 1]>
    g (float[b,8] x) => (float[b,8] y) { h = Exp(x) y = local.Halves(h) }
    <domain: "local", opset_import: ["" : 20]> Halves (a) => (c) { t = Tan(a) c = Neg(t) }"""
NO_BFLOAT = "g (bfloat16[b,8] x) => (bfloat16[b,8] y) { y = LogSoftmax(x) }"
BFLOAT_MATMUL = "g (bfloat16[b,8] x, bfloat16[8,8] w) => (bfloat16[b,8] y) { y = MatMul(x, w) }"
CONFLICT = "g (float[b,8] x, int64[b,8] z) => (float[b,8] y) { h = Add(x, z) y = Exp(h) }"

CASES = {
    "sequence": (SEQUENCE, {"SplitToSequence_s"}, {("to_host", "h"), ("from_host", "s")}),
    "no copies": (SPLIT, set(), set()),
    "shape chain": (SHAPES, {"Gather_n", "Cast_f"}, {("from_host", "f")}),
    "bodies": (BODIES, {"Tan_r"}, {("from_host", "h"), ("from_host", "r")}),
    "float16 in float32": (HALF, {"Tan_t"}, {("to_host", "h"), ("from_host", "t")}),
}


@pytest.fixture(scope="session")
def stubs() -> Path:
    sys.path.insert(0, str(ROOT / "tools"))
    import stub_libraries

    try:
        return stub_libraries.build()
    except stub_libraries.StubError as error:
        pytest.skip(str(error))


def saved(text: str, folder: Path, name: str = "model.onnx", nameless: bool = False) -> Model:
    zero = {"zero": np.array(0, "int64")} if "zero" in text else {}
    proto = graphs.proto_of(graphs.model(text, zero))
    for index, node in enumerate(proto.graph.node if nameless else ()):
        node.name = "" if index % 2 else "same"
    onnx.save(proto, folder / name)
    return Model.open(folder / name)


def measured_plan(model: Model, stubs: Path) -> tuple[Plan, Plan]:
    """(forecast, measured)."""
    target = Target.resolve("cuda")
    expected = forecast(model, target)
    return expected, measure(model, target, expected, stubs)


@pytest.mark.parametrize("name", CASES)
def test_the_real_session_agrees_with_the_forecast(name: str, stubs: Path, tmp_path: Path) -> None:
    text, host, copies = CASES[name]
    expected, plan = measured_plan(saved(text, tmp_path), stubs)
    assert (plan.engine, plan.differences, plan.load_error) == ("measured", (), "")
    assert {n.name for n in plan.nodes if n.provider == CPU} == host
    assert {n.provider for n in plan.nodes} <= {CPU, CUDA}
    assert {(c.direction, c.value) for c in plan.copies} == copies
    assert (plan.nodes, plan.copies, plan.obstacles) == (expected.nodes, expected.copies, expected.obstacles)


@pytest.mark.parametrize("text", [SEQUENCE, BODIES, SHAPES], ids=["sequence", "bodies", "shapes"])
def test_names_may_be_empty_and_repeated(text: str, stubs: Path, tmp_path: Path) -> None:
    expected, plan = measured_plan(saved(text, tmp_path, nameless=True), stubs)
    assert plan.differences == ()
    assert plan.nodes == expected.nodes


def test_inlined_functions_are_measured(stubs: Path, tmp_path: Path) -> None:
    _, plan = measured_plan(saved(FUNCTION, tmp_path), stubs)
    assert plan.differences == ()
    assert {n.op_type: n.provider for n in plan.nodes} == {"Exp": CUDA, "Tan": CPU, "Neg": CUDA}


def test_external_data_an_odd_path_and_an_odd_graph_name(stubs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Modelle für später"
    folder.mkdir()
    text = "g (float[b,64] x) => (float[b,64] y) { h = MatMul(x, w) t = Tan(h) y = Exp(t) }"
    proto = graphs.proto_of(graphs.model(text, {"w": np.ones((64, 64), "float32")}))
    proto.graph.name = "main (v 2) for CUDA"
    onnx.save_model(proto, folder / "模型 1.onnx", save_as_external_data=True, location="gewichte ü.data")
    _, plan = measured_plan(Model.open(folder / "模型 1.onnx"), stubs)
    assert (plan.differences, plan.load_error) == ((), "")
    assert [(c.direction, c.value) for c in plan.copies] == [("from_host", "t"), ("to_host", "h")][::-1]


@pytest.mark.parametrize(("text", "says"), [(NO_BFLOAT, "ReduceMax"), (CONFLICT, "Add")], ids=["bfloat16", "conflict"])
def test_a_model_that_does_not_load(text: str, says: str, stubs: Path, tmp_path: Path) -> None:
    expected, plan = measured_plan(saved(text, tmp_path), stubs)
    assert expected.failures or expected.load_error
    assert says in plan.load_error
    assert plan.differences == ()
    assert plan.obstacles is None


def test_a_wrong_kernel_table_is_a_difference(stubs: Path, tmp_path: Path) -> None:
    """A forecast that believes CUDA had no Exp: the real session puts it right, in the plan and in words."""
    model = saved("g (float[b,8] x) => (float[b,8] y) { h = Relu(x) e = Exp(h) y = Neg(e) }", tmp_path)
    target = Target.resolve("cuda")
    kernels = {key: rows for key, rows in target.table.kernels.items() if key != (CUDA, "", "Exp")}
    assert len(kernels) == len(target.table.kernels) - 1
    wrong = forecast(model, dataclasses.replace(target, table=dataclasses.replace(target.table, kernels=kernels)))
    assert len(wrong.copies) == 2
    plan = measure(model, target, wrong, stubs)
    assert plan.differences == (
        "Exp 'Exp_e' runs on CUDA; forecast: CPU",
        "h is not copied to host in the real session; the forecast copies it",
        "e is not copied from host in the real session; the forecast copies it",
    )
    assert {n.provider for n in plan.nodes} == {CUDA}
    assert not any(n.reason or n.lacks_kernel for n in plan.nodes)
    assert plan.copies == ()


def test_a_forecast_of_another_graph_differs(stubs: Path, tmp_path: Path) -> None:
    target = Target.resolve("cuda")
    other = forecast(saved(SPLIT, tmp_path, "other.onnx"), target)
    plan = measure(saved(SEQUENCE, tmp_path), target, other, stubs)
    said = "\n".join(plan.differences)
    assert "Split 'Split_a' is not in the real session; forecast: CUDA" in said
    assert "SplitToSequence 'SplitToSequence_s' runs on CPU in the real session; the forecast does not have it" in said
    assert "h is copied to host in the real session; the forecast does not copy it" in said
    assert {(c.direction, c.value) for c in plan.copies} == {("to_host", "h"), ("from_host", "s")}
    assert sorted(n.op_type for n in plan.nodes) == ["Exp", "Relu", "SequenceAt", "SplitToSequence"]
    assert plan.obstacles  # no CUDA graph with copies, whatever the forecast thought


def test_loading_is_compared_both_ways(stubs: Path, tmp_path: Path) -> None:
    target = Target.resolve("cuda")
    good, bad = saved(SPLIT, tmp_path, "good.onnx"), saved(NO_BFLOAT, tmp_path, "bad.onnx")
    plan = measure(bad, target, forecast(good, target), stubs)
    assert plan.load_error
    assert "does not load the model" in plan.differences[0]
    plan = measure(good, target, forecast(bad, target), stubs)
    assert (plan.load_error, plan.failures) == ("", ())
    assert plan.differences[0].startswith("the real session loads the model")


def test_the_cpu_is_measured_without_any_stub(tmp_path: Path) -> None:
    model = saved(SEQUENCE, tmp_path)
    plan = placement(model, Target.resolve("cpu", "measured"))
    assert (plan.engine, plan.differences, plan.copies) == ("measured", (), ())
    assert {n.provider for n in plan.nodes} == {CPU}
    assert "a session with all optimisations loads" in plan.note
    # planning alone does not notice a missing CPU kernel, loading does
    bad = placement(saved(BFLOAT_MATMUL, tmp_path), Target.resolve("cpu", "measured"))
    assert "MatMul" in bad.load_error
    assert bad.differences == ()


def test_a_session_with_all_optimisations_is_really_loaded(tmp_path: Path) -> None:
    """What a GPU gets as a second step, here on the CPU: kernels are made, so a missing one is an error."""
    target = Target.resolve("cpu")
    assert measured.run_session(saved(SPLIT, tmp_path, "good.onnx"), target, "all").error == ""
    assert "MatMul" in measured.run_session(saved(BFLOAT_MATMUL, tmp_path, "bad.onnx"), target, "all").error


no_cuda = pytest.mark.skipif(
    cuda_devices() > 0 or CUDA not in onnxruntime.get_available_providers(),
    reason="says something where onnxruntime-gpu finds no CUDA",
)


@no_cuda
def test_a_provider_that_does_not_load_is_no_placement(tmp_path: Path) -> None:
    """The runtime itself goes on silently with the CPU alone."""
    model = saved(SEQUENCE, tmp_path)
    broken = dataclasses.replace(Target.resolve("cuda"), engine="auto")
    plan = placement(model, broken)
    assert plan.engine == "forecast"
    assert "the CUDA provider of ONNX Runtime does not load: lib" in plan.note
    assert plan.copies == forecast(model, broken).copies
    with pytest.raises(OnnxfixError, match=r"does not load.*engine='forecast'"):
        placement(model, dataclasses.replace(broken, engine="measured"))


@no_cuda
def test_measured_without_a_device_is_refused_before_the_model_is_read(tmp_path: Path) -> None:
    done = onnxfix("diagnose", tmp_path / "there is none.onnx", "--target", "cuda", "--engine", "measured")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no CUDA device" in done.stderr and "--engine forecast" in done.stderr


@no_cuda
def test_auto_is_the_forecast_without_a_device(tmp_path: Path) -> None:
    assert Target.resolve("cuda", "auto").engine == "forecast"
    done = onnxfix("diagnose", saved(SPLIT, tmp_path).path)
    assert (done.returncode, "forecast" in done.stdout) == (0, True)


def test_a_provider_that_the_runtime_was_built_without(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="built without OpenVINOExecutionProvider"):
        measured.run_session(saved(SPLIT, tmp_path), Target.resolve("openvino"), "basic")


def compiled(code: str, path: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    path.with_suffix(".c").write_text(code)
    subprocess.run([compiler, "-shared", "-fPIC", str(path.with_suffix(".c")), "-o", str(path)], check=True)
    return path


@pytest.mark.parametrize(
    ("body", "says"),
    [("abort();", "ended by SIGABRT"), ("sleep(60);", "did not answer within 2 s")],
    ids=["crash", "hang"],
)
def test_a_session_that_crashes_or_hangs(body: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of custom operators that takes the process down takes down the child only."""
    code = (
        f"#include <stdlib.h>\n#include <unistd.h>\nvoid *RegisterCustomOps(void *o, void *a) {{ {body} return 0; }}\n"
    )
    model, target = saved(SPLIT, tmp_path), Target.resolve("cpu")
    expected = forecast(model, target)
    model.custom_op_libraries = (compiled(code, tmp_path / "ops.so"),)
    monkeypatch.setattr(measured, "TIMEOUT_S", 2.0)
    with pytest.raises(MeasurementError, match=says):
        measure(model, target, expected)


def test_devices_are_counted_by_the_driver(tmp_path: Path) -> None:
    two = "int cuInit(unsigned f) { return 0; } int cuDeviceGetCount(int *n) { *n = 2; return 0; }"
    assert cuda_devices(str(compiled(two, tmp_path / "two.so"))) == 2
    none = two.replace("cuInit(unsigned f) { return 0; }", "cuInit(unsigned f) { return 100; }")
    assert cuda_devices(str(compiled(none, tmp_path / "none.so"))) == 0
    assert cuda_devices(str(compiled("int other;", tmp_path / "other.so"))) == 0
    assert cuda_devices(str(tmp_path / "missing.so")) == 0
