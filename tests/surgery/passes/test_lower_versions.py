"""Versions that the runtime does not know: older ones that say the same, or one line that says why not."""

import json
from pathlib import Path

import graphs
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from terminal import onnxfix

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.newest import newest_ir, newest_opset
from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.passes.lower_versions import LowerVersions

PASS = LowerVersions()
NEWER = newest_opset("", 99) + 1
TEXT = "g (float[n,4] x) => (float[n,4] y) { h = Relu(x) y = Neg(h) }"
CAST = "g (float[n,4] x) => (float16[n,4] y) { h = Relu(x) y = Cast<to = 10>(h) }"


def BAD() -> Model:
    return graphs.model(TEXT, opset=NEWER, ir_version=newest_ir(99) + 1)


def SOUND() -> Model:
    return graphs.model(TEXT, opset=NEWER - 1, ir_version=newest_ir(99))


def test_numbers_alone_are_changed_where_the_operators_are_the_same() -> None:
    model = BAD()
    before = [(n.op_type, len(n.attributes)) for n in model.nodes()]
    outcome = run(PASS, model)
    assert [(n.op_type, len(n.attributes)) for n in model.nodes()] == before
    assert model.opset == NEWER - 1 and model.ir.ir_version == newest_ir(99)
    assert {change.verb for change in outcome.changes} == {"lower"}
    x = np.array([[-1, 2, -3, 4]], np.float32)
    np.testing.assert_array_equal(graphs.run(model, {"x": x})["y"], -np.maximum(x, 0))


def test_a_type_of_the_newer_format_keeps_it() -> None:
    newest = onnx.IR_VERSION
    if newest <= newest_ir(99):
        pytest.skip("this ONNX Runtime knows all that this onnx can write")
    model = BAD()
    model.graph.outputs[0].type = ir.TensorType(ir.DataType.FLOAT6E2M3)
    with pytest.raises(OnnxfixError, match="element type needs it"):
        run(PASS, model)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_repair_writes_what_loads(precision: str, tmp_path: Path) -> None:
    weights = {"w": np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)}
    model = graphs.model("g (float[n,4] x) => (float[n,4] y) { y = MatMul(x, w) }", weights, NEWER, newest_ir(99) + 1)
    path = model.save(tmp_path / "m.onnx")
    done = onnxfix("repair", path, "--precision", precision, "--format", "json", "-o", tmp_path / "out.onnx")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "lower-versions" in report["passes"] and report["before"]["error"] == 3 and report["after"]["error"] == 0
    x = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
    answer = graphs.run(Model.open(tmp_path / "out.onnx"), {"x": x})["y"]
    np.testing.assert_allclose(answer, x @ weights["w"], rtol=1e-5 if precision == "fp32" else 5e-2, atol=1e-2)


def test_another_definition_is_converted_and_compared_by_definition_or_refused(tmp_path: Path) -> None:
    if onnx.defs.onnx_opset_version() < NEWER + 1:
        pytest.skip("this ONNX Runtime knows all operator sets of this onnx")
    model = graphs.model(CAST, opset=28, ir_version=10)
    done = onnxfix("repair", model.save(tmp_path / "m.onnx"), "--precision", "fp32")
    if done.returncode == 0:
        x = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
        answer = graphs.run(Model.open(tmp_path / "m.fp32.onnx"), {"x": x})["y"]
        np.testing.assert_array_equal(answer, np.maximum(x, 0).astype(np.float16))
    else:
        assert done.returncode == 2 and "operator set" in done.stderr and "internal" not in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
