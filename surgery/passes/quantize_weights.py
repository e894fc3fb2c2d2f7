"""Weights to 8 or 4 bits in blocks, activations as they are: what runs quantized on CUDA, and fast on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.errors import arg
from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.type_strings import elem_string
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.int8.packed_weights import BITS, PackedWeights
from onnxfix.surgery.int8.quantizer import ALL, Selection
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.linear import embeddings, linears, shared_weights, table_blocks
from onnxfix.surgery.sites.linear.embeddings import Embedding
from onnxfix.surgery.sites.linear.linears import Linear

DOMAIN = "com.microsoft"
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
# On a CPU the activations of a product are rounded to int8, block by block, and the product is computed in integers:
# faster than fp32 (2.1 times for a large product alone, 1.1 times for ModernBERT-base, 8 bits in blocks of 128), for
# 9e-3 of error a layer and not 6e-3. Not for fp16: there ONNX Runtime 1.31.1 answers wrong without optimisations (0.6
# relative L2 error on a small ModernBERT).
INTEGERS = 4


@dataclass(frozen=True)
class QuantizeWeights:
    """Store the weights of all linear layers and of large embeddings in 8 or 4 bits, with one scale a block.

    Linears become `MatMulNBits` and embeddings `GatherBlockQuantized`. Both have CUDA and CPU kernels for fp32 and
    fp16, so that nothing is copied to the host, as it is with dynamic int8. The numbers come from ONNX Runtime's own
    quantization kernels, symmetric. Rotary angle products are no linears and stay. Embeddings take 8 bits always, in
    blocks that divide their width: CUDA's kernel reads the scale of a neighbour otherwise
    (microsoft/onnxruntime#32663). A table that is the output layer, too, is stored once and read by both, in 8 bits. A
    weight that something else reads in float stays in float.

    Measure: linears that compute with float weights.
    """

    name: ClassVar[str] = "quantize-weights"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    target: Target
    bits: int = 8
    block_size: int = 128
    selection: Selection = ALL

    def apply(self, editor: Editor) -> None:
        types = infer(editor.model.ir)
        found = linears.find(editor.model, types)
        products = [x for x in self.selection.of(found, editor.model) if _is_product(x)]
        tied = {x.weight.source for x in products}
        lookups = [
            x
            for x in embeddings.find(editor.model, at_least=1)
            if (x.weight.elements >= embeddings.LARGE or x.weight.source in tied)
            and self._takes_table(x, types, editor.model.opset)
        ]
        weights = PackedWeights(editor)
        for source in dict.fromkeys([*(x.weight.source for x in products), *(x.weight.source for x in lookups)]):
            ours = [x for x in products if x.weight.source is source]
            rows = [x for x in lookups if x.weight.source is source]
            why = self._stays(source, ours, rows)
            if why:
                editor.notes.append(f"{source.name} stays in float: {why}")
                continue
            for linear in ours:
                self._product(editor, linear, weights, rows)
            for embedding in rows:
                self._table(editor, embedding, weights)
            editor.import_domain(DOMAIN, 1)
        weights.drop_unread()

    def measure(self, model: Model) -> float:
        return float(sum(not x.quantized for x in linears.find(model)))

    def _takes_table(self, embedding: Embedding, types: ElementTypes, opset: int) -> bool:
        tensor = constant_tensor(embedding.weight.source)
        if (
            tensor is None
            or embedding.quantized
            or shared_weights.turns(embedding.weight) is None
            or label(embedding.node) in self.selection.blocked
            or tensor.dtype not in FLOATS
        ):
            return False
        indices = types.get(embedding.node.inputs[1]) or "tensor(int64)"
        kinds = ["tensor(uint8)", indices, elem_string(tensor.dtype), "tensor(uint8)"]
        return self.target.supports("GatherBlockQuantized", DOMAIN, opset, kinds, kinds[2:3]) != "no"

    def _stays(self, source: ir.Value, products: list[Linear], lookups: list[Embedding]) -> str:
        """Why a weight should not be packed: it would be stored in float as well, or no block fits a row of it."""
        widths = {embeddings.width(x) for x in lookups}
        if any(table_blocks.fitting(width, self.block_size) is None for width in widths):
            return (
                f"a row of {min(widths)} is no multiple of {table_blocks.SMALLEST}, the least block of a table that "
                f"all kernels read alike; {arg('int8', 'dynamic')} needs none"
            )
        rest = shared_weights.others(source, {x.node for x in products} | {x.node for x in lookups})
        return f"{label(rest[0])} ({rest[0].op_type}) reads it in float, and it would be stored twice" if rest else ""

    def _block(self, length: int) -> int:
        """The block size, or less for a short axis: blocks are filled up with zeros."""
        return max(table_blocks.SMALLEST, min(self.block_size, 1 << (length - 1).bit_length()))

    def _product(self, editor: Editor, linear: Linear, weights: PackedWeights, tables: list[Embedding]) -> None:
        source, node = linear.weight.source, linear.node
        tensor, turned = constant_tensor(source), bool(shared_weights.turns(linear.weight))
        assert tensor is not None
        inner, outer = tuple(tensor.shape.numpy())[:: -1 if turned else 1]
        tied = any(bool(shared_weights.turns(x.weight)) is not turned for x in tables)
        fitting = table_blocks.fitting(inner, self.block_size) if tied else None
        bits, block = (BITS, fitting) if fitting else (self.bits, self._block(inner))
        attributes = {"K": inner, "N": outer, "bits": bits, "block_size": block}
        if self.target.provider.is_host and tensor.dtype == ir.DataType.FLOAT:
            attributes["accuracy_level"] = INTEGERS
        packed = weights.product(source, turned, bits, block)
        editor.set_operator(node, "MatMulNBits", attributes, inputs=3, domain=DOMAIN)
        for index, value in enumerate(packed, 1):
            editor.replace_input(node, index, value)
        if bits != self.bits:
            editor.notes.append(f"{label(node)} shares the table of an embedding: {bits} bits for both")

    def _table(self, editor: Editor, embedding: Embedding, weights: PackedWeights) -> None:
        block = table_blocks.fitting(embeddings.width(embedding), self.block_size)
        assert block is not None
        data, scales, zeros = weights.table(
            embedding.weight.source, bool(shared_weights.turns(embedding.weight)), block
        )
        attributes = {"gather_axis": 0, "quantize_axis": 1, "block_size": block, "bits": BITS}
        editor.set_operator(embedding.node, "GatherBlockQuantized", attributes, inputs=4, domain=DOMAIN)
        for index, value in ((0, data), (2, scales), (3, zeros)):
            editor.replace_input(embedding.node, index, value)


def _is_product(linear: Linear) -> bool:
    """A MatMul whose right operand is a constant matrix, perhaps behind a Transpose, as of a table that is tied."""
    tensor = constant_tensor(linear.weight.source)
    if tensor is None or linear.node.op_type != "MatMul" or tensor.dtype not in FLOATS or len(tensor.shape) != 2:
        return False
    path = linear.weight.path
    last = path[-1].outputs[0] if path else linear.weight.source
    return shared_weights.turns(linear.weight) is not None and linear.node.inputs[1] is last
