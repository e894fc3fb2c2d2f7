"""Placement on TensorRT, the CPU and OpenVINO, in pairs: a graph that leaves something behind and a sound twin."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from provider_names import CPU, CUDA, OPENVINO, TENSORRT
from terminal import onnxfix

from onnxfix.diagnose.placement.engines import placement
from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.diagnose.placement.providers.tensorrt import OperatorList
from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import NodePlacement, Plan
from onnxfix.nouns.target import Target

SEQUENCE = """g (float[b,8] x) => (float[b,4] y) { h = Relu(x) s = SplitToSequence<axis = 1>(h, n)
    a = SequenceAt(s, i) y = Exp(a) }"""
SPLIT = "g (float[b,8] x) => (float[b,4] y) { h = Relu(x) a, c = Split<axis = 1, num_outputs = 2>(h) y = Mul(a, c) }"
CONSTANTS = {"n": np.array(4, "int64"), "i": np.array(0, "int64"), "one": np.array([1], "int64")}


def model(text: str, **weights: np.ndarray[Any, Any]) -> Model:
    used = {name: array for name, array in CONSTANTS.items() if f", {name})" in text}
    return graphs.model(text, used | weights)


def saved(text: str, folder: Path) -> Model:
    onnx.save(graphs.proto_of(model(text)), folder / "model.onnx")
    return Model.open(folder / "model.onnx")


def node(plan: Plan, op_type: str) -> NodePlacement:
    return next(n for n in plan.nodes if n.op_type == op_type)


def on_tensorrt(text: str, **weights: np.ndarray[Any, Any]) -> Plan:
    return forecast(model(text, **weights), Target.resolve("tensorrt"))


def test_what_tensorrt_refuses_goes_to_cuda_then_to_the_cpu() -> None:
    plan = on_tensorrt(SEQUENCE)
    assert {n.op_type: n.provider for n in plan.nodes} == {
        "Relu": TENSORRT, "SplitToSequence": CPU, "SequenceAt": CUDA, "Exp": TENSORRT,
    }  # fmt: skip
    assert [(c.direction, c.value) for c in plan.copies] == [("to_host", "h"), ("from_host", "s")]
    refused = "TensorRT's parser does not support "
    assert node(plan, "SequenceAt").reason == f"{refused}SequenceAt"
    assert node(plan, "SplitToSequence").reason.startswith(f"{refused}SplitToSequence; SplitToSequence has no CUDA")
    assert [n.op_type for n in plan.nodes if n.lacks_kernel] == ["SplitToSequence"]
    assert {c.cause_op_type for c in plan.copies} == {"SplitToSequence"}
    assert "forecast from the operator list of TensorRT" in plan.note


def test_tensorrt_takes_all_of_the_sound_twin() -> None:
    plan = on_tensorrt(SPLIT)
    assert plan.providers() == {TENSORRT: 3}
    assert plan.copies == ()
    assert not any(n.reason for n in plan.nodes)


# text, the operator it is about, what TensorRT's reason says; the twin that it takes
REFUSED = {
    "type": (
        "g (int64[b,8] x, int64 top) => (int64[b,8] y) { h = Neg(x) y = Clip(h, , top) }", "for type int64",
        "g (float[b,8] x, float top) => (float[b,8] y) { h = Neg(x) y = Clip(h, , top) }", "Clip",
    ),
    "input that must be constant": (
        "g (float[b,8] x, int64[1] axis) => (float[b,8] y) { y = ReduceMax(x, axis) }", "input 1 of ReduceMax",
        "g (float[b,8] x) => (float[b,1] y) { y = ReduceMax(x, one) }", "ReduceMax",
    ),
    "second output": (
        "g (float[b,8] x, float[8] w) => (float[b,8] y, float[b,1] m) { y, m = LayerNormalization(x, w) }",
        "only 1 output of LayerNormalization",
        "g (float[b,8] x, float[8] w) => (float[b,8] y) { y = LayerNormalization(x, w) }", "LayerNormalization",
    ),
    "domain": (
        "g (float[b,8] x) => (float[b,8] y) { y = com.microsoft.QuickGelu(x) }", "com.microsoft.QuickGelu",
        "g (float[b,8] x) => (float[b,8] y) { y = Gelu(x) }", "Gelu",
    ),
    "rank": (
        "g (float[1,2,3,4,5] x, float[1,3,4,5,3] at) => (float[1,2,3,4,5] y) { y = GridSample(x, at) }",
        "4 dimensions for GridSample, not 5",
        "g (float[1,2,3,4] x, float[1,3,4,2] at) => (float[1,2,3,4] y) { y = GridSample(x, at) }", "GridSample",
    ),
    "type of what a Cast makes": (
        "g (float[b,8] x) => (int8[b,8] y) { y = Cast<to = 3>(x) }", "Cast for type int8",
        "g (float[b,8] x) => (int32[b,8] y) { y = Cast<to = 6>(x) }", "Cast",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_tensorrt_refuses_by_type_and_form(name: str) -> None:
    bad, says, sound, op_type = REFUSED[name]
    refused = next(n for n in on_tensorrt(bad).nodes if n.op_type in (op_type, "QuickGelu"))
    assert refused.provider in (CUDA, CPU)
    assert says in refused.reason
    assert node(on_tensorrt(sound), op_type).provider == TENSORRT


def test_tensorrt_takes_float64_as_float32_and_bfloat16_as_it_is() -> None:
    for kind in ("double", "bfloat16"):
        plan = on_tensorrt(f"g ({kind}[b,8] x) => ({kind}[b,8] y) {{ y = LogSoftmax(x) }}")
        assert (plan.providers(), plan.failures) == ({TENSORRT: 1}, ())
    assert forecast(
        model("g (bfloat16[b,8] x) => (bfloat16[b,8] y) { y = LogSoftmax(x) }"), Target.resolve("cuda")
    ).failures


BODY = """g (float[b,8] x, bool c) => (float[b,8] y) { h = Relu(x)
    y = If(c) <then_branch = t () => (float[b,8] p) { p = Neg(h) },
               else_branch = e () => (float[b,8] q) { k = OP(h) q = Neg(k) }> }"""


def test_control_flow_goes_to_tensorrt_with_all_of_its_bodies_or_not_at_all() -> None:
    whole = on_tensorrt(BODY.replace("OP", "Tan"))
    assert whole.providers() == {TENSORRT: 5}
    part = on_tensorrt(BODY.replace("OP", "com.microsoft.QuickGelu"))
    assert node(part, "If").provider == CUDA
    assert "only with all of its body" in node(part, "If").reason
    assert node(part, "QuickGelu").provider == CUDA
    assert {n.provider for n in part.nodes if n.op_type in ("Relu", "Neg")} == {TENSORRT}
    assert part.copies == ()


def test_results_whose_size_depends_on_data_stay_with_tensorrt() -> None:
    plan = on_tensorrt("g (float[b,8] x) => (int64[2,n] y) { h = Relu(x) y = NonZero(h) }")
    assert plan.providers() == {TENSORRT: 2}


def test_a_shape_chain_runs_on_among_what_tensorrt_leaves() -> None:
    """Unique makes a chain of host values only of what TensorRT has not taken before."""
    text = "g (float[b,8] x) => (int64[k] y) { shape = Shape(x) u, i, v, c = Unique(shape) y = Clip(u, , n) }"
    cuda, tensorrt = forecast(model(text), Target.resolve("cuda")), on_tensorrt(text)
    assert {n.op_type: n.provider for n in cuda.nodes} == {"Shape": CUDA, "Unique": CPU, "Clip": CUDA}
    assert {n.op_type: n.provider for n in tensorrt.nodes} == {"Shape": TENSORRT, "Unique": CPU, "Clip": CUDA}
    assert [c.value for c in cuda.copies] == ["u"]
    assert [c.value for c in tensorrt.copies] == ["shape", "u"]  # TensorRT leaves its results on the device


def test_an_opset_outside_of_the_list_is_said() -> None:
    note = OperatorList.load().note
    assert "opsets 9 to 24, not 26" in note(26)
    assert "opset" not in note(20)


def test_the_operator_list_has_only_operators_and_types_of_onnx() -> None:
    legacy = {"ImageScaler", "ParametricSoftplus", "ScaledTanh"}  # of onnx before 1.5, which the parser still reads
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    types = {name.lower() for name in onnx.TensorProto.DataType.keys()}  # noqa: SIM118  a protobuf enum, no dict
    for name, listed in OperatorList.load().operators.items():
        assert name in known | legacy
        assert listed.types <= types
        assert listed.types


def test_the_command_names_tensorrt_and_its_limits(tmp_path: Path) -> None:
    path = saved(SEQUENCE, tmp_path).path
    done = onnxfix("diagnose", path, "--target", "tensorrt", "--fail-on", "never")
    assert done.returncode == 0
    assert "2 on TensorRT" in done.stdout
    assert "it decides itself when it builds" in " ".join(done.stdout.split())
    done = onnxfix("diagnose", path, "--target", "tensorrt", "--engine", "measured")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "TensorRT can only be forecast" in done.stderr


# --- CPU ---------------------------------------------------------------------------------------------------------


def on_cpu(text: str) -> Plan:
    return forecast(model(text), Target.resolve("cpu"))


def test_a_bfloat16_matmul_has_no_cpu_kernel() -> None:
    text = "g (bfloat16[b,8] x, bfloat16[8,8] w) => (bfloat16[b,8] y) { y = MatMul(x, w) }"
    plan = on_cpu(text)
    assert plan.failures == ("MatMul_y",)
    assert "no CPU kernel for tensor(bfloat16)" in node(plan, "MatMul").reason
    codes = {f.code for f in diagnose(model(text), Target.resolve("cpu")).findings}
    assert "K005" in codes
    sound = on_cpu(text.replace("bfloat16", "float"))
    assert (sound.providers(), sound.failures, sound.copies) == ({CPU: 1}, (), ())


def test_float16_runs_in_float32_on_the_cpu(tmp_path: Path) -> None:
    text = "g (float16[b,8] x, float16[8,8] w) => (float16[b,8] y) { y = MatMul(x, w) }"
    plan = on_cpu(text)
    assert (plan.providers(), plan.failures, plan.copies) == ({CPU: 1}, (), ())
    assert "float32" in node(plan, "MatMul").reason
    assert node(on_cpu(text.replace("float16", "float")), "MatMul").reason == ""
    # the real session agrees
    real = placement(saved(text, tmp_path), Target.resolve("cpu", "measured"))
    assert (real.differences, real.engine) == ((), "measured")


def test_the_cpu_command_measures_when_told_to(tmp_path: Path) -> None:
    done = onnxfix("diagnose", saved(SEQUENCE, tmp_path).path, "--target", "cpu", "--engine", "measured")
    assert done.returncode == 0
    assert "measured" in done.stdout
    text = "g (bfloat16[b,8] x, bfloat16[8,8] w) => (bfloat16[b,8] y) { y = MatMul(x, w) }"
    done = onnxfix("diagnose", saved(text, tmp_path).path, "--target", "cpu", "--engine", "measured")
    assert done.returncode == 1
    assert "K004" in done.stdout


# --- OpenVINO ----------------------------------------------------------------------------------------------------

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")

# split by a size that only the feed knows
UNREAD = SEQUENCE.replace("x)", "x, int64 many)", 1).replace("(h, n)", "(h, many)")


def asked(text: str, folder: Path) -> Plan:
    return placement(saved(text, folder), Target.resolve("openvino", "measured"))


@needs_openvino
def test_openvino_says_itself_what_it_leaves(tmp_path: Path) -> None:
    plan = asked(UNREAD, tmp_path)
    assert plan.engine == "measured"
    assert {n.op_type: n.provider for n in plan.nodes} == {
        "Relu": OPENVINO, "SplitToSequence": CPU, "SequenceAt": CPU, "Exp": OPENVINO,
    }  # fmt: skip
    assert node(plan, "SplitToSequence").reason == "OpenVINO's ONNX front end does not convert this SplitToSequence"
    assert "reads what a node makes" in node(plan, "SequenceAt").reason
    assert plan.note.startswith("OpenVINO 20")
    assert "nodes of the file" in plan.note
    sound = asked(SEQUENCE, tmp_path)  # by a constant size it is converted, to a Split
    assert sound.providers() == {OPENVINO: 4}


@needs_openvino
def test_what_stands_behind_a_custom_operator_is_still_asked_for(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
        g (float[b,8] x) => (float[b,8] y, float[b,8] z) {
            h = Exp(x) k = own.Twist(h) a = Neg(k) y = Tan(a) z = Neg(h) }"""
    plan = asked(text, tmp_path)
    assert [n.op_type for n in plan.nodes if n.provider == CPU] == ["Twist"]
    assert asked(text.replace("own.Twist", "Softmax"), tmp_path).providers() == {OPENVINO: 5}


