"""Constants of a half conversion: each converted once, in place where all its readers agree."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxfix.op_outputs import data_type
from onnxfix.weight_data import Elementwise

from .editor import Editor
from .sites.constants import constant_attribute_tensor, constant_tensor

LARGEST_FP16 = 65504.0


def to_half(array: np.ndarray, dtype: ir.DataType) -> np.ndarray:
    """Round to nearest even; finite values beyond fp16's range become ±65,504, infinities and NaN stay.

    A mask of finfo.min that became -inf would make a fully masked softmax row NaN.
    """
    with np.errstate(over="ignore"):
        made = array.astype(dtype.numpy())
    if dtype == ir.DataType.FLOAT16 and ((made.view(np.uint16) & 0x7FFF) >= 0x7C00).any():
        finite = np.isfinite(array)
        made = np.where(finite, np.clip(array, -LARGEST_FP16, LARGEST_FP16), array).astype(dtype.numpy())
    return made


class HalfConstants:
    """Collects who reads which constant in which type, then converts those that no fp32 reader needs in place."""

    def __init__(self, editor: Editor, half: str) -> None:
        self.editor = editor
        self.half = half
        self.dtype = data_type(half)
        self._readers: dict[ir.Value, list[tuple[ir.Node, int]]] = {}
        self._needed_fp32: set[ir.Value] = set()

    def read(self, node: ir.Node, index: int, value: ir.Value, wanted: str) -> None:
        """Note that input `index` of `node` reads a constant and wants it as `wanted`."""
        if wanted == self.half:
            self._readers.setdefault(value, []).append((node, index))
        else:
            self._needed_fp32.add(value)

    def convert_unmixed(self) -> None:
        """Convert each constant that a half reader wants: in place, or as a second one beside the fp32 original."""
        for value, readers in self._readers.items():
            if value in self._needed_fp32 or value.is_graph_output():
                self._second(value, readers)
            elif value.is_initializer():
                tensor = value.const_value
                assert tensor is not None
                self.editor.replace_tensor(value, self._lazy(tensor, value.name or ""), f"as {self.dtype.name}")
            else:
                producer = value.producer()
                assert producer is not None
                self._constant_node(producer)

    def fill_value(self, node: ir.Node) -> ir.TensorProtocol:
        """The fill of a ConstantOfShape in half; its default is one zero."""
        attribute = node.attributes.get("value")
        array = np.zeros(1, dtype=np.float32) if attribute is None else attribute.value.numpy()
        return ir.Tensor(to_half(array, self.dtype), dtype=self.dtype)

    def _second(self, value: ir.Value, readers: list[tuple[ir.Node, int]]) -> None:
        tensor = constant_tensor(value)
        assert tensor is not None
        name = f"{value.name}_{self.dtype.name.lower()}"
        # beside the original: a constant of a sub-graph is not visible outside it
        graph = value.graph if isinstance(value.graph, ir.Graph) else None
        made = self.editor.add_initializer(name, self._lazy(tensor, name), graph)
        for node, index in readers:
            self.editor.replace_input(node, index, made)

    def _constant_node(self, node: ir.Node) -> None:
        tensor = constant_attribute_tensor(node)
        assert tensor is not None
        value = ir.Tensor(to_half(tensor.numpy(), self.dtype), dtype=self.dtype, name=tensor.name)
        self.editor.set_operator(node, "Constant", {"value": value}, inputs=0)
        if node.outputs[0].type is not None:
            self.editor.set_type(node.outputs[0], self.half)

    def _lazy(self, tensor: ir.TensorProtocol, name: str) -> ir.TensorProtocol:
        """Converted when written, so that no more than one weight is in memory at a time."""
        return Elementwise(tensor, self.dtype, lambda array: to_half(array, self.dtype), name)
