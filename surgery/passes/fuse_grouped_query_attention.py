"""Causal attention over a cache → com.microsoft GroupQueryAttention, which appends to it in place."""

from __future__ import annotations

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
from onnxfix.surgery.passes.fuse_attention import (
    DOMAIN,
    joined,
    keep_shapes,
    last_node,
    placed_result,
)
from onnxfix.surgery.sites.attention import cached_attention
from onnxfix.surgery.sites.attention.cached_attention import CachedAttention
from onnxfix.surgery.sites.attention.caches import AXIS
from onnxfix.surgery.sites.attention.refusal import Refusal, by_reason
from onnxfix.surgery.written.scores_added import LOWEST, sum_of_terms
from onnxfix.surgery.written.scores_added import Made as Shared

EIGHT = 8
"""What the size of a head must be a multiple of (group_query_attention_helper.h of ONNX Runtime 1.31)."""


@dataclass(frozen=True)
class Made:
    """What attentions of the same lengths share: the length of each row, the longest, and what hides padding."""

    lengths: dict[object, tuple[ir.Value, ir.Value]] = field(default_factory=dict)
    biases: dict[object, ir.Value] = field(default_factory=dict)


@dataclass(frozen=True)
class FuseGroupedQueryAttention:
    """Compute causal attention over a cache in one operator, which takes `past` and makes `present`.

    Written out, the cache is copied to append to it, copied again for each head of queries that shares a head of keys,
    and turned: a step of one token behind 512 others took 1.1 to 1.3 times as long. `GroupQueryAttention` reads keys
    and values where they are. Inputs and outputs of the model keep their names and shapes, and a cache keeps its
    layout: every row counts as whole, and keys that the mask of the model hides get a bias, wherever they stand, so
    that padding at the left is as right as any. Rotations stay in front, by the positions that the model is given. A
    window of keys is the operator's `local_window_size`; where more is added to scores, as by distance, or a window is
    wider than masks are tried, all of it is the bias.

    Left as written: masks that show what is ahead; heads whose size is no multiple of 8; values of another size than
    keys; scores that are capped. Behind a cache the operator takes one row of several
    tokens, or one token of several rows, and ends any other run in an error. Tokens that are padding themselves get
    another result, which nothing reads.

    Measure: attentions over a cache that are written out.
    """

    name: ClassVar[str] = "fuse-grouped-query-attention"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        if editor.model.opset < SHAPE_OF_AN_AXIS:
            return
        found, refusals = _found(editor.model)
        order = {node: index for index, node in enumerate(editor.model.graph.all_nodes())}
        made = Made()
        for site in sorted(found, key=lambda site: order[last_node(site.core)]):
            _fuse(editor, site, made)
        if found:
            every = plural(len(found) + len(refusals), "attention")
            editor.notes.append(
                f"{len(found)} of {every} over a cache in one operator each, which takes one row of several tokens "
                "behind a cache, or one token of several rows"
            )
        for reason, nodes in by_reason(refusals).items():
            editor.notes.append(f"{plural(len(nodes), 'attention')} over a cache as written, where {nodes[0]} {reason}")

    def measure(self, model: Model) -> float:
        return float(len(_found(model)[0]))


def _found(model: Model) -> tuple[list[CachedAttention], list[Refusal]]:
    """Those in fp32 whose heads the operator takes."""
    found: list[CachedAttention] = []
    refusals: list[Refusal] = []
    every = list(cached_attention.sites(model))
    types = infer(model.ir) if every else None
    for site in every:
        if isinstance(site, Refusal):
            refusals.append(site)
            continue
        core = site.core
        floats = (core.query.value, core.key.value, core.value.value)
        if core.query.size % EIGHT:
            why = f"has heads of {core.query.size}, which is no multiple of {EIGHT}"
            refusals.append(Refusal(core.softmax, core.softmax, why))
        elif types is None or not all(types.is_float32(value) for value in floats):
            refusals.append(Refusal(core.softmax, core.softmax, "is of an attention that is not in fp32"))
        else:
            found.append(site)
    return found, refusals


