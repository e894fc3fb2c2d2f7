"""ai.onnx's Attention → the products and the Softmax that it stands for, which other passes read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.sites.attention.operators import standard_attention
from onnxfix.surgery.sites.attention.operators.standard_attention import BIAS, BOOLEAN, NO_MASK, StandardAttention

SWAP, TURN = (0, 2, 1, 3), (0, 1, 3, 2)
# The kernel for a CPU takes what is added for a mask from here down (ONNX Runtime 1.31.1): a row of nothing else is 0.
LOWEST = np.finfo(np.float32).min


@dataclass(frozen=True)
class WriteOutAttention:
    """Compute softmax(query · keyᵀ · scale + mask) · value in products and a Softmax.

    torch's exporter writes attention as one operator from operator set 23 on. What sees a mask, packs tokens, cuts
    attention into bands or loops over rows reads it written out, as all exports below 23 have it, and puts it
    together again: without this a ModernBERT of operator set 23 has 5 of 21 products on the stream of real tokens.

    In fp32, without a cache, a cap on scores or a second output, and with a mask in self-attention alone; all others
    stay.

    Measure: attentions in one operator that can be written out.
    """

    name: ClassVar[str] = "write-out-attention"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        found = list(standard_attention.find(editor.model))
        masks: dict[ir.Value, ir.Value] = {}
        for site in found:
            _write_out(editor, site, masks)
        if found:
            editor.notes.append(f"{plural(len(found), 'attention')} written out, to be read")

    def measure(self, model: Model) -> float:
        return float(sum(1 for _ in standard_attention.find(model)))


def _write_out(editor: Editor, site: StandardAttention, masks: dict[ir.Value, ir.Value]) -> None:
    node, result = site.node, site.node.outputs[0]
    write = Writer(editor, result.name or "attention", node)
    query, key, value = _operands(write, site)
    turned = write("Transpose", [key], "turned", attributes={"perm": TURN})
    scores = write("MatMul", [query, turned], "scores")
    scores = write("Mul", [scores, write.array("scale", np.float32(site.scale))], "scaled")
    hidden = write.array("hidden", np.float32(-np.inf))
    if site.mask != NO_MASK:
        scores = _masked(write, scores, site, hidden, masks)
    if site.causal:
        scores = write("Where", [_before(write, query, key), scores, hidden], "causal")
    weights = write("Softmax", [scores], "weights", attributes={"axis": -1})
    if site.mask != NO_MASK:
        none = write("IsNaN", [weights], "sees_nothing")
        weights = write("Where", [none, write.array("zero", np.float32(0)), weights], "guarded")
    made = write("MatMul", [weights, value], "sum")
    if site.flat:
        back = write("Transpose", [made], "back", attributes={"perm": SWAP})
        width = write.integers("joined_heads", [0, 0, site.heads * site.value_size])
        made = write("Reshape", [back, width], "joined")
    editor.replace_uses(result, made)
    editor.remove_dead(node)


def _masked(
    write: Writer, scores: ir.Value, site: StandardAttention, hidden: ir.Value, masks: dict[ir.Value, ir.Value]
) -> ir.Value:
    mask = site.node.inputs[BIAS]
    assert mask is not None
    if site.mask == BOOLEAN:
        return write("Where", [mask, scores, hidden], "seen")
    if mask not in masks:
        shared = Writer(write.editor, mask.name or "mask", write.like)
        seen = shared("Greater", [mask, shared.array("lowest", np.float32(LOWEST))], "seen")
        masks[mask] = shared("Where", [seen, mask, hidden], "of_all")
    return write("Add", [scores, masks[mask]], "masked")


def _operands(write: Writer, site: StandardAttention) -> list[ir.Value]:
    """Queries, keys and values as [batch, heads, positions, size], keys and values of as many heads as queries."""
    heads = (site.heads, site.key_heads, site.key_heads)
    sizes = (site.size, site.size, site.value_size)
    made = []
    for given, count, size, what in zip(site.node.inputs[:BIAS], heads, sizes, ("query", "key", "value"), strict=True):
        assert given is not None
        value = given
        if site.flat:
            apart = write("Reshape", [value, write.integers("heads", [0, 0, count, size])], f"{what}_heads")
            value = write("Transpose", [apart], what, attributes={"perm": SWAP})
        made.append(value if count == site.heads else _repeated(write, value, site.heads, count, size, what))
    return made


def _repeated(write: Writer, value: ir.Value, heads: int, of: int, size: int, what: str) -> ir.Value:
    """Each head several times in a row, for the queries that share it."""
    apart = write("Unsqueeze", [value, write.integers("axis", [2])], f"{what}_apart")
    times = write.integers("repeats", [1, 1, heads // of, 1, 1])
    every = write("Expand", [apart, times], f"{what}_repeated")
    length = write("Shape", [value], f"{what}_length", attributes={"start": 2, "end": 3})
    front, back = write.integers("front", [0, heads]), write.integers("back", [size])
    shape = write("Concat", [front, length, back], f"{what}_shape", attributes={"axis": 0})
    return write("Reshape", [every, shape], f"{what}_every")


def _before(write: Writer, query: ir.Value, key: ir.Value) -> ir.Value:
    """[queries, keys]: whether the key stands no later than the query, both counted from the first."""
    zero, one = write.integers("zero", 0), write.integers("one", 1)
    places = []
    for value, what in ((query, "query"), (key, "key")):
        length = write("Shape", [value], f"{what}_length", attributes={"start": 2, "end": 3})
        places.append(write("Range", [zero, write("Squeeze", [length], f"{what}s"), one], f"{what}_places"))
    rows = write("Unsqueeze", [places[0], write.integers("axis", [1])], "rows")
    return write("GreaterOrEqual", [rows, places[1]], "causal")
