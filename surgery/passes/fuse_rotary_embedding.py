"""Written-out rotary products → com.microsoft RotaryEmbedding, in the layout that linear layers write."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.opset import SHAPE_OF_AN_AXIS
from onnxfix.surgery.passes.fuse_attention import joined
from onnxfix.surgery.sites.attention import rotary_products
from onnxfix.surgery.sites.attention.refusal import Refusal, by_reason
from onnxfix.surgery.sites.attention.rotary_products import RotaryProduct
from onnxfix.surgery.sites.attention.written_out.rotations import Rotation

DOMAIN = "com.microsoft"
NUMBERED_SPLIT = 18


@dataclass(frozen=True)
class Made:
    """What products of one graph share: tables of cosines and sines, and the rows that tokens read in them."""

    tables: dict[tuple[ir.Graph | None, ir.Value, bool, bool, bool], ir.Value] = field(default_factory=dict)
    positions: dict[tuple[ir.Value, int], ir.Value] = field(default_factory=dict)
    instead: dict[ir.Value, ir.Value] = field(default_factory=dict)
    """What is turned already, in the place of what was read."""


@dataclass(frozen=True)
class FuseRotaryEmbedding:
    """Compute x · cos + rotate_half(x) · sin in one operator, `RotaryEmbedding`, before the heads are transposed.

    Written out it is two Slices, a Neg, a Concat, two Muls and an Add over all queries and keys: 11 % of the time of a
    ModernBERT-base with int8 linears on a CPU. Halves or neighbours in pairs, all features of a head or the first of
    them, and however it is written: what is computed is tried on numbers, and has to agree in every element.

    Measure: rotary products that are written out.
    """

    name: ClassVar[str] = "fuse-rotary-embedding"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ("F003",)

    def apply(self, editor: Editor) -> None:
        if editor.model.opset < SHAPE_OF_AN_AXIS:
            return
        products, refusals = _found(editor.model)
        order = {node: index for index, node in enumerate(editor.model.graph.all_nodes())}
        made = Made()
        for site in sorted(products, key=lambda site: order[_last(site)]):
            _fuse(editor, site, made)
        if products:
            every = plural(len(products) + len(refusals), "rotation")
            editor.notes.append(f"{len(products)} of {every} in one operator each")
        for reason, nodes in by_reason(refusals).items():
            editor.notes.append(f"{plural(len(nodes), 'rotation')} as written, where {nodes[0]} {reason}")

    def measure(self, model: Model) -> float:
        return float(len(_found(model)[0]))


def _found(model: Model) -> tuple[list[RotaryProduct], list[Refusal]]:
    """Those in fp32."""
    sites = list(rotary_products.sites(model))
    products = rotary_products.in_fp32(sites, infer(model.ir)) if sites else []
    return products, [site for site in sites if isinstance(site, Refusal)]


def _last(site: RotaryProduct) -> ir.Node:
    node = site.output.producer()
    assert node is not None
    return node


def _fuse(editor: Editor, site: RotaryProduct, made: Made) -> None:
    """RotaryEmbedding on [batch, sequence, heads * size], and the axes in their old order behind it."""
    last, turns = _last(site), site.rotation
    write = Writer(editor, site.output.name or "rotary", last)
    cos, sin = _table(write, turns, made, sine=False), _table(write, turns, made, sine=True)
    source = site.source.operand
    value, size, heads = (
        joined(write, source, made.instead.get(source.value, source.value), "joined"),
        source.size,
        math.prod(site.heads),
    )
    if (cos, site.batch) not in made.positions:
        made.positions[cos, site.batch] = _positions(write, cos, value)
    numbers = {"num_heads": heads, "interleaved": int(turns.interleaved)}
    if turns.width < size:
        numbers["rotary_embedding_dim"] = turns.width
    inputs = [value, made.positions[cos, site.batch], cos, sin]
    value = write("RotaryEmbedding", inputs, "turned", attributes=numbers, domain=DOMAIN)
    editor.import_domain(DOMAIN, 1)
    if site.heads:
        value = write("Reshape", [value, write.integers("heads", [0, 0, *site.heads, size])], "heads")
    back = [site.order.index(axis) for axis in range(len(site.order))]
    if back != list(range(len(back))):
        value = write("Transpose", [value], "transposed", attributes={"perm": back})
    if site.source.factor != 1:
        value = write("Mul", [value, write.array("factor", np.float32(site.source.factor))], "scaled")
    editor.replace_uses(site.output, value)
    made.instead[site.output] = value
    editor.remove_dead(last)


def _table(write: Writer, turns: Rotation, made: Made, *, sine: bool) -> ir.Value:
    """[batch or 1 times sequence, width / 2]: of a table with a column for each feature, one of each pair."""
    angles, negated = (turns.sin, turns.negated) if sine else (turns.cos, False)
    key = write.like.graph, angles, turns.doubled, turns.interleaved, negated
    if key in made.tables:
        return made.tables[key]
    half, name = angles, angles.name
    if turns.doubled and turns.interleaved:
        slices = [write.integers("rotary_constant", [n]) for n in (0, turns.width, -1, 2)]
        half = write("Slice", [angles, *slices], f"{name}_half")
    elif turns.doubled:
        parts = {"num_outputs": 2} if write.editor.model.opset >= NUMBERED_SPLIT else {}
        outputs = [f"{name}_half", f"{name}_again"]
        half = write.editor.new_node(
            "Split", [angles], write.like, attributes={"axis": -1, **parts}, outputs=outputs
        ).outputs[0]  # fmt: skip
    # by its number, not Flatten: OpenVINO takes no RotaryEmbedding whose width it cannot see (2026.4)
    table = write("Reshape", [half, write.integers("table_size", [-1, turns.width // 2])], f"{name}_table")
    made.tables[key] = write("Neg", [table], f"{name}_negative") if negated else table
    return made.tables[key]


def _positions(write: Writer, table: ir.Value, value: ir.Value) -> ir.Value:
    """The row of the table for each token, [batch, sequence]; where angles have one row of a batch, all share it."""
    zero, one = write.integers("rotary_constant", 0), write.integers("rotary_constant", 1)
    rows = write("Squeeze", [write("Shape", [table], "size", attributes={"start": 0, "end": 1})], "rows")
    length = write("Shape", [value], "length", attributes={"start": 1, "end": 2})
    grid = write("Concat", [write.integers("rotary_constant", [-1]), length], "grid", attributes={"axis": 0})
    numbers = write("Reshape", [write("Range", [zero, rows, one], "range"), grid], "positions")
    batch = write("Shape", [value], "every", attributes={"start": 0, "end": 1})
    whole = write("Concat", [batch, write.integers("rotary_constant", [1])], "whole", attributes={"axis": 0})
    return write("Expand", [numbers, whole], "position_ids")
