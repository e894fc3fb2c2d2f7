"""Tables in blocks that CUDA would read wrong → the same numbers in blocks that divide a row, zero points written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import Array
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.linear import table_blocks
from onnxfix.surgery.sites.linear.table_blocks import BlockTable


@dataclass(frozen=True)
class SplitEmbeddingBlocks:
    """Cut the blocks of a quantized embedding table so that a row holds whole ones, and write its zero points.

    ONNX Runtime's CUDA kernel of `GatherBlockQuantized` divides the flat index by the block size, so that in a table
    of width 96 with blocks of 128 most rows get the scale of another (microsoft/onnxruntime#32663). Each block becomes
    several smaller ones with its scale and its zero point: the integers stay, and so does every value that the CPU
    computes. Zero points that are not written are: older CUDA kernels take 0 for them, the CPU the middle of the range.
    A table whose rows no block of 16 or more divides stays as it is.
    """

    name: ClassVar[str] = "split-embedding-blocks"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("W002",)

    def apply(self, editor: Editor) -> None:
        for table in list(table_blocks.find(editor.model)):
            block = table.finer if table.mixes_rows else table.block
            if block is None or not (table.mixes_rows or table.guesses_zero):
                continue
            scales, old = _content(table.node.inputs[2]), list(table.node.inputs)
            zeros = _zero_points(table, scales.shape)
            node, attributes = table.node, {name: given.value for name, given in table.node.attributes.items()}
            if table.mixes_rows:
                owner = _owner(table, block)
                scales, zeros = scales[..., owner], zeros[..., owner] if zeros is not None else None
            attributes["block_size"] = block
            editor.set_operator(node, node.op_type, attributes, 3 if zeros is None else 4, node.domain)
            if table.mixes_rows:
                editor.replace_input(node, 2, _add(editor, table, "scales", scales))
            if zeros is not None and (table.mixes_rows or table.guesses_zero):
                editor.replace_input(node, 3, _add(editor, table, "zero_points", _packed(zeros, table.bits)))
            for value in old[2:]:
                if value is not None and value.is_initializer() and not value.uses() and not value.is_graph_output():
                    editor.drop_initializer(value)


def _owner(table: BlockTable, block: int) -> Array:
    """Which of the old blocks each new block of a row lies in."""
    return np.arange(table.width // block) * block // table.block


def _zero_points(table: BlockTable, shape: tuple[int, ...]) -> Array | None:
    """One number a block; None where there are none and both kernels take 0."""
    given = table.node.inputs[3] if len(table.node.inputs) > 3 else None
    if given is not None:
        return _unpacked(_content(given), table.bits)[..., : shape[-1]]
    return np.full(shape, 1 << (table.bits - 1), dtype=np.uint8) if table.guesses_zero else None


def _unpacked(array: Array, bits: int) -> Array:
    """The numbers of bytes, the lowest bits first; what has a type of 4 bits is a number an element already."""
    if bits == 8 or array.dtype != np.uint8:
        return array
    parts = [(array >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*array.shape[:-1], -1)


def _packed(zeros: Array, bits: int) -> Array:
    if bits == 8 or zeros.dtype != np.uint8:
        return zeros
    each = 8 // bits
    padded = np.full((*zeros.shape[:-1], -(-zeros.shape[-1] // each) * each), 1 << (bits - 1), dtype=np.uint8)
    padded[..., : zeros.shape[-1]] = zeros
    grouped = padded.reshape(*zeros.shape[:-1], -1, each)
    made: Array = sum(grouped[..., i] << (bits * i) for i in range(each)).astype(np.uint8)  # type: ignore[union-attr]
    return made


def _add(editor: Editor, table: BlockTable, what: str, array: Array) -> ir.Value:
    source = table.data.source
    graph = source.graph if source.is_initializer() and isinstance(source.graph, ir.Graph) else None
    tensor = ir.Tensor(np.ascontiguousarray(array), dtype=ir.DataType.from_numpy(array.dtype))
    return editor.add_initializer(f"{source.name}_{what}", tensor, graph)


def _content(value: ir.Value | None) -> Array:
    tensor = constant_tensor(value)
    assert tensor is not None
    return weight_data.array(tensor)
