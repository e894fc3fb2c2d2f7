"""Rotary caches of one row → of as many rows as the batch, as ai.onnx's RotaryEmbedding wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.sites.attention.operators.rotary_caches import CACHES, of_one_row


@dataclass(frozen=True)
class SpreadRotaryCaches:
    """Repeat cosines and sines of one row for each row of the batch.

    torch's exporter writes rotations as one operator from operator set 23 on and gives it caches [1, sequence, size/2],
    where the operator is defined with [batch, sequence, size/2]: ONNX Runtime 1.31.1 runs a batch of one and refuses
    any other. Each cache is repeated once, for all rotations that read it; no number changes.

    Measure: rotations by caches of one row in a batch of any.
    """

    name: ClassVar[str] = "spread-rotary-caches"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("K010",)

    def apply(self, editor: Editor) -> None:
        spread: dict[ir.Value, ir.Value] = {}
        for node in of_one_row(editor.model):
            for index in CACHES:
                cache = node.inputs[index]
                assert cache is not None
                if cache not in spread:
                    spread[cache] = _of_all_rows(Writer(editor, cache.name or "cache", node), node.inputs[0], cache)
                editor.replace_input(node, index, spread[cache])

    def measure(self, model: Model) -> float:
        return float(len(of_one_row(model)))


def _of_all_rows(write: Writer, x: ir.Value | None, cache: ir.Value) -> ir.Value:
    rows = write("Shape", [x], "rows", attributes={"start": 0, "end": 1})
    others = write("Shape", [cache], "of_a_row", attributes={"start": 1})
    return write("Expand", [cache, write("Concat", [rows, others], "of_rows", attributes={"axis": 0})], "of_all_rows")
