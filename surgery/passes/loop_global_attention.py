"""Attention of packed tokens over whole rows → a loop over the rows, each without its padding and without a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import integer
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.opset import SHAPE_OF_AN_AXIS
from onnxfix.surgery.sites.tokens.packed import attention as packed_attention
from onnxfix.surgery.sites.tokens.packed.attention import PackedAttention
from onnxfix.surgery.written.loops import Operator, Rows, write_loop, write_rows

DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class LoopGlobalAttention:
    """Compute attention that sees all tokens of a row on one row of the batch after the other, for a CPU.

    Scores of padding are computed to be hidden: at 40 % real tokens 84 % of them. And a mask is a tensor as large as
    the scores, which the fastest kernel of ONNX Runtime's CPU provider does not take. A row alone has no padding and
    needs no mask: 1.5 times as many operations a second at 2,048 tokens, and no scores in memory. A loop runs on the
    host, so that this is for a CPU.

    Measure: attentions of packed tokens that compute scores of padding.
    """

    name: ClassVar[str] = "loop-global-attention"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        if editor.model.opset < SHAPE_OF_AN_AXIS:
            return
        types, made = infer(editor.model.ir), dict[ir.Value, Rows]()
        found = packed_attention.of_whole_rows(editor.model)
        if found:
            editor.notes.append(f"{plural(len(found), 'attention')} computed a row of the batch at a time")
        for site in found:
            kind = types.get(site.query)
            if kind is None:
                continue
            write = Writer(editor, site.node.outputs[0].name or "attention", site.node)
            if site.packing.taken not in made:
                made[site.packing.taken] = write_rows(Writer(editor, "rows", site.node), site.packing)
            result = write_loop(write, site, made[site.packing.taken], kind, _unmasked(site))
            editor.replace_uses(site.result, result)
            editor.import_domain(DOMAIN, 1)
            editor.remove_dead(site.result.producer())

    def measure(self, model: Model) -> float:
        return float(len(packed_attention.of_whole_rows(model)))


def _unmasked(site: PackedAttention) -> Operator:
    """Without what is added: MultiHeadAttention where it can, whose kernel without a mask keeps no scores (1.2 times
    as fast as that of Attention at 2,048 tokens)."""
    node, causal = site.node, int(site.mask.causal)
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    queries = integer(node, "q_num_heads", integer(node, "num_heads", 0))
    keys = integer(node, "kv_num_heads", queries)
    if node.op_type == "Attention" and (queries != keys or given.get("softcap") or not queries):
        return Operator("Attention", "", {**given, "is_causal": causal})
    scale = {"scale": given["scale"]} if "scale" in given else {}
    return Operator("MultiHeadAttention", DOMAIN, {"num_heads": queries, "unidirectional": causal, **scale})
