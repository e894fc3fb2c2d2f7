"""Save a graph without its weights: large tensors become holes in a sparse file, which takes no space and no time.

Placement reads names, types, shapes and the values of small constants only.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import onnx_ir as ir
from onnx_ir.passes import common

from onnxfix.model import Model

# Tensors past this size become external data. Level-1 rewrites read the values of scalars and axis lists only.
INLINE_BYTES = 1024

# Integers of 16 bits and more and booleans keep their values: level 1 folds them, and a folded division by a zero stops
# the process. There are never many; weights are floats or 8-bit and smaller.
_KEPT = frozenset(
    {
        ir.DataType.INT16,
        ir.DataType.INT32,
        ir.DataType.INT64,
        ir.DataType.UINT16,
        ir.DataType.UINT32,
        ir.DataType.UINT64,
        ir.DataType.BOOL,
    }
)

# Shape inference reads integers, and reads them inline only; a mask of 1024 x 1024 booleans is not copied for that.
_KEPT_INLINE_BYTES = 1 << 20


def write_weightless(model: Model, path: Path) -> None:
    """Save the graph to `path` and, beside it, a sparse file of the size of its large tensors."""
    import onnx

    copy = model.ir.clone()
    # ONNX Runtime does this on every load; here it lets large and external constants become holes as well
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    _unshare(copy)
    data = path.with_suffix(".data")
    with data.open("wb") as file:
        end = 0
        for graph in (copy.graph, *(g for g in copy.graph.subgraphs() if g is not copy.graph)):
            for value in graph.initializers.values():
                end = _empty(value, data, file, end)
        file.truncate(end)
    _fold_transposes(copy.graph, data)
    onnx.save_model(ir.to_proto(copy), path)


def _unshare(copy: ir.Model) -> None:
    """Give tensors of lifted constants an object of their own: writing an initializer renames its tensor, and a clone
    shares tensors with the model it came from."""
    for graph in (copy.graph, *(g for g in copy.graph.subgraphs() if g is not copy.graph)):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is not None and tensor.name != name and isinstance(tensor, ir.Tensor | ir.TensorProtoTensor):
                value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, shape=tensor.shape, name=name)


def _empty(value: ir.Value, data: Path, file: BinaryIO, end: int) -> int:
    """Put a hole at `end` in place of a large tensor; the new end of the file.

    What the file keeps outside stays outside, however small: ONNX Runtime refuses external shapes, and must here too.
    """
    tensor = value.const_value
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return end
    has_meaning = tensor.dtype in _KEPT or tensor.nbytes <= INLINE_BYTES
    if not isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= (_KEPT_INLINE_BYTES if has_meaning else 0):
        return end
    if has_meaning:
        file.seek(end)
        file.write(tensor.tobytes())
    value.const_value = _hole(tensor, list(tensor.shape.numpy()), data, end)
    return end + math.ceil(tensor.nbytes / 4096) * 4096


def _hole(tensor: ir.TensorProtocol, shape: list[int], data: Path, offset: int) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        data.name,
        offset,
        tensor.nbytes,
        tensor.dtype,
        shape=ir.Shape(shape),
        name=tensor.name or "",
        base_dir=data.parent,
    )


def _fold_transposes(graph: ir.Graph, data: Path) -> None:
    """Fold what ONNX Runtime would fold by moving every byte of a hole: TorchScript exports transpose all weights
    (4.2 s and 700 MB for 28 layers of 1024 x 1400)."""
    outputs = set(graph.outputs)
    for node in list(graph):
        source = node.inputs[0] if node.op_type == "Transpose" and node.domain in ("", "ai.onnx") else None
        hole = source.const_value if source is not None else None
        result = node.outputs[0]
        if not isinstance(hole, ir.ExternalTensor) or hole.dtype in _KEPT or result in outputs:
            continue
        if hole.nbytes <= INLINE_BYTES:
            continue
        order = node.attributes.get("perm")
        axes = list(order.as_ints()) if order is not None else list(reversed(range(len(hole.shape))))
        turned = _hole(hole, [hole.shape.numpy()[axis] for axis in axes], data, hole.offset or 0)
        folded = ir.Value(name=result.name, shape=turned.shape, type=ir.TensorType(hole.dtype), const_value=turned)
        result.replace_all_uses_with(folded)
        graph.remove(node, safe=True)
        graph.register_initializer(folded)
