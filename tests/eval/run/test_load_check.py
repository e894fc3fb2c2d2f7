"""A graph that ends ONNX Runtime's process, and sound and refused ones, which do not."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest

import onnxfix
from onnxfix.eval.run.load_check import LoadCheck
from onnxfix.flows.repair.keywords import Precision
from onnxfix.nouns.errors import OnnxfixError

# ONNX Runtime 1.31.1 takes the operator, which only it defines, for one of the function's own.
CRASHES = """<ir_version: 10, opset_import: ["" : 17, "local" : 1]>
agraph (float[2,4] x) => (float[2,4] y) { y = local.norm(x) }
<domain: "local", opset_import: ["" : 17]>
norm (x) => (y) {
    scale = Constant <value = float[4] {1.0, 1.0, 1.0, 1.0}> ()
    y = SimplifiedLayerNormalization <axis = -1, epsilon = 1e-05> (x, scale)
}"""


# Both have no element in a piece: the operator, and onnx's own inference of it, divide by that number.
SPLITS = """g (float[batch,8] x) => (float[batch,4] y) {
    s = SplitToSequence<axis = -1>(x, none) y = SequenceAt(s, none)
}"""


def require(path: Path) -> None:
    with LoadCheck() as loads:
        loads.require_survival(path, "a model", "nothing was written")


def test_a_crash_is_an_error_of_ours(tmp_path: Path) -> None:
    """And the process that it ended is no hindrance to the next model."""
    onnx.save(onnx.parser.parse_model(CRASHES), tmp_path / "m.onnx")
    graphs.model("g (float[2] x) => (float[2] y) { y = Neg(x) }").save(tmp_path / "sound.onnx")
    with LoadCheck() as loads:
        for _ in range(2):
            with pytest.raises(OnnxfixError, match="crashes when it loads a model: it was ended by SIG"):
                loads.require_survival(tmp_path / "m.onnx", "a model", "nothing was written")
            loads.require_survival(tmp_path / "sound.onnx", "a model", "nothing was written")


@pytest.mark.parametrize("op_type", ["Neg", "Unheard"])
def test_what_loads_or_is_refused_is_not(op_type: str, tmp_path: Path) -> None:
    model = graphs.model(f"g (float[2] x) => (float[2] y) {{ y = {op_type}(x) }}", {"w": np.zeros(1, np.float32)})
    model.save(tmp_path / "m.onnx")
    require(tmp_path / "m.onnx")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_source_that_ends_the_runtime_is_one_line(precision: Precision, tmp_path: Path) -> None:
    path = graphs.model(SPLITS, {"none": np.array(0)}).save(tmp_path / "m.onnx")
    with pytest.raises(OnnxfixError, match="crashes when it loads the source model itself: it was ended by SIGFPE"):
        onnxfix.repair(path, precision=precision, dry_run=True)
