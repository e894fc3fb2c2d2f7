"""Tables in blocks, and what ONNX Runtime's CUDA kernel makes of them.

That kernel takes the flat index divided by the block size as the block (microsoft/onnxruntime#32663), where the CPU's
starts a row with a block of its own: both are the same only where a block divides the row. Without `zero_points` it
took 0 (microsoft/onnxruntime#31692), where the CPU takes the middle of the range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer
from onnxfix.surgery.sites.constants import Trace, constant_tensor, trace

SMALLEST = 16
"""The least block that the kernels take; every block is a power of two."""
_INTEGERS = {ir.DataType.UINT8: 0, ir.DataType.INT4: 4, ir.DataType.UINT4: 4}


def fitting(width: int, largest: int) -> int | None:
    """The largest block, up to `largest`, that divides a row of `width` elements; None where none does."""
    block = min(largest, width & -width)
    return block if block >= SMALLEST else None


@dataclass(frozen=True)
class BlockTable:
    """The table of a GatherBlockQuantized. `width`: elements of the last axis; `axis`: that of the blocks, counted from
    0; `rank`: number of axes."""

    node: ir.Node
    data: Trace
    bits: int
    block: int
    width: int
    axis: int
    rank: int

    @property
    def mixes_rows(self) -> bool:
        """Whether a flat index divided by the block size is another block than the element's."""
        return self.axis != self.rank - 1 or self.width % self.block != 0

    @property
    def finer(self) -> int | None:
        """The block into which each of these can be cut so that rows hold whole ones; None where there is none."""
        return fitting(self.width, self.block) if self.axis == self.rank - 1 else None

    @property
    def guesses_zero(self) -> bool:
        """Whether the kernels would have to agree on a zero point that is not written."""
        zeros = self.node.inputs[3] if len(self.node.inputs) > 3 else None
        tensor = constant_tensor(self.data.source)
        return zeros is None and tensor is not None and tensor.dtype == ir.DataType.UINT8


def find(model: Model) -> Iterator[BlockTable]:
    """All lookups in tables of integers in blocks, in graph order."""
    for node in model.nodes():
        if node.op_type != "GatherBlockQuantized" or node.domain != "com.microsoft" or len(node.inputs) < 3:
            continue
        found = _table(node)
        if found is not None:
            yield found


def _table(node: ir.Node) -> BlockTable | None:
    data, scales = trace(node.inputs[0]), constant_tensor(node.inputs[2])
    tensor = constant_tensor(data.source) if data is not None else None
    zeros = node.inputs[3] if len(node.inputs) > 3 else None
    block = integer(node, "block_size", 128)
    if data is None or tensor is None or scales is None or tensor.dtype not in _INTEGERS or block <= 0:
        return None
    if zeros is not None and constant_tensor(zeros) is None:
        return None
    shape = tuple(tensor.shape.numpy())
    if data.path and shape:  # bytes of a product, taken as rows
        shape = (shape[0], tensor.size // shape[0])
    bits = _INTEGERS[tensor.dtype] or integer(node, "bits", 4)
    if bits not in (2, 4, 8) or not shape:
        return None
    packed = 8 // bits if tensor.dtype == ir.DataType.UINT8 else 1
    axis = integer(node, "quantize_axis", 1) % len(shape)
    return BlockTable(node, data, bits, block, shape[-1] * packed, axis, len(shape))
