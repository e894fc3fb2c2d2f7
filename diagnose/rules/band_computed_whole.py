"""F005: local attention that computes all scores, and hides most of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import onnx_ir as ir

from onnxfix.diagnose import attention
from onnxfix.diagnose.remedy import optimize
from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.tokens import bands
from onnxfix.surgery.sites.tokens.packed.packs import packs
from onnxfix.surgery.sites.tokens.padding import ATTENTION


class BandComputedWhole:
    """Attention that sees a band of tokens computes scores of all pairs, and a mask hides those beyond the band.

    A ModernBERT sees 64 tokens to either side in two layers of three: of a text of 8,192 tokens, 98 % of the scores of
    such a layer are computed and hidden, and its cost grows with the square of the length. In blocks of queries beside
    the keys that they can reach it grows with the length. Below 350 tokens (for that band) whole rows cost less. A
    graph that takes real tokens alone was made by somebody who chose between the two, and is not asked.

    Repair: `onnxfix optimize`, with the longest text said, where a mask tells padding and nothing reads what stands
    there: blocks are made of the stream of real tokens.
    """

    code: ClassVar[str] = "F005"
    name: ClassVar[str] = "band-computed-whole"

    def check(self, subject: Subject) -> Iterator[Finding]:
        provider = subject.target.provider
        left = "bands" in provider.faster or provider.flash
        if subject.plan.load_error or not left or packs(subject.model):
            return
        for node, window in _bands(subject):
            padding = subject.once(attention.hidden) if subject.once(attention.products) else None
            packed = padding is not None and node in padding.hidden
            yield self._finding(node, window, optimize(subject) if packed else "")

    def _finding(self, node: ir.Node, window: tuple[int, int], repair: str) -> Finding:
        before, after = window
        return Finding(
            code=self.code,
            name=self.name,
            severity=Severity.NOTE,
            site=Site.of_node(node),
            message=f"a query sees {before:,} tokens before and {after:,} behind it, and scores of all are computed",
            evidence={"before": before, "after": after},
            repair=repair,
            applicability=Applicability.NUMERIC if repair else Applicability.MANUAL,
        )


def _bands(subject: Subject) -> Iterator[tuple[ir.Node, tuple[int, int]]]:
    """Attentions, written out or one operator, whose mask is a band, and how far it reaches to either side."""
    written = {site.softmax for site in subject.once(attention.cores)}
    if not written and not any(node.op_type in ATTENTION for node in subject.nodes):
        return
    for node, _, window in bands.find(subject.nodes, written, subject.once(attention.masks)):
        yield node, window
