"""A mask in words that a kernel has: padding, causal, a band, a bias by position; or why it is none of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from onnxfix.surgery.sites.constants import Array

Positions = Literal["index", "count", "input"]
"""What the distance of a query from a key is counted in: the index on the axis, the tokens that are not padding, or the
numbers of an input. They differ where a mask has holes."""
EmptyRow = Literal["nan", "mean", "scores", "otherwise"]
Shown = Literal["not 0", "above 0", "1"]
"""The numbers of a padding input by which a token is real: any but 0, those above it, or 1 alone."""
PaddedRows = Literal["as others", "nothing", "everything", "otherwise"]


@dataclass(frozen=True)
class Bias:
    """What is added to visible scores and depends on positions alone. `heads`: 1 where all get the same; `relative`:
    it depends on the distance alone, but for a number that a whole row gets and a softmax does not see; `largest`: the
    largest magnitude that was seen."""

    heads: int
    relative: bool
    largest: float


@dataclass(frozen=True)
class Mask:
    """A query at q sees the key at k of its row of the batch exactly where all of these hold.

    `padding`: the input [batch, keys] holds no 0 at k, or, where it is `inverted`, a 0; `shown`
    says what other numbers are. `causal`: k ≤ q. `band`:
    q - k ≤ band[0] and k - q ≤ band[1], None for a side without a limit. Queries are the last of the keys: with a
    cache, the first query stands behind it.

    It is true of queries that are no padding; `padded_rows` says what the others see (None without padding).
    `hidden`: the largest number that stands in the place of, or is added to, a score that is not seen; None where it
    is not known or nothing is hidden. `empty_row`: what the softmax of a row makes that sees nothing: NaN, the mean of
    all values, scores that were said to be hidden, otherwise one of these or the mean of some; None where there is no
    such row, or it is not known. `sources`: the inputs whose numbers it is made of; `scores`: the activations that it
    is laid over, which for attention is one product. `longest`: the largest number of keys for which this was tried;
    `untried`: a number beyond it that the mask is computed with, so that distances from there on may be limited, or
    the first distance beyond it, where places are divided or the like before they are compared.
    """

    padding: ir.Value | None = None
    inverted: bool = False
    shown: Shown = "not 0"
    causal: bool = False
    band: tuple[int | None, int | None] | None = None
    bias: Bias | None = None
    positions: Positions = "index"
    hidden: float | None = None
    empty_row: EmptyRow | None = None
    padded_rows: PaddedRows | None = None
    sources: tuple[ir.Value, ...] = ()
    scores: tuple[ir.Value, ...] = ()
    longest: int = 0
    untried: int | None = None

    @property
    def window(self) -> tuple[int, int] | None:
        """How many tokens before and behind itself a query sees at most, where that is said by their places and rows
        alone, at any length; None where a side has no limit."""
        before, after = self.band or (None, None)
        if before is None or after is None or self.bias is not None or self.positions == "input" or self.untried:
            return None
        return before, after

    @property
    def is_empty(self) -> bool:
        """Whether every query sees every key, with nothing added."""
        return self.padding is None and not self.causal and self.band is None and self.bias is None

    def __str__(self) -> str:
        ones = " (1 is padding)" if self.inverted else ""
        parts = [f"padding of {self.padding.name}{ones}"] if self.padding is not None else []
        parts += ["causal"] if self.causal else []
        if self.band is not None:
            parts.append("band of " + " and ".join("any" if side is None else str(side) for side in self.band))
        if self.bias is not None:
            by = "distance" if self.bias.relative else "positions"
            parts.append(f"bias by {by}" + (" and head" if self.bias.heads > 1 else ""))
        return (", ".join(parts) or "none") + (f", by {self.positions}" if self.positions != "index" else "")


@dataclass(frozen=True)
class Refusal:
    """Why a mask has no such meaning, and the node where that is seen."""

    node: ir.Node | None
    reason: str

    def __str__(self) -> str:
        return self.reason


class RefusedError(Exception):
    """Carries a refusal out of the analysis."""

    def __init__(self, node: ir.Node | None, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(node, reason)


class NotComputedError(RefusedError):
    """The runtime does not compute it, perhaps at one length alone."""


def is_shown(numbers: Array, way: Shown) -> Array:
    """Of numbers of a padding input: which say that a token is real."""
    made: Array = {"not 0": numbers != 0, "above 0": numbers > 0, "1": numbers == 1}[way]
    return made
