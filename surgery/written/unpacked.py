"""Where tokens that come one behind the other lie in their batch: the nodes that say it, of where rows end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxfix.surgery.editor import Writer


@dataclass(frozen=True)
class Batch:
    """`taken`: int64 [tokens], the place of each in a batch that is one row; `back`: int64 [rows, length], the place
    of each of the batch in the stream, of padding that of the last token; `real`: bool [rows, length]."""

    taken: ir.Value
    back: ir.Value
    real: ir.Value


def write_batch(write: Writer, tokens: ir.Value, ends: ir.Value, places: ir.Value) -> Batch:
    """From `tokens`, which are [tokens, …], and the two inputs that say where they are. Sizes stay on the host of a
    GPU, and numbers on the device."""

    def integers(numbers: Any) -> ir.Value:
        return write.integers("packing_constant", numbers)

    def wide(value: ir.Value, what: str) -> ir.Value:
        return write("Cast", [value], what, attributes={"to": ir.DataType.INT64})

    count = write("Shape", [tokens], "count", attributes={"start": 0, "end": 1})
    in_a_row = write("Reshape", [wide(places, "offsets"), integers([-1])], "offsets_in_a_row")
    taken = write("Slice", [in_a_row, integers([0]), count], "places")
    known, end = wide(ends, "ends"), integers([2**31 - 1])
    rows = write("Shape", [places], "rows", attributes={"start": 0, "end": 1})
    of_all = write("Slice", [known, integers([0]), integers([-1])], "of_all")
    starts = write("Reshape", [of_all, rows], "starts")  # for who walks sizes: there are as many as rows
    lengths = write("Sub", [write("Slice", [known, integers([1]), end], "own_ends"), starts], "lengths")
    longest = write("Squeeze", [write("Shape", [places], "length", attributes={"start": 1, "end": 2})], "longest")
    position = write("Range", [integers(0), longest, integers(1)], "positions")
    real = write("Less", [position, write("Unsqueeze", [lengths, integers([1])], "lengths_of_rows")], "token_is_real")
    inside = write("Add", [write("Unsqueeze", [starts, integers([1])], "from"), position], "places_in_stream")
    last = write("Sub", [write("Slice", [known, integers([-1]), end], "all"), integers([1])], "last")
    return Batch(taken, write("Min", [inside, last], "places_back"), real)
