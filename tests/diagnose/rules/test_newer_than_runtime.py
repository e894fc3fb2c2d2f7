"""K008: an IR version or an operator set that the installed ONNX Runtime does not know is named, with what it knows."""

import graphs
import onnx
import onnxruntime
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.newest import newest_ir, newest_opset
from onnxfix.nouns.target import Target

SITES = [""]
TEXT = "g (float[n,4] x) => (float[n,4] y) { y = Relu(x) }"


def BAD() -> Model:
    return graphs.model(TEXT, ir_version=99)


def SOUND() -> Model:
    return graphs.model(TEXT, opset=newest_opset("", 99), ir_version=newest_ir(99))


@pytest.mark.parametrize(("ir_version", "opset", "says"), [(99, 20, "IR version 99"), (10, 99, "set ai.onnx 99")])
def test_it_names_what_is_too_new_and_what_is_known(ir_version: int, opset: int, says: str) -> None:
    model = graphs.model(TEXT, opset=opset, ir_version=ir_version)
    found = {f.code: f for f in diagnose(model, Target.resolve("cuda")).findings}
    known = newest_ir(99) if ir_version == 99 else newest_opset("", 99)
    assert set(found) == {"K004", "K008"}
    assert says in found["K008"].message and found["K008"].evidence["known"] == known
    assert found["K008"].repair == "", "onnx does not know it either"


def test_what_onnx_knows_can_be_lowered() -> None:
    model = graphs.model(TEXT, opset=newest_opset("", 99) + 1)
    (found,) = [f for f in diagnose(model, Target.resolve("cuda")).findings if f.code == "K008"]
    assert found.repair == "onnxfix repair --precision fp32" and found.applicability == "numeric"


def test_the_newest_versions_are_the_newest_that_load() -> None:
    def loads(ir_version: int, opset: int) -> bool:
        content = graphs.proto(TEXT, opset=opset, ir_version=ir_version).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception:  # the runtime's own
            return False
        return True

    newest = newest_ir(99), newest_opset("", 99)
    assert loads(*newest) and not loads(newest[0] + 1, newest[1]) and not loads(newest[0], newest[1] + 1)
    assert newest[0] <= onnx.IR_VERSION + 1
