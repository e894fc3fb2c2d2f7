"""ai.onnx's RotaryEmbedding → the products that it stands for, which other passes read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.sites.attention.operators import standard_rotations
from onnxfix.surgery.sites.attention.operators.standard_rotations import StandardRotation

SWAP = (0, 2, 1, 3)
HEADS_AXIS = 1


@dataclass(frozen=True)
class WriteOutRotaryEmbedding:
    """Compute x · cos + rotate_half(x) · sin in products and sums.

    torch's exporter writes rotations as one operator from operator set 23 on, over heads that are turned already and
    tables of cosines for each row. Written out, `fuse-rotary-embedding` reads them, and puts them where heads are not
    turned yet, over one table for all rows.

    In fp32; what is partial, of neighbours in pairs or looked up by positions as well.

    Measure: rotations in one operator that can be written out.
    """

    name: ClassVar[str] = "write-out-rotary-embedding"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        found = list(standard_rotations.find(editor.model))
        tables: dict[tuple[ir.Value | None, ir.Value | None], ir.Value] = {}
        for site in found:
            _write_out(editor, site, tables)
        if found:
            editor.notes.append(f"{plural(len(found), 'rotation')} written out, to be read")

    def measure(self, model: Model) -> float:
        return float(sum(1 for _ in standard_rotations.find(model)))


def _write_out(
    editor: Editor, site: StandardRotation, tables: dict[tuple[ir.Value | None, ir.Value | None], ir.Value]
) -> None:
    node, result = site.node, site.node.outputs[0]
    write = Writer(editor, result.name or "rotary", node)
    value = node.inputs[0]  # which another rotation may have made, that is written out by now
    assert value is not None
    if site.flat:
        apart = write("Reshape", [value, write.integers("heads", [0, 0, site.heads, site.size])], "heads")
        value = write("Transpose", [apart], "turned", attributes={"perm": SWAP})
    for cache in (site.cos, site.sin):
        if (cache, site.positions) not in tables:
            tables[cache, site.positions] = _table(Writer(editor, cache.name or "table", node), site, cache)
    cos, sin = (tables[cache, site.positions] for cache in (site.cos, site.sin))
    made = _turned(write, site, value, cos, sin)
    if site.flat:
        back = write("Transpose", [made], "back", attributes={"perm": SWAP})
        made = write("Reshape", [back, write.integers("joined", [0, 0, site.heads * site.size])], "joined")
    editor.replace_uses(result, made)
    editor.remove_dead(node)


def _table(write: Writer, site: StandardRotation, cache: ir.Value) -> ir.Value:
    """[batch or 1, 1, positions, width / 2], the same for all heads."""
    rows = cache if site.positions is None else write("Gather", [cache, site.positions], "rows")
    return write("Unsqueeze", [rows, write.integers("axis", [HEADS_AXIS])], "of_heads")


def _turned(write: Writer, site: StandardRotation, value: ir.Value, cos: ir.Value, sin: ir.Value) -> ir.Value:
    half, width = site.width // 2, site.width
    if site.interleaved:
        left, right = (_slice(write, value, (start, width, 2), what) for start, what in ((0, "even"), (1, "odd")))
    else:
        left, right = (_slice(write, value, (s, s + half, 1), w) for s, w in ((0, "left"), (half, "right")))
    real = write("Sub", [write("Mul", [left, cos], "lc"), write("Mul", [right, sin], "rs")], "real")
    other = write("Add", [write("Mul", [left, sin], "ls"), write("Mul", [right, cos], "rc")], "imaginary")
    parts = [real, other]
    if site.interleaved:
        last = write.integers("last", [-1])
        pairs = [
            write("Unsqueeze", [part, last], f"{what}_apart") for part, what in zip(parts, ("r", "i"), strict=True)
        ]
        both = write("Concat", pairs, "pairs", attributes={"axis": -1})
        parts = [write("Reshape", [both, write.integers("whole", [0, site.heads, -1, width])], "neighbours")]
    if width < site.size:
        parts.append(_slice(write, value, (width, site.size, 1), "rest"))
    return parts[0] if len(parts) == 1 else write("Concat", parts, "rotated", attributes={"axis": -1})


def _slice(write: Writer, value: ir.Value, bounds: tuple[int, int, int], what: str) -> ir.Value:
    start, end, step = bounds
    numbers = [write.integers("rotary_constant", [n]) for n in (start, end, -1, step)]
    return write("Slice", [value, *numbers], what)
