"""Transposes, Casts and Reshapes of weights → the weight itself, so that a quantizer and a fusion can see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.finding import Applicability
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites import linears
from onnxfix.surgery.sites.constants import constant_tensor, evaluate


@dataclass(frozen=True)
class FoldConstantTransposes:
    """Store each linear layer's weight as its product reads it.

    Without its optimizer the dynamo exporter leaves every weight behind a `Transpose`. ONNX Runtime's quantizers skip
    such a product without a word: 2 of 26 on a small ModernBERT. The nodes between the weight and the product
    (`Transpose`, `Cast`, `Reshape`, `Identity`, `Squeeze`, `Unsqueeze`, `Flatten`) are evaluated once, and a weight that
    several products share through equal nodes stays one weight.
    """

    name: ClassVar[str] = "fold-constant-transposes"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("Q001",)

    def apply(self, editor: Editor) -> None:
        folded: dict[tuple[object, ...], ir.Value] = {}
        for linear in linears.find(editor.model):
            if linear.quantized or not (linear.weight.path or linear.weight.source.producer()):
                continue
            index = _weight_index(linear)
            key = (linear.weight.source, *(_signature(n) for n in linear.weight.path))
            if key not in folded:
                made = _folded(editor, linear)
                if made is None:
                    continue
                folded[key] = made
            replaced = linear.node.inputs[index]
            editor.replace_input(linear.node, index, folded[key])
            _clean(editor, replaced)


def _weight_index(linear: linears.Linear) -> int:
    last = linear.weight.path[-1].outputs[0] if linear.weight.path else linear.weight.source
    return next(i for i, v in enumerate(linear.node.inputs) if v is last)


def _signature(node: ir.Node) -> tuple[object, ...]:
    """What a node does, not which node it is: equal signatures over one source give one weight."""
    attributes = tuple(sorted((k, str(a.value)) for k, a in node.attributes.items()))
    return (node.op_type, attributes, tuple(v for v in node.inputs[1:]))


def _folded(editor: Editor, linear: linears.Linear) -> ir.Value | None:
    source, path = linear.weight.source, linear.weight.path
    tensor = constant_tensor(source)
    assert tensor is not None
    # Shape and dtype of the result without reading the weight: the same nodes over a broadcast zero of its shape.
    probe: np.ndarray | None = np.broadcast_to(np.zeros((), dtype=tensor.dtype.numpy()), tensor.shape.numpy())
    for node in path:
        probe = evaluate(node, probe) if probe is not None else None
    if probe is None:
        return None
    dtype = ir.DataType(path[-1].attributes["to"].as_int()) if path and path[-1].op_type == "Cast" else None
    # the weight's own name where this was its only reader, so that people find it again
    wanted = f"{source.name}_folded"
    return editor.add_lazy_initializer(
        wanted, dtype or ir.DataType.from_numpy(probe.dtype), probe.shape, lambda: _evaluate_all(path, tensor)
    )


def _evaluate_all(path: Sequence[ir.Node], tensor: ir.TensorProtocol) -> np.ndarray:
    array: np.ndarray | None = tensor.numpy()
    for node in path:
        assert array is not None
        array = evaluate(node, array)
    assert array is not None
    return np.ascontiguousarray(array)


def _clean(editor: Editor, value: ir.Value | None) -> None:
    if value is None:
        return
    producer = value.producer()
    if producer is not None:
        editor.remove_dead(producer)
    elif value.is_initializer() and not value.uses() and not value.is_graph_output():
        editor.drop_initializer(value)
