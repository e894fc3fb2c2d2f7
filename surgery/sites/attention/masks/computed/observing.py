"""A mask computed for samples: what is fed, and what comes back as [batch, heads, queries, keys]."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.input_roles import role
from onnxfix.nouns.types.operators import attribute
from onnxfix.surgery.sites.constants import Array
from onnxfix.surgery.sites.shapes.product_operations import Shape

from ..mask import NotComputedError, RefusedError
from . import axes
from .cone import Cone
from .grid import Grid
from .observed import Observed
from .program import Program
from .samples import Sample

HIDDEN = -5000.0
"""What is below is hidden: masks say -10,000 and less, and biases by distance reach -3,500 at 4,096 keys (ALiBi)."""
_LOOKED_AT = 1 << 22
"""Entries of a mask; of a larger one, as many rows are looked at."""
PRECISIONS = {"tensor(bfloat16)": 2.0**-8, "tensor(float16)": 2.0**-11, "tensor(float)": 2.0**-24}


@dataclass(frozen=True)
class Observer:
    """`elementwise`: scores of one number do for all; `hides`: a bool of the target means hidden, not seen; `inverted`:
    so does a 1 of the padding input; `precision`: half a unit in the last place of the roughest type on the way."""

    cone: Cone
    program: Program
    grid: Grid
    types: dict[ir.Value, ir.DataType]
    elementwise: bool = True
    hides: bool = False
    inverted: bool = False
    precision: float = PRECISIONS["tensor(float)"]

    def observe(self, sample: Sample) -> Observed:
        """Raises RefusedError where the mask cannot be computed, or is no mask over queries and keys."""
        made, rows, free = self.run(sample)
        if made.shape[3] != sample.mask.shape[1]:  # patches of an image, frames of sound
            sample = replace(sample, mask=np.ones((made.shape[0], made.shape[3]), np.int64))
        seen = made > HIDDEN if made.dtype != np.bool_ else made != self.hides
        if np.isnan(made[~np.isneginf(made)]).any() if made.dtype != np.bool_ else False:
            raise RefusedError(self.node, f"is NaN at {sample.words(0)}")
        if seen.shape[1] > 1 and (seen != seen[:, :1]).any():
            raise RefusedError(self.node, f"shows heads different keys, at {sample.words(0)}")
        scores = np.broadcast_to(np.float32(0), made.shape) if made.dtype == np.bool_ else made
        return Observed(sample, rows, scores, seen[:, :1], sample.positions, free)

    @property
    def node(self) -> ir.Node | None:
        return self.cone.target.producer()

    def run(self, sample: Sample, score: float = 0.0) -> tuple[Array, Array, bool]:
        """The target [batch, heads or 1, rows, keys] where all scores are a number; the rows, as places among the keys;
        whether queries are other tokens than the keys."""
        made = self.alone(sample, score)
        if made.dtype != np.bool_:
            made = made.astype(np.float32)
        return self._regular(made, sample)

    def alone(self, sample: Sample, score: float = 0.0) -> Array:
        """The target as the model has it."""
        feed = {value: self._source(value, sample) for value in self.cone.sources}
        for leaf in self.cone.leaves:
            feed[leaf] = np.full(self._leaf(leaf, sample), score, _fed(self.types[leaf]))
        for node in self.cone.sized:
            feed[_first(node)] = self._size(node, sample)
        return self.program.run(feed)

    def _regular(self, made: Array, sample: Sample) -> tuple[Array, Array, bool]:
        batch, total = sample.mask.shape
        shape = self._scores_shape(sample)
        made = axes.four(made, batch, None if shape is None else len(shape), self.node)
        queries, keys = axes.sides(made, shape, self.node)
        if not made.size:  # of tokens that are thinned by more than there are
            raise RefusedError(self.node, f"has no queries or no keys at {sample.words(0)}")
        if not self.cone.sources and keys > 1 and total != keys:  # patches of an image: as many as there are
            total = keys
        if keys not in (1, total):
            raise RefusedError(self.node, f"masks {keys} keys where there are {total} tokens")
        queries = total - sample.point.past if queries == 1 and made.shape[2] == 1 and shape is None else queries
        free = queries != total - sample.point.past
        rows = np.arange(queries) + (0 if free else sample.point.past)
        most = max(_LOOKED_AT // (batch * made.shape[1] * total), 1)
        if queries > most:
            rows = rows[np.unique(np.linspace(0, queries - 1, most).astype(int))]
            made = made[:, :, rows - (0 if free else sample.point.past)] if made.shape[2] > 1 else made
        wide = np.broadcast_to(made, (batch, made.shape[1], len(rows), total))
        return np.ascontiguousarray(wide), rows, free

    def _scores_shape(self, sample: Sample) -> Shape | None:
        """Of what a Softmax reads; None for a value alone."""
        return self.grid.shape(self.cone.target, sample.point) if self.cone.leaves else None

    def _source(self, value: ir.Value, sample: Sample) -> Array:
        numbers = sample.positions if role(value) == "position" else sample.mask
        numbers = 1 - numbers if self.inverted and role(value) != "position" else numbers
        shape = self.grid.given(value, sample.point)
        if shape is not None and shape != numbers.shape:
            numbers = numbers[:, -shape[-1] :]
            numbers = numbers[0] if len(shape) == 1 else numbers[: shape[0]]
        if shape is not None and shape != numbers.shape:
            raise RefusedError(self.node, f"reads {value.name} of {list(shape)}, which is no padding of its keys")
        made: Array = numbers.astype(_fed(self.types[value]))
        return made

    def _leaf(self, leaf: ir.Value, sample: Sample) -> Shape:
        shape = self.grid.shape(leaf, sample.point)
        if self.elementwise:
            return (1,) * (len(shape) if shape is not None else axes.RANK)
        if shape is None:
            raise NotComputedError(leaf.producer(), f"is added to scores whose shape is not known ({leaf.name})")
        return shape

    def _size(self, node: ir.Node, sample: Sample) -> Array:
        source = node.inputs[0]
        assert source is not None
        shape = self.grid.given(source, sample.point) if source.is_graph_input() else None
        shape = shape if shape is not None else self.grid.shape(source, sample.point)
        if shape is None:  # at this length: it may be more than the model has positions for
            raise NotComputedError(node, f"reads the size of {source.name}, which is not known")
        if node.op_type == "Size":
            return np.array(int(np.prod(shape)), np.int64)
        return np.array(shape[attribute(node, "start", 0) : attribute(node, "end", None)], np.int64)


def _fed(dtype: ir.DataType) -> np.dtype[np.generic]:
    """A program has fp32 in place of bfloat16."""
    return np.dtype(np.float32) if dtype == ir.DataType.BFLOAT16 else dtype.numpy()


def _first(node: ir.Node) -> ir.Value:
    return node.outputs[0]
