"""Rows of packed tokens that begin at the left and have no gaps, so that a length says what of them is real.

Who may see whom is a matter of rows alone where attention has no band and no bias; the order of tokens stays, and with
it what is causal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxfix.surgery.editor import Writer
from onnxfix.surgery.sites.tokens.packed.packing import Packing


@dataclass(frozen=True)
class LeftAligned:
    """`places`: [batch, length], where in the stream each token of a row without gaps lies; `taken`: [count], the place
    of each token of the stream in such a batch that is one row; `lengths`: [batch] int64, of rows, 1 for one without a
    token, which kernels do not take. All of it stays on the device."""

    places: ir.Value
    taken: ir.Value
    lengths: ir.Value


def write_left_aligned(write: Writer, packing: Packing) -> LeftAligned:
    """Nodes that say where tokens go, for all attentions of a packed stream."""

    def integers(numbers: Any) -> ir.Value:
        return write.integers("packing_constant", numbers)

    def counted(value: ir.Value, axis: int, what: str) -> ir.Value:
        return write("CumSum", [value, integers(axis)], what)

    tokens = packing.tokens
    lengths = write("ReduceSum", [tokens, integers([1])], "lengths", attributes={"keepdims": 0})
    starts = write("Sub", [counted(lengths, 0, "ends"), lengths], "starts")
    nothing = write("Mul", [tokens, integers(0)], "no_tokens")
    every = write("Add", [nothing, integers(1)], "every_token")
    position = write("Sub", [counted(every, 1, "places_counted"), integers(1)], "positions")
    inside = write("Add", [write("Unsqueeze", [starts, integers([1])], "from"), position], "places_in_stream")
    behind = write("Sub", [write("ReduceSum", [tokens], "all_tokens", attributes={"keepdims": 0}), integers(1)], "last")
    places = write("Min", [inside, write("Max", [behind, integers(0)], "last_or_first")], "places")
    # token n of its row, wherever padding stands before it
    rank = write(
        "Max", [write("Sub", [counted(tokens, 1, "tokens_counted"), integers(1)], "ranks"), integers(0)], "rank"
    )
    moved = write("Reshape", [write("Sub", [rank, position], "moves"), integers([-1])], "moves_in_a_row")
    taken = write("Add", [packing.taken, write("Gather", [moved, packing.taken], "moves_taken")], "places_taken")
    return LeftAligned(places, taken, write("Max", [lengths, integers(1)], "lengths_or_one"))
