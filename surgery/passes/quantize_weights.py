"""Weights to 8 or 4 bits in blocks, activations as they are: what runs quantized on CUDA, and fast on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.type_strings import elem_string
from onnxfix.nouns.weights import weight_data
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.int8 import block_quantization
from onnxfix.surgery.int8.block_quantization import Blocks
from onnxfix.surgery.int8.quantizer import ALL, Selection
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.linear import embeddings, linears

DOMAIN = "com.microsoft"
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
# On a CPU the activations of a product are rounded to int8, block by block, and the product is computed in integers:
# faster than fp32 (2.1 times for a large product alone, 1.1 times for ModernBERT-base, 8 bits in blocks of 128), for
# 9e-3 of error a layer and not 6e-3. Not for fp16: there ONNX Runtime 1.31.1 answers wrong without optimisations (0.6
# relative L2 error on a small ModernBERT).
INTEGERS = 4
SMALLEST_BLOCK = 16

Stored = dict[tuple[ir.Value, str], tuple[ir.Value, ir.Value]]
"""Packed weight and scales of each weight and use, so that a shared weight stays one."""


@dataclass(frozen=True)
class QuantizeWeights:
    """Store the weights of all linear layers and of large embeddings in 8 or 4 bits, with one scale a block.

    Linears become `MatMulNBits` and embeddings `GatherBlockQuantized`. Both have CUDA and CPU kernels for fp32 and
    fp16, so that nothing is copied to the host, as it is with dynamic int8. The numbers come from ONNX Runtime's own
    quantization kernels, symmetric. Rotary angle products are no linears and stay. Embeddings take 8 bits always.

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
        stored: Stored = {}
        found = linears.find(editor.model, types)
        taken = [x for x in self.selection.of(found, editor.model) if self._takes(x)]
        looked_up = [x for x in embeddings.find(editor.model) if self._takes_table(x, editor.model.opset)]
        for linear in taken:
            self._product(editor, linear.node, linear.weight.source, stored)
        for embedding in looked_up:
            self._table(editor, embedding.node, embedding.weight.source, stored)
        for weight in dict.fromkeys(weight for weight, _ in stored):
            if weight.is_initializer() and not weight.uses() and not weight.is_graph_output():
                editor.drop_initializer(weight)
            elif weight.producer() is not None:
                editor.remove_dead(weight.producer())
        if stored:
            editor.import_domain(DOMAIN, 1)

    def measure(self, model: Model) -> float:
        return float(sum(not x.quantized for x in linears.find(model)))

    def _takes(self, linear: linears.Linear) -> bool:
        tensor = constant_tensor(linear.weight.source)
        plain = not linear.weight.path and linear.node.op_type == "MatMul"
        if tensor is None or not plain or tensor.dtype not in FLOATS:
            return False
        return len(tensor.shape) == 2 and linear.node.inputs[1] is linear.weight.source

    def _takes_table(self, embedding: embeddings.Embedding, opset: int) -> bool:
        tensor = constant_tensor(embedding.weight.source)
        if (
            tensor is None
            or embedding.quantized
            or embedding.weight.path
            or label(embedding.node) in self.selection.blocked
            or tensor.dtype not in FLOATS
        ):
            return False
        kinds = ["tensor(uint8)", "tensor(int64)", elem_string(tensor.dtype)]
        return self.target.supports("GatherBlockQuantized", DOMAIN, opset, kinds, kinds[2:]) != "no"

    def _block(self, length: int) -> int:
        """The block size, or less for a short axis: blocks are filled up with zeros."""
        return max(SMALLEST_BLOCK, min(self.block_size, 1 << (length - 1).bit_length()))

    def _product(self, editor: Editor, node: ir.Node, weight: ir.Value, stored: Stored) -> None:
        tensor = constant_tensor(weight)
        assert tensor is not None
        inner, outer = tensor.shape.numpy()
        block = self._block(inner)
        if (weight, "product") not in stored:
            made = block_quantization.of_product(weight_data.array(tensor), self.bits, block)
            stored[weight, "product"] = _store(editor, weight, made)
        attributes = {"K": inner, "N": outer, "bits": self.bits, "block_size": block}
        if self.target.provider.is_host and tensor.dtype == ir.DataType.FLOAT:
            attributes["accuracy_level"] = INTEGERS
        editor.set_operator(node, "MatMulNBits", attributes, inputs=3, domain=DOMAIN)
        for index, value in enumerate(stored[weight, "product"], 1):
            editor.replace_input(node, index, value)

    def _table(self, editor: Editor, node: ir.Node, table: ir.Value, stored: Stored) -> None:
        tensor = constant_tensor(table)
        assert tensor is not None
        block = self._block(tensor.shape.numpy()[1])
        if (table, "table") not in stored:
            stored[table, "table"] = _store(
                editor, table, block_quantization.of_table(weight_data.array(tensor), block)
            )
        attributes = {"gather_axis": 0, "quantize_axis": 1, "block_size": block, "bits": 8}
        editor.set_operator(node, "GatherBlockQuantized", attributes, inputs=3, domain=DOMAIN)
        packed, scales = stored[table, "table"]
        editor.replace_input(node, 0, packed)
        editor.replace_input(node, 2, scales)


def _store(editor: Editor, weight: ir.Value, made: Blocks) -> tuple[ir.Value, ir.Value]:
    graph = weight.graph if weight.is_initializer() else None
    parts = (("quantized", made.packed), ("scales", made.scales))
    first, second = (editor.add_initializer(f"{weight.name}_{n}", ir.Tensor(a), graph) for n, a in parts)
    return first, second
