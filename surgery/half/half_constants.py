"""Constants of a half conversion: each converted once, in place where all its readers agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.type_strings import data_type
from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import Array, Elementwise
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.constants import constant_attribute_tensor, constant_tensor
from onnxfix.surgery.sites.half.half_types import FLOAT, LARGEST_FP16

from .rounding import to_half

# Elements from which on a constant is not stored in two types: fp32 and half would take more than fp32 did.
LARGE = 4096


class HalfConstants:
    """Collects who reads which constant in which type, then converts those that no fp32 reader needs in place."""

    def __init__(self, editor: Editor) -> None:
        self.editor = editor
        self._readers: dict[ir.Value, dict[str, list[tuple[ir.Node, int]]]] = {}

    def read(self, node: ir.Node, index: int, value: ir.Value, wanted: str) -> None:
        """Note that input `index` of `node` reads a constant and wants it as `wanted`."""
        self._readers.setdefault(value, {}).setdefault(wanted, []).append((node, index))

    def convert(self) -> None:
        """Convert each constant that half readers want: in place, or as another one beside the fp32 original."""
        for value, by_kind in self._readers.items():
            halves = {kind: readers for kind, readers in by_kind.items() if kind != FLOAT}
            in_place = len(by_kind) == 1 and not value.is_graph_output()
            for kind, readers in halves.items():
                if not in_place:
                    self._another(value, kind, readers)
                elif value.is_initializer():
                    tensor = value.const_value
                    assert tensor is not None
                    dtype = data_type(kind)
                    made = Elementwise(tensor, dtype, _rounding(dtype), value.name or "")
                    self.editor.replace_tensor(value, made, f"as {dtype.name}")
                else:
                    producer = value.producer()
                    assert producer is not None
                    self._constant_node(producer, kind)

    def fill_value(self, node: ir.Node, kind: str) -> ir.TensorProtocol:
        """The fill of a ConstantOfShape in half; its default is one zero."""
        attribute = node.attributes.get("value")
        array = np.zeros(1, dtype=np.float32) if attribute is None else attribute.value.numpy()
        return ir.Tensor(to_half(array, data_type(kind)), dtype=data_type(kind))

    def _another(self, value: ir.Value, kind: str, readers: list[tuple[ir.Node, int]]) -> None:
        tensor = constant_tensor(value)
        assert tensor is not None
        dtype = data_type(kind)
        name = f"{value.name}_{dtype.name.lower()}"
        # beside the original: a constant of a sub-graph is not visible outside it
        graph = value.graph if isinstance(value.graph, ir.Graph) else None
        if tensor.size >= LARGE and _fits(tensor):
            self._cast(value, kind, readers, name)
            return
        made = self.editor.add_initializer(name, Elementwise(tensor, dtype, _rounding(dtype), name), graph)
        for node, index in readers:
            self.editor.replace_input(node, index, made)

    def _cast(self, value: ir.Value, kind: str, readers: list[tuple[ir.Node, int]], name: str) -> None:
        """A table that something reads in fp32 as well stays one: ONNX Runtime rounds it while it loads."""
        producer, graph = value.producer(), value.graph
        made = self.editor.new_node(
            "Cast",
            [value],
            producer if producer is not None else readers[0][0],
            attributes={"to": data_type(kind)},
            outputs=[name],
            types=[kind],
            after=producer,
            graph=graph if producer is None and isinstance(graph, ir.Graph) else None,
        )
        for node, index in readers:
            self.editor.replace_input(node, index, made.outputs[0])

    def _constant_node(self, node: ir.Node, kind: str) -> None:
        tensor = constant_attribute_tensor(node)
        assert tensor is not None
        dtype = data_type(kind)
        value = ir.Tensor(_rounding(dtype)(tensor.numpy()), dtype=dtype, name=tensor.name)
        self.editor.set_operator(node, "Constant", {"value": value}, inputs=0)
        if node.outputs[0].type is not None:
            self.editor.set_type(node.outputs[0], kind)


def _fits(tensor: ir.TensorProtocol) -> bool:
    """Whether a Cast gives what rounding does, which leaves nothing infinite."""
    array = weight_data.array(tensor)
    return bool((np.abs(array[np.isfinite(array)]) <= LARGEST_FP16).all()) and not np.isinf(array).any()


def _rounding(dtype: ir.DataType) -> Callable[[Array], Array]:
    return lambda array: to_half(array, dtype)
