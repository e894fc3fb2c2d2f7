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
from onnxfix.surgery.sites.tokens.packed_attention import Packing

from .numbers import NOBODY, write_numbers

ALIGNED = 8  # kernels of GPUs take biases whose rows are multiples of it


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


@dataclass(frozen=True)
class Blocks:
    """`query_places`: [blocks, queries] and `key_places`: [blocks, keys] in the stream; `bias`: [blocks, 1, queries,
    keys], 0 where seen; `back`: [count], the place of each token of the stream among those of all blocks. `queries` and
    `keys`: of a block."""

    query_places: ir.Value
    key_places: ir.Value
    bias: ir.Value
    back: ir.Value
    queries: int
    keys: int


def write_blocks(write: Writer, packing: Packing, band: Band, hidden: np.ndarray[Any, Any]) -> Blocks:
    """Nodes that say what lies in each block, for all attentions of a band. Sizes stay on the host of a GPU."""

    def integers(numbers: Any) -> ir.Value:
        return write.integers("packing_constant", numbers)

    count = write("Shape", [packing.taken], "count")
    # the token at the end is none, and 1,024 are 16 blocks of 64; where there is no other, it has one of its own
    more = write("Add", [count, integers([band.queries - 2])], "count_and_more")
    full = write("Div", [more, integers([band.queries])], "blocks_of_tokens")
    least = write("Min", [count, integers([1])], "one_block")
    blocks = write("Squeeze", [write("Max", [full, least], "blocks_in_a_row")], "blocks")
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
    numbers = write_numbers(write, packing, band.positions)
    there = write("Equal", [outside, keys], "is_there")
    of_keys = write("Where", [there, write("Gather", [numbers, keys], "numbers_of_near"), integers(NOBODY)], "of_keys")
    of_queries = write("Gather", [numbers, queries], "of_queries")
    down, across = write("Unsqueeze", [of_queries, integers([2])], "down"), integers([1])
    distance = write("Sub", [down, write("Unsqueeze", [of_keys, across], "across")], "distances")
    before = write("LessOrEqual", [distance, integers(band.before)], "not_too_far_back")
    after = write("GreaterOrEqual", [distance, integers(-band.after)], "not_too_far_ahead")
    seen = write("Unsqueeze", [write("And", [before, after], "seen"), integers([1])], "seen_by_heads")
    bias = write("Where", [seen, write.array("nothing", np.zeros_like(hidden)), write.array("lowest", hidden)], "bias")
    made = write("ReduceMax", [inside], "last_made", attributes={"keepdims": 0})
    back = write("Min", [every, made], "places_back")
    return Blocks(queries, keys, bias, back, band.queries, band.keys)
