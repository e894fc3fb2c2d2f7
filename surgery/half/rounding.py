"""Rounds weights from fp32 to half precision, a billion elements a second.

NumPy rounds to float16 in software, 4.4 ns an element; ONNX Runtime's Cast uses the processor's own instruction,
0.3 ns. Both round to nearest even, and they agree on every one of the 2^32 float32 values.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.runtime.onnx_runtime import runtime
from onnxfix.nouns.weights.weight_data import Array
from onnxfix.surgery.sites.half.half_types import LARGEST_FP16

_FP16_INFINITY = 0x7C00
# Below this many elements a session's call costs more than it saves.
_MANY = 4096


def to_half(array: Array, dtype: ir.DataType) -> Array:
    """Round to nearest even; finite values beyond fp16's range become ±65,504, infinities and NaN stay."""
    if dtype != ir.DataType.FLOAT16:
        return array.astype(dtype.numpy())
    made = to_fp16(array)
    if ((made.view(np.uint16) & 0x7FFF) >= _FP16_INFINITY).any():
        finite = np.isfinite(array)
        made = to_fp16(np.where(finite, np.clip(array, -LARGEST_FP16, LARGEST_FP16), array))
    return made


def to_fp16(array: Array) -> Array:
    """Round to nearest even, to infinity beyond 65,519."""
    if array.dtype != np.float32 or array.size < _MANY:
        with np.errstate(over="ignore"):
            return array.astype(np.float16)
    made: Array = _cast().run(None, {"x": np.ascontiguousarray(array).reshape(-1)})[0]
    return made.reshape(array.shape)


@functools.cache
def _cast() -> Any:
    """A session of one Cast. Threads may run it at the same time."""
    onnxruntime = runtime()

    x, y = (ir.Value(name=n, shape=ir.Shape(["n"]), type=ir.TensorType(t)) for n, t in _ENDS)
    node = ir.Node("", "Cast", [x], [ir.AttrInt64("to", ir.DataType.FLOAT16)], outputs=[y])
    model = ir.Model(ir.Graph([x], [y], nodes=[node], opset_imports={"": 17}), ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


_ENDS = (("x", ir.DataType.FLOAT), ("y", ir.DataType.FLOAT16))
