"""Casts of small constants to integers → constants, so that scalars are on the host where kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import is_standard
from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.constants import Array, small_array

LIMIT = 1024
"""Elements. Larger constants are weights, whose casts other passes decide on."""


@dataclass(frozen=True)
class FoldConstantCasts:
    """Evaluate `Cast` and `CastLike` to integers of constants that hold at most 1,024 numbers.

    The dynamo exporter without its optimizer writes the start and step of every `arange` as `CastLike(0.0, length)`.
    ONNX Runtime inlines `CastLike` only after its constant folding, so a scalar is cast on the GPU and copied back to
    the host, where `Range` reads it: one Memcpy each. Casts whose result differs between platforms (out of range,
    NaN to integer) are left alone.
    """

    name: ClassVar[str] = "fold-constant-casts"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        types = infer(editor.model.ir)
        for node in list(editor.model.nodes()):
            if node.op_type in ("Cast", "CastLike") and is_standard(node):
                folded = _folded(node, types)
                if folded is not None:
                    _replace(editor, node, folded)


def _folded(node: ir.Node, types: ElementTypes) -> ir.TensorProtocol | None:
    array = small_array(node.inputs[0], LIMIT)
    wanted = types.get(node.outputs[0])
    if array is None or wanted is None or array.dtype.kind not in "fiub" or node.outputs[0].is_graph_output():
        return None
    dtype = data_type(wanted)
    # Integers only: a float scale that becomes an initializer lets ONNX Runtime fuse it, which moves the last bits.
    if dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    return ir.Tensor(array.astype(dtype.numpy()), dtype=dtype) if _portable(array, dtype) else None


def _portable(array: Array, dtype: ir.DataType) -> bool:
    """Every platform casts these values alike: finite, and within the integer range they become."""
    limits = np.iinfo(dtype.numpy())
    return bool(np.isfinite(array).all() and (array > limits.min).all() and (array < limits.max).all())


def _replace(editor: Editor, node: ir.Node, tensor: ir.TensorProtocol) -> None:
    graph = node.graph if isinstance(node.graph, ir.Graph) else None
    value = editor.add_initializer(f"{node.outputs[0].name}_folded", tensor, graph)
    editor.replace_uses(node.outputs[0], value)
    editor.remove_dead(node)
