"""Save a graph without its weights: large tensors become holes in a sparse file, which takes no space and no time.

Placement reads names, types, shapes and the values of small constants only.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.opening import plain
from onnxfix.nouns.types.operators import graphs, proto_graphs

# Larger tensors become external data. Level-1 rewrites read the values of scalars and axis lists only.
from .compiler import INLINE_BYTES
from .weight_chains import fold_weight_chains

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

_PAGE = 4096


class Holes:
    """A sparse file that grows by the size of each tensor put into it."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file, self.end = path, file, 0

    def take(self, nbytes: int, content: bytes = b"") -> int:
        """The offset of a new hole, filled with `content` if there is any."""
        offset = self.end
        if content:
            self.file.seek(offset)
            self.file.write(content)
        self.end += math.ceil(nbytes / _PAGE) * _PAGE
        return offset

    def instead_of(self, tensor: ir.TensorProtocol | None, name: str) -> ir.ExternalTensor | None:
        """What stands for a tensor in the weightless graph, None for one that stays as it is.

        What the file keeps outside stays outside, however small: ONNX Runtime refuses external shapes, and must here.
        """
        if tensor is None or tensor.dtype == ir.DataType.STRING:
            return None
        has_meaning = tensor.dtype in _KEPT or tensor.nbytes <= INLINE_BYTES
        if not isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= (_KEPT_INLINE_BYTES if has_meaning else 0):
            return None
        offset = self.take(tensor.nbytes, tensor.tobytes() if has_meaning else b"")
        shape = ir.Shape(list(tensor.shape.numpy()))
        return ir.ExternalTensor(
            self.path.name, offset, tensor.nbytes, tensor.dtype, shape=shape, name=name, base_dir=self.path.parent
        )


def write_weightless(model: Model, path: Path) -> None:
    """Save the graph to `path` and, beside it, a sparse file of the size of its large tensors."""
    data = path.with_suffix(".data")
    with data.open("wb") as file:
        holes = Holes(data, file)
        with _emptied(model.ir, holes):
            proto = plain.to_proto(model.ir)
        for graph in proto_graphs(proto.graph):
            _lift_large_constants(graph)
            for node in graph.node:  # torch's stack traces are most of an export's graph: 6 of 7 MB for 28 layers
                node.ClearField("metadata_props")
                node.ClearField("doc_string")
        fold_weight_chains(proto.graph, holes.take)
        file.truncate(holes.end)
    path.write_bytes(proto.SerializeToString())


@contextlib.contextmanager
def _emptied(model: ir.Model, holes: Holes) -> Iterator[None]:
    """Holes in place of large tensors while the body runs: a clone of 3,500 nodes to put them into takes 0.2 s."""
    values: list[tuple[ir.Value, Any]] = []
    constants: list[tuple[ir.Node, ir.Attr]] = []
    try:
        for graph in graphs(model.graph):
            for value in graph.initializers.values():
                hole = holes.instead_of(value.const_value, value.name or "")
                if hole is not None:
                    values.append((value, value.const_value))
                    value.const_value = hole
            for node in graph:
                attribute = node.attributes.get("value") if node.op_type == "Constant" else None
                if attribute is not None and attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                    hole = holes.instead_of(attribute.value, node.outputs[0].name or "")
                    if hole is not None:
                        constants.append((node, attribute))
                        node.attributes.add(ir.AttrTensor("value", hole))
        yield
    finally:
        for value, tensor in values:
            value.const_value = tensor
        for node, attribute in constants:
            node.attributes.add(attribute)


def _lift_large_constants(graph: Any) -> None:
    """Constant nodes become initializers, as ONNX Runtime makes them at every load: only those can be external."""
    large = [
        n for n in graph.node if n.op_type == "Constant" and any(a.t.data_location == a.t.EXTERNAL for a in n.attribute)
    ]
    for node in large:
        tensor = graph.initializer.add()
        tensor.CopyFrom(next(a.t for a in node.attribute if a.t.data_location == a.t.EXTERNAL))
        tensor.name = node.output[0]
    if large:
        names = {n.output[0] for n in large}
        kept = [n for n in graph.node if not (n.op_type == "Constant" and n.output[0] in names)]
        del graph.node[:]
        graph.node.extend(kept)
