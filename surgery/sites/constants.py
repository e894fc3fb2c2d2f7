"""Values that are constant: initializers, Constant nodes, and what data movement makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, integer, is_standard

Array = np.ndarray[Any, Any]
# Operators through which a weight is still the same weight to a reader, though not to a quantizer that wants an
# initializer at MatMul's input.
TRANSPARENT = frozenset({"Transpose", "Cast", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten"})


@dataclass(frozen=True)
class Trace:
    """A constant `source` (initializer or output of a Constant node) and the nodes between it and the reader."""

    source: ir.Value
    path: tuple[ir.Node, ...]

    @property
    def elements(self) -> int:
        tensor = constant_tensor(self.source)
        return int(tensor.size) if tensor is not None else 0


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or a Constant node; None for anything a caller can change at run time."""
    if value is None:
        return None
    if value.is_initializer():
        # An initializer that is also a graph input is a default value, which a feed may override.
        return None if value.is_graph_input() else value.const_value
    producer = value.producer()
    if producer is None or producer.op_type != "Constant" or not is_standard(producer):
        return None
    return constant_attribute_tensor(producer)


def constant_attribute_tensor(node: ir.Node) -> ir.TensorProtocol | None:
    """The tensor a Constant node holds in any of its attribute forms; None for sparse and string constants."""
    for name, given in node.attributes.items():
        if given.is_ref():
            return None
        if name == "value":
            tensor: ir.TensorProtocol = given.value
            return tensor
        if name in ("value_float", "value_floats"):
            return ir.tensor(np.array(given.value, dtype=np.float32))
        if name in ("value_int", "value_ints"):
            return ir.tensor(np.array(given.value, dtype=np.int64))
    return None


def integers(value: ir.Value | None) -> tuple[int, ...] | None:
    """The numbers of a small constant integer tensor, traced through data movement; None when not constant."""
    array = small_array(value)
    if array is None or array.dtype.kind not in "iu":
        return None
    return tuple(int(x) for x in array.reshape(-1))


def small_array(value: ir.Value | None, limit: int = 4096) -> Array | None:
    """The content of a constant of at most `limit` elements, Identity, Cast and Reshape evaluated."""
    found = trace(value)
    if found is None or found.elements > limit:
        return None
    tensor = constant_tensor(found.source)
    assert tensor is not None
    array = tensor.numpy()
    for node in found.path:
        moved = evaluate(node, array)
        if moved is None:
            return None
        array = moved
    return array


def trace(value: ir.Value | None) -> Trace | None:
    """Follow a value up through data movement to a constant; None when it ends elsewhere."""
    path: list[ir.Node] = []
    while value is not None:
        if constant_tensor(value) is not None:
            return Trace(value, tuple(reversed(path)))
        node = value.producer()
        if node is None or node.op_type not in TRANSPARENT or not is_standard(node):
            return None
        path.append(node)
        value = node.inputs[0]
    return None


def evaluate(node: ir.Node, array: Array) -> Array | None:
    """One data-movement node on one array; None when its parameters are not constant, or do not fit the array."""
    move = mover(node)
    try:
        return move(array) if move is not None else None
    except (IndexError, ValueError):  # the runtime says it, when it loads the model
        return None


def mover(node: ir.Node) -> Callable[[Array], Array] | None:
    """What a data-movement node does, with its parameters read now, so that it works after the node is gone."""
    match node.op_type:
        case "Identity":
            return lambda array: array
        case "Transpose":
            axes = attribute(node, "perm", None)
            return lambda array: np.transpose(array, axes)
        case "Cast":
            dtype = ir.DataType(node.attributes["to"].as_int()).numpy()
            return lambda array: array.astype(dtype)
        case "Flatten":
            axis = integer(node, "axis", 1)
            return lambda array: array.reshape(int(np.prod(array.shape[:axis])), -1)
        case "Reshape":
            return _reshape(node)
        case "Squeeze" | "Unsqueeze":
            return _squeeze(node)
    return None


def _reshape(node: ir.Node) -> Callable[[Array], Array] | None:
    wanted = integers(node.inputs[1]) if len(node.inputs) > 1 else None
    if wanted is None:
        return None
    keep_zero = integer(node, "allowzero", 0) == 1

    def reshape(array: Array) -> Array:
        return array.reshape([array.shape[i] if d == 0 and not keep_zero else d for i, d in enumerate(wanted)])

    return reshape


def _squeeze(node: ir.Node) -> Callable[[Array], Array] | None:
    axes: tuple[int, ...] | None = None
    if "axes" in node.attributes:  # opset < 13
        axes = tuple(node.attributes["axes"].as_ints())
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        axes = integers(node.inputs[1])
        if axes is None:
            return None
    if node.op_type == "Squeeze":
        return lambda array: np.squeeze(array, axis=axes)
    return lambda array: np.expand_dims(array, axis=axes or ())