def _fuse(editor: Editor, site: CachedAttention, made: Made) -> None:
    core, last = site.core, last_node(site.core)
    keep_shapes(editor, core, Shared(), lambda write: _whole(write, site, core.query.value))
    write = Writer(editor, core.result.value.name or "attention", last)
    query, key, value = (
        joined(write, operand, operand.value, what)
        for operand, what in ((core.query, "query"), (site.keys.new, "key"), (site.values.new, "value"))
    )
    if site.sizes not in made.lengths:
        made.lengths[site.sizes] = _lengths(write, site, query)
    inputs: list[ir.Value | None] = [query, key, value, site.keys.past, site.values.past, *made.lengths[site.sizes]]
    if site.padding is not None or site.as_added:
        shared = (core.terms,) if site.as_added else (site.padding, site.inverted, site.sizes)
        if shared not in made.biases:
            made.biases[shared] = _bias(write, site, query)
        inputs += [*[None] * 3, made.biases[shared]]
    numbers: dict[str, int | float] = {
        "num_heads": core.heads, "kv_num_heads": core.key.heads, "scale": core.scale
    }  # fmt: skip
    if site.window:
        numbers["local_window_size"] = site.window
    outputs = [f"{write.name}_{what}" for what in ("attention", "keys", "values")]
    node = editor.new_node("GroupQueryAttention", inputs, last, outputs=outputs, attributes=numbers, domain=DOMAIN)
    editor.import_domain(DOMAIN, 1)
    attention, *caches = node.outputs
    editor.replace_uses(core.result.value, placed_result(write, core, attention))
    for node_inside in (last, *(shape.node for shape in core.shapes)):
        editor.remove_dead(node_inside)
    for cache, now in zip((site.keys, site.values), caches, strict=True):
        if cache.present.is_graph_output():
            editor.reroute_output(cache.present, now)
        editor.remove_dead(cache.present.producer())  # not where something else reads it, maybe before all this


def _lengths(write: Writer, site: CachedAttention, query: ir.Value) -> tuple[ir.Value, ir.Value]:
    """[batch] int32, less one as the operator has it, and the longest, int32: all that are in the cache, and new."""
    whole = write("Cast", [_whole(write, site, query)], "whole_int", attributes={"to": ir.DataType.INT32})
    longest = write("Squeeze", [whole], "longest")
    rows = write("Shape", [query], "rows", attributes={"start": 0, "end": 1})
    less = write("Sub", [whole, write.array("one_int", np.array([1], np.int32))], "whole_less")
    return write("Expand", [less, rows], "lengths"), longest


def _whole(write: Writer, site: CachedAttention, query: ir.Value) -> ir.Value:
    axis = 1 if query is not site.core.query.value or site.core.query.perm is None else site.core.query.perm[1]
    past = write("Shape", [site.keys.past], "past", attributes={"start": AXIS, "end": AXIS + 1})
    new = write("Shape", [query], "new", attributes={"start": axis, "end": axis + 1})
    return write("Add", [past, new], "whole")


def _bias(write: Writer, site: CachedAttention, query: ir.Value) -> ir.Value:
    """[batch, 1, new, past and new]: 0 for keys that are there, the lowest number for padding; repeated for each query,
    as the operator has it. Or all that was added to scores."""
    padding = site.padding
    if padding is None:
        return sum_of_terms(write, site.core.terms, Shared())
    one = write.integers("one", [1])
    shown = write("Cast", [padding], "shown", attributes={"to": ir.DataType.BOOL})
    chosen = [write.array("lowest", LOWEST), write.array("nothing", np.float32(0))]
    row = write("Where", [shown, *(chosen if site.inverted else chosen[::-1])], "padding")
    apart = write("Unsqueeze", [row, write.integers("apart", [1, 2])], "padding_apart")
    new = write("Shape", [query], "queries", attributes={"start": 1, "end": 2})
    shape = write("Concat", [one, one, new, one], "bias_shape", attributes={"axis": 0})
    return write("Expand", [apart, shape], "bias")