@needs_openvino
def test_names_do_not_matter_to_openvino(tmp_path: Path) -> None:
    proto = graphs.proto_of(model(UNREAD))
    for made in proto.graph.node:
        made.name = ""
    onnx.save(proto, tmp_path / "ohne Namen ü.onnx")
    plan = placement(Model.open(tmp_path / "ohne Namen ü.onnx"), Target.resolve("openvino", "measured"))
    assert [n.name for n in plan.nodes if n.provider == CPU] == ["s", "a"]


@needs_openvino
def test_bodies_go_where_their_control_flow_goes(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "own" : 1]>""" + BODY
    whole, part = asked(text.replace("OP", "Tan"), tmp_path), asked(text.replace("OP", "own.Twist"), tmp_path)
    assert whole.providers() == {OPENVINO: 5}
    assert {n.op_type for n in part.nodes if n.provider == CPU} == {"If", "Neg", "Twist"}
    assert node(part, "Relu").provider == OPENVINO


@needs_openvino
@pytest.mark.parametrize("text", [UNREAD, SEQUENCE, SPLIT], ids=["unread", "sequence", "split"])
def test_no_rule_speaks_of_cuda_to_openvino(text: str, tmp_path: Path) -> None:
    report = diagnose(saved(text, tmp_path), Target.resolve("openvino", "auto"))
    assert report.plan.engine == "measured"
    assert not any("CUDA" in f.message or f.code in ("K001", "K003") for f in report.findings)
    assert report.plan.copies == ()
    said = [f.message for f in report.findings if f.code == "K002"]
    assert bool(said) == (text is UNREAD)


@needs_openvino
def test_openvino_in_the_report(tmp_path: Path) -> None:
    done = onnxfix("diagnose", saved(UNREAD, tmp_path).path, "--target", "openvino")
    assert done.returncode == 0
    assert "OpenVINO" in done.stdout and "measured" in done.stdout
    assert "CUDA" not in done.stdout


def test_openvino_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Target.resolve("openvino")  # reads the tables before the libraries are out of reach
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "openvino", raising=False)  # another test may have imported it
    assert Target.resolve("openvino", "auto").engine == "unknown"
    with pytest.raises(OnnxfixError, match=r"not installed; run: pip install 'onnxfix\[openvino\]'"):
        Target.resolve("openvino", "measured")


def test_without_openvino_nothing_is_known_and_the_report_says_how_to_change_that(tmp_path: Path) -> None:
    target = dataclasses.replace(Target.resolve("openvino"), engine="unknown")
    plan = placement(saved(SPLIT, tmp_path), target)
    assert (plan.engine, plan.nodes) == ("unknown", ())
    assert "pip install 'onnxfix[openvino]'" in plan.note
