"""Why something that looks like attention, or like a rotary embedding, is not read as one."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.site import label


@dataclass(frozen=True)
class Refusal:
    """`site`: the Softmax, or the sum of a rotation, it is about; `node`: the first that does not fit; `reason`: in
    words, as the end of a sentence about that node."""

    site: ir.Node
    node: ir.Node
    reason: str


def by_reason(refusals: list[Refusal]) -> dict[str, list[str]]:
    """What nodes are called, by the reason against them, in the order in which reasons come first."""
    found: dict[str, list[str]] = {}
    for refusal in refusals:
        found.setdefault(refusal.reason, []).append(label(refusal.node))
    return found


class UnreadableError(Exception):
    """Ends a reading; caught where it began."""

    def __init__(self, node: ir.Node, reason: str) -> None:
        super().__init__(reason)
        self.node, self.reason = node, reason
