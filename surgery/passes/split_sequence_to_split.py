"""SplitToSequence + SequenceAt → Split or Slice: keeps chunked activations on the GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.site import label
from onnxfix.nouns.types.type_strings import type_string
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.shapes import split_sequences
from onnxfix.surgery.sites.shapes.split_sequences import SplitSequence


@dataclass(frozen=True)
class SplitSequenceToSplit:
    """Rewrite a tensor sequence that is only taken apart again.

    `SplitToSequence` has no CUDA kernel in any ONNX Runtime version, so its input is copied to the host and each
    piece back: two copies a layer, 56 on a 28-layer ModernBERT. Where the pieces' sizes are known the pair becomes one
    `Split`; where the axis is dynamic each `SequenceAt` becomes a `Slice` of the same range.
    Sequences that something else reads (a loop, a graph output) are left alone.
    """

    name: ClassVar[str] = "split-sequence-to-split"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("K001",)

    def apply(self, editor: Editor) -> None:
        for site in list(split_sequences.find(editor.model)):
            if site.refusal or not site.readers:
                continue
            if site.sizes is not None and site.keepdims:
                _to_split(editor, site, site.sizes)
            else:
                _to_slices(editor, site)
            for reader, _ in site.readers:
                editor.remove_dead(reader)
            editor.remove_dead(site.node)


def _to_split(editor: Editor, site: SplitSequence, sizes: tuple[int, ...]) -> None:
    sizes_value = editor.add_initializer(
        f"{label(site.node)}_sizes", ir.tensor(np.array(sizes, dtype=np.int64)), site.node.graph
    )
    kind = type_string(site.node.inputs[0].type) if site.node.inputs[0] is not None else None
    split = editor.new_node(
        "Split",
        [site.node.inputs[0], sizes_value],
        site.node,
        attributes={"axis": site.axis},
        outputs=[f"{site.node.outputs[0].name}_{i}" for i in range(len(sizes))],
        types=[kind] * len(sizes),
        after=site.node,
    )
    for reader, position in site.readers:
        _replace(editor, reader, split.outputs[position])


def _to_slices(editor: Editor, site: SplitSequence) -> None:
    for reader, position in site.readers:
        if site.size:
            start, end = position * site.size, (position + 1) * site.size
        else:
            assert site.sizes is not None
            start, end = sum(site.sizes[:position]), sum(site.sizes[: position + 1])
        piece = _slice(editor, site, reader, start, end)
        if not site.keepdims:
            axes = editor.add_initializer(f"{label(reader)}_axes", _ints(site.axis), site.node.graph)
            squeeze = editor.new_node(
                "Squeeze", [piece, axes], reader, outputs=[f"{reader.outputs[0].name}_squeezed"], after=reader
            )
            piece = squeeze.outputs[0]
        _replace(editor, reader, piece)


def _slice(editor: Editor, site: SplitSequence, reader: ir.Node, start: int, end: int) -> ir.Value:
    bounds = [
        editor.add_initializer(f"{label(reader)}_{what}", _ints(number), site.node.graph)
        for what, number in (("start", start), ("end", end), ("axis", site.axis))
    ]
    node = editor.new_node("Slice", [site.node.inputs[0], *bounds], reader, outputs=[f"{reader.outputs[0].name}_slice"])
    return node.outputs[0]


def _replace(editor: Editor, reader: ir.Node, piece: ir.Value) -> None:
    """Two readers of one piece share it, and a piece that is a graph output needs an Identity when it has the name."""
    old = reader.outputs[0]
    if old.is_graph_output() and piece.is_graph_output():
        copy = editor.new_node("Identity", [piece], reader, outputs=[f"{old.name}_copy"], after=reader)
        piece = copy.outputs[0]
    if piece.shape is None and old.shape is not None and piece.type is not None:
        piece.shape = old.shape
    editor.replace_uses(old, piece)


def _ints(number: int) -> ir.TensorProtocol:
    return ir.tensor(np.array([number], dtype=np.int64))
