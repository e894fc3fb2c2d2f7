"""Transposes, Casts and Reshapes of weights → the weight itself, so that a quantizer and a fusion can see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.weights import weight_data
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.int8.quantizer import Selection
from onnxfix.surgery.sites.constants import Array, Trace, constant_tensor, mover
from onnxfix.surgery.sites.linear import embeddings, linears, shared_weights
from onnxfix.surgery.sites.linear.shared_weights import SMALL


@dataclass(frozen=True)
class FoldConstantTransposes:
    """Store each linear layer's weight as its product reads it.

    Without its optimizer the dynamo exporter leaves every weight behind a `Transpose`. ONNX Runtime's quantizers skip
    such a product without a word: 2 of 26 on a small ModernBERT. The nodes between the weight and the product
    (`Transpose`, `Cast`, `Reshape`, `Identity`, `Squeeze`, `Unsqueeze`, `Flatten`) are evaluated once, and a weight
    that several products share through equal nodes stays one weight. One that something else reads as it is, an
    embedding table that is the output layer too, stays as it is: folded it would be stored twice.
    """

    name: ClassVar[str] = "fold-constant-transposes"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("Q001",)

    tied: Selection | None = None
    """Of which linears to fold weights that embeddings read as well: those that a quantizer then takes, which makes
    one weight of the two again."""

    def apply(self, editor: Editor) -> None:
        folded: dict[tuple[object, ...], ir.Value] = {}
        found = [
            x for x in linears.find(editor.model) if not x.quantized and (x.weight.path or x.weight.source.producer())
        ]
        taken = {x.node for x in self.tied.of(found, editor.model)} if self.tied is not None else set()
        for linear in [x for x in found if not _would_double(x, found, taken)]:
            moves, source = _moves(linear.weight), linear.weight.source
            key = (source, *map(_signature, moves))
            if not moves and source.is_initializer():
                folded[key] = source  # behind an Identity only, as layers that share weights are exported
            if key not in folded:
                made = _folded(editor, linear)
                if made is None:
                    continue
                folded[key] = made
            index = _weight_index(linear)
            replaced = linear.node.inputs[index]
            editor.replace_input(linear.node, index, folded[key])
            if not moves and not source.is_initializer() and not source.is_graph_output() and source.uses():
                editor.replace_uses(source, folded[key])  # a Constant node: all its readers read the initializer
            _clean(editor, replaced)


def _would_double(linear: linears.Linear, found: Sequence[linears.Linear], taken: set[ir.Node]) -> bool:
    """Whether somebody goes on reading the weight as it is stored, or moved in another way: then two are stored."""
    source, moves = linear.weight.source, _moves(linear.weight)
    if not moves or linear.elements <= SMALL:
        return False
    alike = {
        x.node
        for x in found
        if x.weight.source is source and list(map(_signature, _moves(x.weight))) == list(map(_signature, moves))
    }
    rest = shared_weights.others(source, alike)
    if linear.node in taken and all(node in taken or embeddings.looks_up(node, source) for node in rest):
        return source.is_graph_output()
    return bool(rest) or source.is_graph_output()


def _moves(weight: Trace) -> list[ir.Node]:
    return [node for node in weight.path if node.op_type != "Identity"]


def _weight_index(linear: linears.Linear) -> int:
    last = linear.weight.path[-1].outputs[0] if linear.weight.path else linear.weight.source
    return next(i for i, v in enumerate(linear.node.inputs) if v is last)


def _signature(node: ir.Node) -> tuple[object, ...]:
    """What a node does, not which node it is: equal signatures over one source give one weight."""
    attributes = tuple(sorted((k, str(a.value)) for k, a in node.attributes.items()))
    if node.op_type == "Transpose" and "perm" in node.attributes:
        axes = node.attributes["perm"].as_ints()
        # the default, reversed axes, may be written out or left out
        attributes = () if list(axes) == list(reversed(range(len(axes)))) else attributes
    return (node.op_type, attributes, tuple(v for v in node.inputs[1:]))


def _folded(editor: Editor, linear: linears.Linear) -> ir.Value | None:
    source, path = linear.weight.source, linear.weight.path
    tensor = constant_tensor(source)
    assert tensor is not None
    moves = [mover(node) for node in path]
    if any(move is None for move in moves):
        return None
    made = [move for move in moves if move is not None]
    name = f"{source.name}_folded"
    # Shape and dtype of the result without reading the weight: the same moves over a broadcast zero of its shape.
    try:
        probe = _all(made, np.broadcast_to(np.zeros((), dtype=tensor.dtype.numpy()), tensor.shape.numpy()))
    except (IndexError, ValueError):  # axes that the weight does not have: the runtime says it on loading
        return None
    if not any(node.op_type == "Cast" for node in path):
        return editor.add_initializer(
            name, weight_data.Moved(tensor, probe.shape, lambda array: _all(made, array), name)
        )
    dtype = ir.DataType.from_numpy(probe.dtype)
    return editor.add_lazy_initializer(name, dtype, probe.shape, lambda: _all(made, weight_data.array(tensor)))


def _all(moves: Sequence[Callable[[Array], Array]], array: Array) -> Array:
    for move in moves:
        array = move(array)
    return array


def _clean(editor: Editor, value: ir.Value | None) -> None:
    if value is None:
        return
    producer = value.producer()
    if producer is not None:
        editor.remove_dead(producer)
    elif value.is_initializer() and not value.uses() and not value.is_graph_output():
        editor.drop_initializer(value)
