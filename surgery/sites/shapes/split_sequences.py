"""SplitToSequence whose pieces are read only by SequenceAt at constant positions: a Split or Slices in disguise.

torch's dynamo exporter writes `chunk`, `split` and `unbind` so when its optimizer does not run. SplitToSequence has no
CUDA kernel in any ONNX Runtime version, so the whole tensor goes to the host and back at each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.constants import integers

MOST_PIECES = 10_000
"""Of one axis: more are not counted one by one, so that a broken file may state 2⁴⁰."""


@dataclass(frozen=True)
class SplitSequence:
    """One SplitToSequence. `refusal` says why it cannot be rewritten, empty when it can.

    `readers` pairs each SequenceAt with its position; `size` is the length of a piece along `axis`, `sizes` the length
    of each piece where the axis is static, `keepdims` False when pieces of length 1 lose the axis.
    """

    node: ir.Node
    axis: int
    readers: tuple[tuple[ir.Node, int], ...] = ()
    size: int = 1
    sizes: tuple[int, ...] | None = None
    keepdims: bool = True
    refusal: str = ""


def find(model: Model) -> Iterator[SplitSequence]:
    """Every SplitToSequence of the model, sub-graphs included, in graph order."""
    for node in model.nodes():
        if node.op_type == "SplitToSequence" and is_standard(node):
            yield _analyse(node, model.opset)


def _analyse(node: ir.Node, opset: int) -> SplitSequence:
    axis = integer(node, "axis", 0)
    readers: list[tuple[ir.Node, int]] = []
    refusal = _collect_readers(node.outputs[0], node.graph, readers)
    if not refusal and opset < 13:
        refusal = f"opset {opset} is older than 13, where Split takes its sizes as an input"
    split = node.inputs[1] if len(node.inputs) > 1 else None
    dim = _static_dim(node.inputs[0], axis)
    keepdims, size, sizes = True, 1, None
    if split is None:
        keepdims = integer(node, "keepdims", 1) == 1
        sizes = (1,) * dim if dim is not None and dim <= MOST_PIECES else None
    else:
        numbers = integers(split)
        if not numbers or min(numbers) <= 0:
            return SplitSequence(node, axis, refusal="the sizes of the pieces are not constant")
        if _is_scalar(split):
            size = numbers[0]
            sizes = _pieces(dim, size) if dim is not None and dim <= MOST_PIECES * size else None
        else:
            size, sizes = 0, numbers
    if not refusal:
        refusal, readers = _positions(readers, sizes)
    return SplitSequence(node, axis, tuple(readers), size, sizes, keepdims, refusal)


def _collect_readers(sequence: ir.Value, graph: object, readers: list[tuple[ir.Node, int]]) -> str:
    """Fill `readers` with a sequence's SequenceAt nodes, looking through Identity; a refusal when others read it."""
    if sequence.is_graph_output():
        return f"the sequence {sequence.name} is a graph output"
    for reader in sequence.consumers():
        if reader.graph is not graph:
            return f"the sequence is read inside a sub-graph ({reader.op_type} {label(reader)})"
        if reader.op_type == "Identity":
            refusal = _collect_readers(reader.outputs[0], graph, readers)
            if refusal:
                return refusal
            continue
        if reader.op_type != "SequenceAt":
            return f"the sequence is read by {reader.op_type} {label(reader)}"
        position = integers(reader.inputs[1])
        if position is None or len(position) != 1:
            return f"{label(reader)} reads it at a position that is not constant"
        readers.append((reader, position[0]))
    return ""


def _positions(
    readers: list[tuple[ir.Node, int]], sizes: tuple[int, ...] | None
) -> tuple[str, list[tuple[ir.Node, int]]]:
    """Positions counted from the front. Without a known number of pieces a negative one cannot be resolved."""
    resolved: list[tuple[ir.Node, int]] = []
    for reader, position in readers:
        if sizes is None and position < 0:
            return f"{label(reader)} counts pieces from the end of an axis whose length is unknown", readers
        if sizes is not None and not -len(sizes) <= position < len(sizes):
            return f"{label(reader)} reads piece {position} of {len(sizes)}", readers
        resolved.append((reader, position if position >= 0 or sizes is None else position + len(sizes)))
    return "", resolved


def _pieces(dim: int, size: int) -> tuple[int, ...]:
    """Equal pieces and a shorter last one, as the specification of SplitToSequence says for a scalar `split`."""
    full, rest = divmod(dim, size)
    return (size,) * full + ((rest,) if rest else ())


def _static_dim(value: ir.Value | None, axis: int) -> int | None:
    shape = value.shape if value is not None else None
    if shape is None or not -len(shape) <= axis < len(shape):
        return None
    dim = shape[axis]
    return dim if isinstance(dim, int) else None


def _is_scalar(value: ir.Value) -> bool:
    """Rank 0, as declared or as the constant itself says. A 1-D tensor of one element is a list of one size."""
    from onnxfix.surgery.sites.constants import small_array

    array = small_array(value)
    return array is not None and array.ndim == 0
