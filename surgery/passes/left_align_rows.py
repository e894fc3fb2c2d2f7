"""Attention of packed tokens over whole rows → rows without gaps, whose lengths hide their padding, and no mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.sites.tokens.packed import attention as packed_attention
from onnxfix.surgery.sites.tokens.packed.attention import PackedAttention
from onnxfix.surgery.written.left_aligned import LeftAligned, write_left_aligned

OLDEST_OPSET = 24  # Attention with lengths of rows


@dataclass(frozen=True)
class LeftAlignRows:
    """Let lengths of rows say what is padding, in `Attention` of operator set 24, for a GPU.

    A mask is a tensor as large as the scores, and the flash kernels of ONNX Runtime's CUDA provider take none; they
    take lengths, which know padding at the right alone and are silently wrong of any other. So tokens are put back
    without gaps, each row from its first one on, and padding at the left and holes are gone. Causal attention needs no
    lengths then: what is padding lies behind all that is real.

    Measure: attentions of packed tokens over whole rows that are given a mask.
    """

    name: ClassVar[str] = "left-align-rows"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        found, made = _found(editor.model), dict[ir.Value, LeftAligned]()
        for site in found:
            if site.packing.taken not in made:
                made[site.packing.taken] = write_left_aligned(Writer(editor, "rows", site.node), site.packing)
            _align(editor, site, made[site.packing.taken])
        if found:
            editor.notes.append(f"{plural(len(found), 'attention')} with lengths of rows in the place of a mask")

    def measure(self, model: Model) -> float:
        return float(len(_found(model)))


def _found(model: Model) -> list[PackedAttention]:
    if model.opset < OLDEST_OPSET:
        return []
    return [site for site in packed_attention.of_whole_rows(model) if is_standard(site.node)]


def _align(editor: Editor, site: PackedAttention, rows: LeftAligned) -> None:
    """The same operator over rows without gaps, and its tokens taken from there."""
    node, write = site.node, Writer(editor, site.node.outputs[0].name or "attention", site.node)
    given: list[ir.Value | None] = []
    for before, value in zip(node.inputs[:3], (site.query, site.key, site.value), strict=True):
        aligned = write("Gather", [value, rows.places], "in_rows")
        editor.declare_like(aligned, before, list(site.packing.mask.shape or (None, None)))
        given.append(aligned)
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    if site.mask.causal:
        attributes["is_causal"] = 1
    else:
        given += [None, None, None, rows.lengths]
    attention = write("Attention", given, "by_length", attributes=attributes)
    gather = site.result.producer()
    assert gather is not None and gather.inputs[0] is not None
    reshape = gather.inputs[0].producer()
    assert reshape is not None
    shaped = {name: attribute.value for name, attribute in reshape.attributes.items()}
    row = write(reshape.op_type, [attention, *reshape.inputs[1:]], "in_a_row", attributes=shaped)
    editor.replace_uses(site.result, write("Gather", [row, rows.taken], "of_tokens"))
    editor.remove_dead(gather)
