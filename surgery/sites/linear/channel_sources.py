"""Where channels of an activation get their size: constants that can be scaled in place of the activation itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.constants import constant_tensor, integers

NORMS = frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"})
# f(s·x) = s·f(x) for s > 0
HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "Identity", "Dropout"})


@dataclass(frozen=True)
class Source:
    """A constant input of a node: along `axis`, entries from `start` on belong to the activation's channels."""

    node: ir.Node
    index: int
    axis: int
    start: int


@dataclass(frozen=True)
class Route:
    """`sources`: the constants to multiply; `values`: activations whose channels become larger or smaller by it."""

    sources: tuple[Source, ...]
    values: tuple[ir.Value, ...] = ()

    def __add__(self, other: Route) -> Route:
        return Route(self.sources + other.sources, self.values + other.values)


@dataclass(frozen=True)
class Stretch:
    """`length` channels of a value's last axis, from `start` on."""

    value: ir.Value
    start: int
    length: int


def find(value: ir.Value, channels: int, readers: Collection[ir.Node]) -> Route | None:
    """All constants to multiply so that the channels of `value` are multiplied, and nothing else changes.

    `readers`: the only nodes that may read the value, as their first input. None where an operator on the way mixes
    channels or is not homogeneous (an activation function), or where somebody else reads the channels.
    """
    if any(index != 0 for _, index in value.uses()):
        return None  # the bias of a Gemm, say, which is to stay as large as it is
    return _inner(Stretch(value, 0, channels), readers)


def _behind(stretch: Stretch) -> Route | None:
    node = stretch.value.producer()
    if node is None or not is_standard(node) or node.outputs[0] is None:
        return None
    if node.op_type in NORMS and stretch.value is node.outputs[0]:
        return _vectors(node, range(1, len(node.inputs)), stretch) if _normalizes_last(node) else None
    match node.op_type:
        case "MatMul":
            return _columns(node, stretch)
        case "Gemm":
            return _gemm(node, stretch)
        case "Mul":
            return _factor(node, stretch)
        case "Add":
            return _sum(node, stretch)
        case "Split":
            return _split(node, stretch)
        case "Slice":
            return _slice(node, stretch)
        case op_type if op_type in HOMOGENEOUS:
            return _inner(Stretch(node.inputs[0], stretch.start, stretch.length), [node]) if node.inputs[0] else None
    return None


def _inner(stretch: Stretch, readers: Collection[ir.Node]) -> Route | None:
    """What makes a value that only `readers` read."""
    value = stretch.value
    if value.is_graph_output() or any(node not in readers for node in value.consumers()):
        return None
    behind = _behind(stretch)
    return behind + Route((), (value,)) if behind is not None else None


def _normalizes_last(node: ir.Node) -> bool:
    axis = integer(node, "axis", -1)
    scale = constant_tensor(node.inputs[1])
    # a scale of one axis says that only the last is normalized, however it is counted
    return scale is not None and len(scale.shape) == 1 and (axis == -1 or axis > 0)


def _vectors(node: ir.Node, indices: Collection[int], stretch: Stretch) -> Route | None:
    """Constant inputs that run along the channels: all of them, or none will do."""
    found = []
    for index in indices:
        if node.inputs[index] is None:
            continue
        tensor = constant_tensor(node.inputs[index])
        shape = tensor.shape.numpy() if tensor is not None else ()
        if not shape or shape[-1] < stretch.start + stretch.length or any(d != 1 for d in shape[:-1]):
            return None
        found.append(Source(node, index, len(shape) - 1, stretch.start))
    return Route(tuple(found))


def _columns(node: ir.Node, stretch: Stretch, axis: int = 1) -> Route | None:
    tensor = constant_tensor(node.inputs[1])
    if tensor is None or len(tensor.shape) != 2:
        return None
    if tensor.shape.numpy()[axis] < stretch.start + stretch.length:
        return None  # one column that is broadcast to all channels later
    return Route((Source(node, 1, axis, stretch.start),))


