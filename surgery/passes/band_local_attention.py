"""Local attention of packed tokens → blocks of queries beside the keys that their band can reach."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.opset import SHAPE_OF_AN_AXIS
from onnxfix.surgery.sites.attention import attention_cores
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore
from onnxfix.surgery.sites.attention.masks.softmax_masks import SoftmaxMasks
from onnxfix.surgery.sites.tokens import bands
from onnxfix.surgery.sites.tokens.packed import attention as packed_attention
from onnxfix.surgery.sites.tokens.packed.attention import PackedAttention
from onnxfix.surgery.sites.tokens.padding import ADDED
from onnxfix.surgery.written.blocks import Band, Blocks, write_blocks
from onnxfix.surgery.written.numbers import lowest

WORTHWHILE = 1.8
"""A key costs as much more in a block than in a row: queries of a band of 128 and blocks of 192 keys cost as much as
those of rows of 350 (ONNX Runtime 1.31.1, one core)."""

UNSAID = 2048
"""Tokens of the longest row, where nobody says so and rows are no choice: 8 rows of 128 under a window of 4,096 cost
eight times as much in blocks (ONNX Runtime 1.31.1, one core)."""


@dataclass(frozen=True)
class BandLocalAttention:
    """Compute attention that sees a band of positions on blocks of the stream, and not on whole rows.

    A ModernBERT sees 64 tokens to either side in two layers of three, and computes scores of all pairs of tokens for
    it: in a row of 8,192 tokens 98 % are hidden then. Here 64 queries stand beside the 192 keys that they can reach,
    so that cost grows with the number of tokens alone. Who sees whom is told by positions and rows, not by places in
    the stream: with padding between tokens the two differ. A row whose keys are NaN or infinite makes NaN of tokens of
    other rows that share a block with it.

    `max_seq`: the longest row that the model will get, 0 where it is not known: blocks of more than 1,137 keys are left
    in rows then. Below 350 tokens rows cost less than blocks of such a band, and stay. `either`: each batch is computed
    in rows where these cost less, as those of short texts, and in blocks where those do, however wide the band.

    Measure: attentions of packed tokens that compute scores of whole rows for a band of them.
    """

    max_seq: int = 0
    either: bool = False

    name: ClassVar[str] = "band-local-attention"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        if editor.model.opset < SHAPE_OF_AN_AXIS:
            return
        types = infer(editor.model.ir)
        done: Counter[Band] = Counter()
        made: dict[tuple[Band, str | None, ir.Value], Blocks] = {}
        for site, band in self._found(editor.model):
            kind = types.get(site.query)
            hidden = lowest(kind)
            if hidden is None:
                continue
            shared = band, kind, site.packing.taken
            if shared not in made:
                name = f"band_{band.before}_{band.after}"
                write = Writer(editor, name, site.node)
                made[shared] = write_blocks(write, site.packing, band, hidden, self.either)
            _compute_in(editor, site, made[shared])
            done[band] += 1
        for band, count in done.items():
            blocks = f"blocks of {band.queries} queries and {band.keys} keys"
            rows = ", or in rows where they cost less" if self.either else ""
            editor.notes.append(f"{plural(count, 'attention')} of a band in {blocks}{rows}")

    def measure(self, model: Model) -> float:
        return float(len(self._found(model)))

    def is_for(self, model: Model) -> bool:
        """Whether an attention of a model, packed or not yet, sees a band that blocks are worth."""
        return bool(self._bands(model))

    def in_rows_only(self, model: Model, length: int) -> bool:
        """Whether a batch of one row of so many tokens gets no blocks for a band that such a model sees."""
        return self.either and not all(band.in_rows_of(length) for band in self._bands(model))

    def _bands(self, model: Model) -> list[Band]:
        written = {site.softmax for site in attention_cores.sites(model) if isinstance(site, AttentionCore)}
        found = [
            Band(*window, mask.positions) for _, mask, window in bands.find(model.graph, written, SoftmaxMasks(model))
        ]
        return [band for band in found if self._is_worthwhile(band)]

    def _found(self, model: Model) -> list[tuple[PackedAttention, Band]]:
        found = [(site, band_of(site)) for site in packed_attention.sites(model)]
        return [(site, band) for site, band in found if band is not None and self._is_worthwhile(band)]

    def _is_worthwhile(self, band: Band) -> bool:
        longest = self.max_seq or (math.inf if self.either else UNSAID)
        return longest > WORTHWHILE * band.keys


def band_of(site: PackedAttention) -> Band | None:
    """None where a query sees tokens at any distance, or by more than their positions in the row."""
    window = site.mask.window
    return Band(*window, site.mask.positions) if window is not None else None


def _compute_in(editor: Editor, site: PackedAttention, blocks: Blocks) -> None:
    """The same operator over blocks, and the tokens of all blocks one behind the other."""
    node, write = site.node, Writer(editor, site.node.outputs[0].name or "attention", site.node)
    bias = ADDED[node.op_type]
    old = [node.inputs[index] for index in (0, 1, 2, bias)]
    places = (blocks.query_places, blocks.key_places, blocks.key_places)
    for index, (value, where) in enumerate(zip((site.query, site.key, site.value), places, strict=True)):
        before, made = node.inputs[index], write("Gather", [value, where], "in_blocks")
        length = blocks.keys if index else blocks.queries
        editor.declare_like(made, before, [None, length])
        editor.replace_input(node, index, made)
    editor.replace_input(node, bias, blocks.bias)
    behind = site.result.producer()
    assert behind is not None
    write = Writer(editor, site.node.outputs[0].name or "attention", behind)
    editor.replace_uses(site.result, write("Gather", [behind.inputs[0], blocks.back], "of_tokens"))
    for producer in [value.producer() for value in (site.result, *old) if value is not None]:
        editor.remove_dead(producer)
