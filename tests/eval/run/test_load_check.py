"""A graph that ends ONNX Runtime's process, and sound and refused ones, which do not."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.eval.run.load_check import require_survival
from onnxfix.nouns.errors import OnnxfixError

# ONNX Runtime 1.31.1 takes the operator, which only it defines, for one of the function's own.
CRASHES = """<ir_version: 10, opset_import: ["" : 17, "local" : 1]>
agraph (float[2,4] x) => (float[2,4] y) { y = local.norm(x) }
<domain: "local", opset_import: ["" : 17]>
norm (x) => (y) {
    scale = Constant <value = float[4] {1.0, 1.0, 1.0, 1.0}> ()
    y = SimplifiedLayerNormalization <axis = -1, epsilon = 1e-05> (x, scale)
}"""


def test_a_crash_is_an_error_of_ours(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(CRASHES), tmp_path / "m.onnx")
    with pytest.raises(OnnxfixError, match="crashes"):
        require_survival(tmp_path / "m.onnx")


@pytest.mark.parametrize("op_type", ["Neg", "Unheard"])
def test_what_loads_or_is_refused_is_not(op_type: str, tmp_path: Path) -> None:
    model = graphs.model(f"g (float[2] x) => (float[2] y) {{ y = {op_type}(x) }}", {"w": np.zeros(1, np.float32)})
    model.save(tmp_path / "m.onnx")
    require_survival(tmp_path / "m.onnx")