def _gemm(node: ir.Node, stretch: Stretch) -> Route | None:
    turned = integer(node, "transB", 0)
    weights = _columns(node, stretch, 0 if turned else 1)
    if weights is None:
        return None
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return weights
    bias = _vectors(node, [2], stretch)
    return weights + bias if bias is not None else None


def _factor(node: ir.Node, stretch: Stretch) -> Route | None:
    """A constant factor; else one of two activations, the other of which stays."""
    for index in (1, 0):
        vector = _vectors(node, [index], stretch)
        if vector is not None and vector.sources:
            return vector
    for index in (1, 0):
        operand = node.inputs[index]
        if operand is None or operand is node.inputs[1 - index]:
            continue
        found = _inner(Stretch(operand, stretch.start, stretch.length), [node])
        if found is not None:
            return found
    return None


def _sum(node: ir.Node, stretch: Stretch) -> Route | None:
    """A bias, and what it is added to."""
    for index in (1, 0):
        bias, operand = _vectors(node, [index], stretch), node.inputs[1 - index]
        if bias is not None and bias.sources and operand is not None:
            rest = _inner(Stretch(operand, stretch.start, stretch.length), [node])
            return bias + rest if rest is not None else None
    return None


def _split(node: ir.Node, stretch: Stretch) -> Route | None:
    """A part of the channels of what is split, whose other parts stay as they are."""
    source, sizes = node.inputs[0], _part_sizes(node)
    if source is None or sizes is None:
        return None
    position = next(i for i, v in enumerate(node.outputs) if v is stretch.value)
    return _inner(Stretch(source, sum(sizes[:position]) + stretch.start, stretch.length), [node])


def _part_sizes(node: ir.Node) -> list[int] | None:
    """Sizes of the parts of a Split along the last axis; None where they are not known or it is another axis."""
    source = node.inputs[0]
    axis = integer(node, "axis", 0)
    shape = source.shape if source is not None else None
    if axis != -1 and (shape is None or axis != len(shape) - 1):
        return None
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        given = integers(node.inputs[1])
        return list(given) if given is not None else None
    if "split" in node.attributes:  # opset < 13
        return list(node.attributes["split"].as_ints())
    width, parts = _width(source), len(node.outputs)
    return [width // parts] * parts if isinstance(width, int) and width % parts == 0 else None


def _width(value: ir.Value | None) -> int | None:
    """Length of the last axis: declared, or the columns of the product that makes the value."""
    if value is None:
        return None
    if value.shape is not None:
        return value.shape[-1] if isinstance(value.shape[-1], int) else None
    producer = value.producer()
    tensor = constant_tensor(producer.inputs[1]) if producer is not None and producer.op_type == "MatMul" else None
    return int(tensor.shape.numpy()[-1]) if tensor is not None else None


def _slice(node: ir.Node, stretch: Stretch) -> Route | None:
    """A slice of the last axis, as chunks are exported, whose source only slices read that leave our channels alone."""
    source, bounds = node.inputs[0], _bounds(node)
    if source is None or bounds is None:
        return None
    start, readers = bounds[0] + stretch.start, source.consumers()
    for other in readers:
        theirs = (0, 0) if other is node else _bounds(other)
        if theirs is None or (theirs[0] < start + stretch.length and start < theirs[1]):
            return None
    return _inner(Stretch(source, start, stretch.length), readers)


def _bounds(node: ir.Node) -> tuple[int, int] | None:
    """First channel and the one behind the last, of a Slice of the last axis with step 1."""
    if node.op_type != "Slice" or len(node.inputs) < 4:
        return None
    parts = [integers(v) for v in node.inputs[1:]]
    starts, ends, axes = parts[:3]
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if not starts or not ends or not axes or len(starts) != 1 or (len(parts) > 3 and parts[3] != (1,)):
        return None
    if axes[0] != -1 and (shape is None or axes[0] != len(shape) - 1):
        return None
    return (starts[0], ends[0]) if 0 <= starts[0] < ends[0] else None
