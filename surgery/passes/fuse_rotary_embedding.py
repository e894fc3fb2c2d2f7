"""Written-out rotary products → com.microsoft RotaryEmbedding, in the layout that linear layers write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.attention import rotary_products
from onnxfix.surgery.sites.attention.head_layout import SWAP, swapped
from onnxfix.surgery.sites.attention.rotary_products import RotaryProduct

DOMAIN = "com.microsoft"
OLDEST_OPSET = 15  # Shape with a start and an end
NUMBERED_SPLIT = 18


@dataclass(frozen=True)
class Made:
    """What several products share: tables of cosines and sines, and the rows that tokens read in them."""

    tables: dict[ir.Value, ir.Value] = field(default_factory=dict)
    positions: dict[ir.Value, ir.Value] = field(default_factory=dict)


@dataclass(frozen=True)
class FuseRotaryEmbedding:
    """Compute x · cos + rotate_half(x) · sin in one operator, `RotaryEmbedding`, before the heads are transposed.

    Written out it is two Slices, a Neg, a Concat, two Muls and an Add over all queries and keys: 11 % of the time of a
    ModernBERT-base with int8 linears on a CPU. Only for queries and keys that come out of a Transpose of
    [batch, sequence, heads, size], with cos and sin of angles that are joined with themselves.

    Measure: rotary products that are written out.
    """

    name: ClassVar[str] = "fuse-rotary-embedding"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        if editor.model.opset < OLDEST_OPSET:
            return
        made = Made()
        for site in list(rotary_products.find(editor.model)):
            source = swapped(site.value)
            if source is not None:
                _fuse(editor, site, source, made)

    def measure(self, model: Model) -> float:
        return float(sum(swapped(site.value) is not None for site in rotary_products.find(model)))


def _fuse(editor: Editor, site: RotaryProduct, source: ir.Value, made: Made) -> None:
    """RotaryEmbedding on [batch, sequence, heads * size], and the heads transposed behind it."""
    last, name = site.output, site.output.outputs[0].name
    for angles in (site.cos, site.sin):
        if angles not in made.tables:
            made.tables[angles] = _table(editor, angles, last)
    cos, sin = made.tables[site.cos], made.tables[site.sin]
    if cos not in made.positions:
        made.positions[cos] = _positions(editor, site.cos, cos, source, last)
    joined = _node(editor, "Reshape", [source, _integers(editor, [0, 0, -1])], last, f"{name}_joined")
    turned = _node(
        editor, "RotaryEmbedding", [joined, made.positions[cos], cos, sin], last, f"{name}_turned", domain=DOMAIN
    )
    shape = _node(editor, "Shape", [source], last, f"{name}_shape")
    heads = _node(editor, "Reshape", [turned, shape], last, f"{name}_heads")
    done = _node(editor, "Transpose", [heads], last, f"{name}_transposed")
    editor.set_attribute(done.producer(), ir.AttrInt64s("perm", SWAP))  # type: ignore[arg-type]
    editor.replace_uses(last.outputs[0], done)
    editor.remove_dead(last)
    editor.import_domain(DOMAIN, 1)


def _table(editor: Editor, angles: ir.Value, like: ir.Node) -> ir.Value:
    """[batch, 1, sequence, size] → [batch * sequence, size / 2]: the first of two equal halves."""
    outputs = [f"{angles.name}_half", f"{angles.name}_again"]
    parts = {"num_outputs": 2} if editor.model.opset >= NUMBERED_SPLIT else {}
    split = editor.new_node("Split", [angles], like, attributes={"axis": -1, **parts}, outputs=outputs)
    return _node(editor, "Flatten", [split.outputs[0]], like, f"{angles.name}_table", attributes={"axis": -1})


def _positions(editor: Editor, angles: ir.Value, table: ir.Value, source: ir.Value, like: ir.Node) -> ir.Value:
    """The row of the table for each token, [batch, sequence]; where angles have one row of a batch, all share it."""

    def node(op_type: str, inputs: Sequence[ir.Value | None], what: str, **attributes: int) -> ir.Value:
        return _node(editor, op_type, inputs, like, f"{angles.name}_{what}", attributes=attributes)

    zero, one = _integers(editor, 0), _integers(editor, 1)
    rows = node("Squeeze", [node("Shape", [table], "size", start=0, end=1)], "rows")
    batch = node("Shape", [angles], "batch", start=0, end=1)
    length = node("Shape", [angles], "length", start=2, end=3)
    grid = node("Reshape", [node("Range", [zero, rows, one], "range"), node("Concat", [batch, length], "grid", axis=0)],
                "positions")  # fmt: skip
    every = node("Shape", [source], "every", start=0, end=1)
    return node("Expand", [grid, node("Concat", [every, _integers(editor, [1])], "whole", axis=0)], "position_ids")


def _node(
    editor: Editor, op_type: str, inputs: Sequence[ir.Value | None], like: ir.Node, output: str, **more: Any
) -> ir.Value:
    return editor.new_node(op_type, inputs, like, outputs=[output], **more).outputs[0]


def _integers(editor: Editor, numbers: int | list[int]) -> ir.Value:
    return editor.add_initializer("rotary_constant", ir.tensor(np.array(numbers, dtype=np.int64)))
