"""Small values that ONNX Runtime computes on the host and copies to the device for a reader there.

Shape arithmetic runs on the CPU (the plan says where). A number that a CUDA node then reads as data is copied at every
run, and a graph input that meets such a number is dragged to the CPU whole. `Range` and `Pad` read numbers from host
memory and write their result on the device, so the number can be made there instead, which takes no Memcpy node.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Copy, NodePlacement, Plan
from onnxfix.nouns.runtime.kernels import KernelTable
from onnxfix.nouns.runtime.provider import placed_on, providers
from onnxfix.nouns.site import Labelled, label
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.surgery.sites.constants import constant_tensor

from . import shape_arithmetic
from .shape_arithmetic import static_shape

# What the kernels of both providers take that make a number on the device: Range for integers, Pad for floats.
MADE_TYPES = frozenset(f"tensor({kind})" for kind in ("int16", "int32", "int64", "float", "double"))

# Elements of a vector that are made one by one: more than the rank of any tensor, fewer than any data.
MOST_ELEMENTS = 8


@dataclass(frozen=True)
class HostValue:
    """`length` is None for a scalar, else that of a vector; `casts` follow `value` on the way to its `readers`."""

    value: ir.Value
    type: str
    length: int | None
    casts: tuple[ir.Node, ...]
    readers: tuple[tuple[ir.Node, int], ...]


def find(model: Model, plan: Plan, table: KernelTable, types: ElementTypes) -> list[HostValue]:
    """The host values behind a plan's copies to the device, each once with all its readers."""
    search = _Search(plan, table, types, _by_name(model))
    merged: dict[tuple[ir.Value, tuple[ir.Node, ...]], HostValue] = {}
    for copy in plan.copies:
        if copy.direction == "from_host":
            for found in search.behind(copy):
                key = (found.value, found.casts)
                earlier = merged[key].readers if key in merged else ()
                readers = tuple(dict.fromkeys((*earlier, *found.readers)))
                merged[key] = HostValue(found.value, found.type, found.length, found.casts, readers)
    return list(merged.values())


def repairable(model: Model, plan: Plan, table: KernelTable, types: ElementTypes) -> set[str]:
    """Names of the copied values that a repair helps: such a number is behind them, or they are a constant's cast."""
    search = _Search(plan, table, types, _by_name(model))
    from_host = (c for c in plan.copies if c.direction == "from_host")
    found = {c.value for c in from_host if next(search.behind(c), None) is not None}
    return found | {c.value for c in plan.copies if c.direction == "to_host" and _is_cast_constant(search, c)}


def _by_name(model: Model) -> dict[str | None, ir.Value]:
    """Values that nodes make, without those whose name another graph uses as well: a plan names them alike."""
    every = [v for n in model.nodes() for v in n.outputs if v.name]
    counts = Counter(v.name for v in every)
    return {v.name: v for v in every if counts[v.name] == 1}


def _is_cast_constant(search: _Search, copy: Copy) -> bool:
    """A scalar that is cast on the device although it is known: CastLike of a constant, which `Range` reads."""
    value = search.values.get(copy.value)
    node = value.producer() if value is not None else None
    return node is not None and node.op_type in ("Cast", "CastLike") and constant_tensor(node.inputs[0]) is not None


class _Search:
    def __init__(self, plan: Plan, table: KernelTable, types: ElementTypes, values: dict[str | None, ir.Value]) -> None:
        self.table = table
        self.types = types
        self.values = values
        self.placed = {source: node for node in plan.nodes for source in node.source}
        self.placed |= {node.output: node for node in plan.nodes if node.output}
        self.labelled = Labelled(p for v in values.values() if (p := v.producer()) is not None)

    def behind(self, copy: Copy) -> Iterator[HostValue]:
        value = self.values.get(copy.value)
        if value is not None and copy.shape is not None and not copy.grows and _is_small(copy.shape):
            readers = tuple(r for r in value.uses() if self._on_device(r.node, r.idx))
            yield from self._made(value, copy.shape, tuple((r.node, r.idx) for r in readers))
            return
        # a graph input, or what a chain made of it: the numbers that dragged the first such node to the host
        node = value.producer() if value is not None else self.labelled.find(*copy.cause_key, copy.cause_op_type)
        seen: set[ir.Node] = set()
        while node is not None and node not in seen and self._is_dragged(node):
            seen.add(node)
            yield from self._operands(node)
            large = [v for v in node.inputs if v is not None and v.producer() is not None and _small_shape(v) is None]
            node = large[0].producer() if large else None

    def _operands(self, node: ir.Node) -> Iterator[HostValue]:
        for index, value in enumerate(node.inputs):
            shape = _small_shape(value)
            if value is not None and shape is not None and self._on_host(value):
                yield from self._made(value, shape, ((node, index),))

    def _made(
        self, value: ir.Value, shape: tuple[int, ...], readers: tuple[tuple[ir.Node, int], ...]
    ) -> Iterator[HostValue]:
        casts: tuple[ir.Node, ...] = ()
        producer = value.producer()
        while producer is not None and self.types.get(value) not in MADE_TYPES and producer.op_type == "Cast":
            casts, value = (producer, *casts), producer.inputs[0] or value
            producer = value.producer()
        kind = self.types.get(value) or ""
        if "int" in kind and not shape_arithmetic.is_bounded(value):
            return
        if readers and producer is not None and kind in MADE_TYPES:
            yield HostValue(value, kind, shape[0] if shape else None, casts, readers)

    def _placement(self, node: ir.Node) -> NodePlacement | None:
        made = (self.placed.get(v.name or "") for v in node.outputs if v.name)
        return next((p for p in made if p is not None), self.placed.get(label(node)))

    def _is_dragged(self, node: ir.Node) -> bool:
        placed = self._placement(node)
        return placed is not None and not _chained(placed) and not placed.lacks_kernel

    def _on_device(self, node: ir.Node, index: int) -> bool:
        """Whether a reader wants the value on the device: not one on the CPU, nor a host argument of a kernel."""
        placed = self._placement(node)
        if placed is not None and not _chained(placed):
            return False
        names = (each.runtime_name for each in providers() if each.leaves_shapes)
        kernels = (kernel for name in names for kernel in self.table.candidates(name, node.op_type, node.domain))
        return not any(index in kernel.host_inputs for kernel in kernels)

    def _on_host(self, value: ir.Value) -> bool:
        producer = value.producer()
        placed = self._placement(producer) if producer is not None else None
        return placed is not None and (not _chained(placed) or placed.op_type in ("Shape", "Size"))


def _chained(placed: NodePlacement) -> bool:
    """Whether a node is on a provider that leaves arithmetic on shapes to the host."""
    return placed_on(placed.provider).leaves_shapes


def _small_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of a small static value, None for any other."""
    shape = static_shape(value)
    return shape if shape is not None and _is_small(shape) else None


def _is_small(shape: tuple[int, ...]) -> bool:
    return len(shape) <= 1 and 0 < math.prod(shape) <= MOST_ELEMENTS
