"""Blocks of a band: queries in blocks of the stream, and for each block the keys that its band can reach.

Tokens of a row lie in the stream in their order, so that a key that is n positions away is at most n places away, and
what else is near in the stream tells itself by its number. (Block-local attention: Beltagy et al. 2020, section 3.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.editor import Writer
from onnxfix.surgery.sites.attention.masks.mask import Positions
from onnxfix.surgery.sites.tokens.packed.packing import Packing

from .bodies import Body
from .numbers import NOBODY, write_numbers

ALIGNED = 8  # kernels of GPUs take biases whose rows are multiples of it
KEYS_COST = (
    1.1  # of a score in a block by that of one in a row: keys and values are gathered for each block that reads them
)


@dataclass(frozen=True)
class Band:
    """A query sees up to `before` positions back and `after` ahead."""

    before: int
    after: int
    positions: Positions

    @property
    def queries(self) -> int:
        """Of a block: half of the keys that one sees cost least, as blocks share keys and compute some for nothing."""
        reach = (self.before + self.after) // 2
        return min(max(-(-reach // 16) * 16, 32), 256)

    @property
    def keys(self) -> int:
        """Of a block, aligned."""
        return -(-(self.queries + self.before + self.after) // ALIGNED) * ALIGNED

    @property
    def cost(self) -> int:
        """Of a block, in scores of a row."""
        return int(KEYS_COST * self.queries * self.keys)

    def in_rows_of(self, length: int) -> bool:
        """Whether a row of so many tokens costs less in blocks."""
        return length * length > -(-length // self.queries) * self.cost


@dataclass(frozen=True)
class Blocks:
    """`query_places`: [blocks, queries] and `key_places`: [blocks, keys] in the stream; `bias`: [blocks, 1, queries,
    keys], 0 where seen; `back`: [count], the place of each token of the stream among those of all blocks. `queries` and
    `keys`: of a block, None where blocks may be rows."""

    query_places: ir.Value
    key_places: ir.Value
    bias: ir.Value
    back: ir.Value
    queries: int | None
    keys: int | None


def write_blocks(
    write: Writer, packing: Packing, band: Band, hidden: np.ndarray[Any, Any], either: bool = False
) -> Blocks:
    """Nodes that say what lies in each block, for all attentions of a band. Sizes stay on the host of a GPU.

    `either`: rows of the batch are the blocks wherever these cost less, as of short texts: who sees whom is told by the
    numbers of tokens in both."""

    def integers(numbers: Any) -> ir.Value:
        return write.integers("packing_constant", numbers)

    count = write("Shape", [packing.taken], "count")
    more = write("Add", [count, integers([band.queries - 1])], "count_and_more")
    blocks = write("Squeeze", [write("Div", [more, integers([band.queries])], "blocks_in_a_row")], "blocks")
    if either:
        queries, keys, there, back = _either(write, packing, band, count, blocks)
    else:
        queries, keys, there, back = _cut(write, band, count, blocks)
    numbers = write_numbers(write, packing, band.positions)
    of_keys = write("Where", [there, write("Gather", [numbers, keys], "numbers_of_near"), integers(NOBODY)], "of_keys")
    of_queries = write("Gather", [numbers, queries], "of_queries")
    down, across = write("Unsqueeze", [of_queries, integers([2])], "down"), integers([1])
    distance = write("Sub", [down, write("Unsqueeze", [of_keys, across], "across")], "distances")
    before = write("LessOrEqual", [distance, integers(band.before)], "not_too_far_back")
    after = write("GreaterOrEqual", [distance, integers(-band.after)], "not_too_far_ahead")
    seen = write("Unsqueeze", [write("And", [before, after], "seen"), integers([1])], "seen_by_heads")
    bias = write("Where", [seen, write.array("nothing", np.zeros_like(hidden)), write.array("lowest", hidden)], "bias")
    sizes = (None, None) if either else (band.queries, band.keys)
    return Blocks(queries, keys, bias, back, *sizes)


def _cut(write: Writer | Body, band: Band, count: ir.Value, blocks: ir.Value) -> list[ir.Value]:
    """Places of queries and keys in blocks of the stream, whether there is such a key, and the way back."""

    def integers(numbers: Any) -> ir.Value:
        return write.integers("packing_constant", numbers)

    every = write("Range", [integers(0), write("Squeeze", [count], "tokens"), integers(1)], "every_place")
    last = write("ReduceMax", [every], "last_place", attributes={"keepdims": 0})
    numbered = write("Range", [integers(0), blocks, integers(1)], "numbers_of_blocks")
    first = write("Mul", [numbered, integers(band.queries)], "first_places")
    starts = write("Unsqueeze", [first, integers([1])], "starts")
    inside = write("Add", [starts, integers([list(range(band.queries))])], "places_of_queries")
    queries = write("Min", [inside, last], "query_places")
    reached = [list(range(-band.before, band.keys - band.before))]
    outside = write("Add", [starts, integers(reached)], "places_of_keys")
    keys = write("Min", [write("Max", [outside, integers(0)], "from_the_first"), last], "key_places")
    there = write("Equal", [outside, keys], "is_there")
    return [queries, keys, there, every]


def _either(write: Writer, packing: Packing, band: Band, count: ir.Value, blocks: ir.Value) -> list[ir.Value]:
    """The same of blocks, or of rows of the batch as they are, whichever computes less scores."""
    sizes = write("Shape", [packing.mask], "batch_and_length")
    squares = write("Gather", [sizes, write.integers("packing_constant", [0, 1, 1])], "batch_and_length_twice")
    of_rows = write("ReduceProd", [squares], "scores_of_rows", attributes={"keepdims": 0})
    cost = write.integers("packing_constant", band.cost)
    more = write("Greater", [of_rows, write("Mul", [blocks, cost], "scores_of_blocks")], "blocks_are_less")
    cut, whole = Body(write.editor, f"{write.name}_blocks"), Body(write.editor, f"{write.name}_rows")
    in_blocks = _cut(cut, band, count, blocks)
    real = write("Cast", [packing.tokens], "is_real", attributes={"to": ir.DataType.BOOL})
    in_rows = [whole("Identity", [each], "same") for each in (packing.back, packing.back, real, packing.taken)]
    kinds = [(ir.DataType.INT64, 2), (ir.DataType.INT64, 2), (ir.DataType.BOOL, 2), (ir.DataType.INT64, 1)]
    for outputs in (in_blocks, in_rows):
        for value, (dtype, rank) in zip(outputs, kinds, strict=True):
            value.type, value.shape = ir.TensorType(dtype), ir.Shape([None] * rank)
    branches = {"then_branch": cut.graph(in_blocks), "else_branch": whole.graph(in_rows)}
    names = ["query_places", "key_places", "is_there", "places_back"]
    return write.several("If", [more], names, attributes=branches)
