"""Weights in blocks as a graph holds them: each packed once, whoever reads it, a product, a lookup or both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import Array
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.constants import TRANSPARENT, constant_tensor

from . import block_quantization

BITS = 8
"""Of a table. Its zero point is 128, and always written: CUDA kernels before the fix of microsoft/onnxruntime#31692
take 0 where none is given."""

Packed = tuple[ir.Value, ir.Value]
"""Integers and scales."""


class PackedWeights:
    """Packs the weights of one model on behalf of a pass, and drops the float ones that nothing reads any more."""

    def __init__(self, editor: Editor) -> None:
        self.editor = editor
        self._products: dict[tuple[ir.Value, bool, int, int], Packed] = {}
        self._tables: dict[tuple[ir.Value, bool], tuple[ir.Value, ir.Value, ir.Value]] = {}

    def product(self, source: ir.Value, turned: bool, bits: int, block: int) -> Packed:
        """For MatMulNBits: integers [N, blocks, block · bits / 8] and scales [N, blocks]. `turned`: the float weight is
        [N, K], and [K, N] otherwise."""
        key = (source, turned, bits, block)
        if key not in self._products:
            array = _content(source)
            made = block_quantization.of_product(array.T if turned else array, bits, block)
            packed, scales = self._add(source, (("quantized", made.packed), ("scales", made.scales)))
            self._products[key] = packed, scales
        return self._products[key]

    def table(self, source: ir.Value, turned: bool, block: int) -> tuple[ir.Value, ir.Value, ir.Value]:
        """For GatherBlockQuantized: integers [rows, width], scales and zero points [rows, blocks]. `turned`: the float
        table is [width, rows]. Where a product reads the same matrix in blocks of this size, its bytes are these rows,
        so that both read one tensor."""
        if (source, turned) not in self._tables:
            shared = self._products.get((source, not turned, BITS, block))
            if shared is None:
                array = _content(source)
                made = block_quantization.of_table(array.T if turned else array, block)
                data, scales = self._add(source, (("quantized", made.packed), ("scales", made.scales)))
            else:
                data, scales = self._rows(source, shared[0]), shared[1]
            zeros = np.full(_shape(scales), 1 << (BITS - 1), dtype=np.uint8)
            self._tables[source, turned] = data, scales, self._add(source, (("zero_points", zeros),))[0]
        return self._tables[source, turned]

    def drop_unread(self) -> None:
        """The float weights go, with what moved them."""
        for source in dict.fromkeys([*(key[0] for key in self._products), *(key[0] for key in self._tables)]):
            self._prune(source)
            if source.is_initializer() and source.graph is not None:
                if not source.uses() and not source.is_graph_output():
                    self.editor.drop_initializer(source)
            else:
                self.editor.remove_dead(source.producer())

    def _prune(self, value: ir.Value) -> None:
        for node in [n for n in value.consumers() if n.op_type in TRANSPARENT]:
            for output in node.outputs:
                self._prune(output)
            self.editor.remove_dead(node)

    def _rows(self, source: ir.Value, packed: ir.Value) -> ir.Value:
        """[N, blocks, block] as [N, width]: no byte moves, and ONNX Runtime evaluates it while it loads."""
        rows, blocks, block = _shape(packed)
        graph = _graph(source) or self.editor.model.graph
        wanted = np.array([rows, blocks * block], dtype=np.int64)
        shape = self.editor.add_initializer(f"{source.name}_table_shape", ir.Tensor(wanted), graph)
        like = source.consumers()[0]
        outputs, types = [f"{source.name}_table"], ["tensor(uint8)"]
        node = self.editor.new_node("Reshape", [packed, shape], like, outputs=outputs, types=types, graph=graph)
        node.outputs[0].shape = ir.Shape(wanted.tolist())
        return node.outputs[0]

    def _add(self, source: ir.Value, parts: Sequence[tuple[str, Array]]) -> list[ir.Value]:
        return [self.editor.add_initializer(f"{source.name}_{n}", ir.Tensor(a), _graph(source)) for n, a in parts]


def _graph(source: ir.Value) -> ir.Graph | None:
    """Where a weight is, since one of a sub-graph is not seen outside it; None for the output of a Constant node."""
    return source.graph if source.is_initializer() and isinstance(source.graph, ir.Graph) else None


def _content(source: ir.Value) -> Array:
    tensor = constant_tensor(source)
    assert tensor is not None
    return weight_data.array(tensor)


def _shape(value: ir.Value) -> tuple[int, ...]:
    tensor = constant_tensor(value)
    assert tensor is not None
    return tuple(tensor.shape.numpy())
