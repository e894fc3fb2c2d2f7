"""How much a copied value weighs: its bytes at a stated batch and sequence, whether they grow, what the copy costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.diagnose.placement.origins import Origins
from onnxfix.diagnose.placement.shapes.known_shapes import shapes_by_name
from onnxfix.nouns.plan import Sizes
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import is_standard
from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.sites.shapes.product_operations import Shape

from .inserted_casts import PREFIX

# What a PCIe 4.0 x16 bus moves in practice. At this rate the 56 copies of 688 MB of a 28-layer ModernBERT-large without
# optimizer take 30 ms a sample of a batch of 64; 30.2 were measured on an RTX 3090.
BYTES_PER_SECOND = 20e9

# A copy of any size waits for the stream it is on.
LATENCY_MS = 0.01

# 1 MB takes 50 us, more than most kernels: past it the copy is what one waits for. What grows with the batch has no
# such bound, so 1 kB that does is an activation; 4 kB that do not grow are lost in the latency.
HARMFUL_BYTES, HARMFUL_GROWING_BYTES, HARMLESS_BYTES = 1_000_000, 1024, 4096


@dataclass(frozen=True)
class Extent:
    """One value at the stated sizes; None where nothing tells. A sequence is as large as its elements together."""

    shape: Shape | None
    nbytes: int | None
    grows: bool

    @property
    def milliseconds(self) -> float | None:
        """Estimated time of one copy over the bus."""
        return None if self.nbytes is None else round(LATENCY_MS + 1e3 * self.nbytes / BYTES_PER_SECOND, 4)

    @property
    def severity(self) -> str:
        """error for activations and what takes longer than a kernel, note for shapes and scalars, else warning."""
        if self.nbytes is None:
            return "error" if self.grows else "warning"
        if self.nbytes >= (HARMFUL_GROWING_BYTES if self.grows else HARMFUL_BYTES):
            return "error"
        return "note" if self.nbytes <= HARMLESS_BYTES else "warning"


def extents(
    model: ir.Model,
    values: Iterable[ir.Value],
    types: ElementTypes,
    origins: Origins,
    sizes: Sizes,
) -> dict[ir.Value, Extent]:
    """The extent of each value of the planned graph."""
    wanted = {value: _name(value) for value in values}
    if not wanted:
        return {}
    recorded = origins.shapes()
    once = shapes_by_name(wanted.values(), model, sizes, recorded)
    twice: dict[str, Shape] = {}
    if any(name not in recorded for name in wanted.values()):
        twice = shapes_by_name(wanted.values(), model, Sizes(2 * sizes.batch, 2 * sizes.sequence), recorded)
    return {
        value: _extent(types.get(value) or "", recorded.get(name), once.get(name), twice.get(name))
        for value, name in wanted.items()
    }


def _extent(kind: str, symbolic: ir.Shape | None, shape: Shape | None, doubled: Shape | None) -> Extent:
    size = _element_size(kind)
    if shape is None:
        return Extent(None, None, symbolic is not None and len(symbolic) > 1 and not symbolic.is_static())
    # what the file says in symbols, or else whether twice the batch and tokens make a difference
    grows = not symbolic.is_static() if symbolic is not None else doubled != shape
    return Extent(shape, None if size is None else math.ceil(math.prod(shape) * size), grows)


def _name(value: ir.Value) -> str:
    return (_whole(value).name or "").removeprefix(PREFIX)


def _whole(value: ir.Value) -> ir.Value:
    """What a sequence was split from: its elements are as large together."""
    producer = value.producer()
    while producer is not None and producer.op_type == "SplitToSequence" and is_standard(producer):
        if producer.inputs[0] is None:
            break
        value = producer.inputs[0]
        producer = value.producer()
    return value


def _element_size(known: str) -> float | None:
    inner = known.removeprefix("optional(").removeprefix("seq(").rstrip(")")
    if not inner.startswith("tensor(") or inner == "tensor(string":
        return None
    return float(data_type(inner + ")").itemsize)
