"""A graph walked at chosen sizes of its free axes: what is declared dynamic, and the first node that refuses a size.

Sizes that share no factor with each other tell axes apart, so that a size that does not fit is known by its number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import onnx_ir as ir

from onnxfix.nouns.types.operators import bodies, is_standard
from onnxfix.nouns.types.unchanged import once
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.shapes.product_operations import Shape

from .expressions import evaluate
from .misfits import misfit
from .product_shapes import Numbers
from .shape_rules import BROADCAST
from .shape_walk import Walk

# What images are made of is halved five or six times by a network that puts the halves together again.
IMAGE_STEP = 64
_PRIMES = (7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109)

Sizes: TypeAlias = Mapping[str, int]
"""Size by the name of an axis."""
Overrides: TypeAlias = tuple[Mapping[ir.Value, Shape], Mapping[ir.Value, Numbers]]


@dataclass(frozen=True)
class Axis:
    """A free axis: what the file calls it (axes without a name go by their place), and where inputs have it."""

    name: str
    places: tuple[tuple[ir.Value, int], ...]

    @property
    def side(self) -> bool:
        """Whether it is a side of an image or a volume."""
        return all(len(value.shape or ()) > 3 and axis > 1 for value, axis in self.places)


@dataclass(frozen=True)
class Misfit:
    """A node that cannot run at some sizes, and why, in words."""

    node: ir.Node
    why: str


@dataclass
class Probe:
    """Shapes, and numbers in them, of all values at some sizes; `misfits` in the order of the nodes; `untrue`: outputs
    that are declared with the name of an input's axis and have another size."""

    shapes: dict[ir.Value, Shape] = field(default_factory=dict)
    numbers: dict[ir.Value, Numbers] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)
    untrue: frozenset[str] = frozenset()


def free_axes(graph: ir.Graph) -> list[Axis]:
    """The axes of the inputs whose size is open, by name; sums of other axes, as caches have them, are none."""
    found: dict[str, list[tuple[ir.Value, int]]] = {}
    for value in _required(graph):
        for axis, size in enumerate(value.shape or ()):
            if not isinstance(size, int) or size < 0:
                found.setdefault(_name(size, axis), []).append((value, axis))
    plain = {name: 1 for name in found if name.isidentifier() or name.startswith("#")}
    return [Axis(name, tuple(places)) for name, places in found.items()
            if name in plain or evaluate(name, plain) is None]  # fmt: skip


def generic(axes: list[Axis], turn: int) -> dict[str, int]:
    """A size for each axis that no other has; another with each `turn`."""
    primes = _PRIMES[turn % 2 :: 2]
    return {axis.name: primes[i % len(primes)] * (IMAGE_STEP if axis.side else 1) for i, axis in enumerate(axes)}


def probe(
    graph: ir.Graph,
    sizes: Sizes,
    instead: Overrides = ({}, {}),
    *,
    past_constants: bool = False,
    inferred: bool = False,
) -> Probe:
    """Walk a graph at these sizes; every free axis must have one. `instead`: shapes and numbers of constants;
    `past_constants`: where one does not go with what it is added to, as a mask for one length, as if it did;
    `inferred`: with onnx's own shapes behind operators that no rule is for. Axes without a name go by their place, so
    that two which are none the same may seem to be one: the more is known of them, the more seems not to fit."""
    if any(instead):
        return _walked(graph, sizes, instead, past_constants, inferred)
    key = ("probe", tuple(sorted(sizes.items())), past_constants, inferred)
    return once(graph, key, lambda: _walked(graph, sizes, instead, past_constants, inferred))


def _walked(graph: ir.Graph, sizes: Sizes, instead: Overrides, past_constants: bool, inferred: bool) -> Probe:
    walk = _Walk(past_constants=past_constants)
    walk.inferred = inferred
    walk.shapes |= instead[0]
    walk.numbers |= instead[1]
    for value in _required(graph):
        if value.shape is not None:
            shape = [_size(size, axis, sizes) for axis, size in enumerate(value.shape)]
            if all(size is not None for size in shape):
                walk.shapes[value] = tuple(size for size in shape if size is not None)
    walk.graph(graph)
    untrue = frozenset(v.name or "" for v in graph.outputs if not _is_true(v, walk.shapes.get(v), sizes))
    return Probe(walk.shapes, walk.numbers, walk.misfits, untrue)


def _is_true(value: ir.Value, shape: Shape | None, sizes: Sizes) -> bool:
    if value.shape is None or shape is None or len(value.shape) != len(shape):
        return True
    named = [(d.value, made) for d, made in zip(value.shape, shape, strict=True) if isinstance(d, ir.SymbolicDim)]
    return all(sizes.get(name or "", made) == made for name, made in named)


def _required(graph: ir.Graph) -> Iterator[ir.Value]:
    """Inputs without a default."""
    return (v for v in graph.inputs if v.name not in graph.initializers)


def _name(size: int | ir.SymbolicDim, axis: int) -> str:
    return (size.value if isinstance(size, ir.SymbolicDim) else None) or f"#{axis}"


def _size(size: int | ir.SymbolicDim, axis: int, sizes: Sizes) -> int | None:
    return size if isinstance(size, int) and size >= 0 else evaluate(_name(size, axis), sizes)


class _Walk(Walk):
    """A walk that takes nothing from what the file declares, and remembers what does not fit.

    What is in a branch counts where the branch is known to be taken.
    """

    def __init__(self, *, past_constants: bool = False) -> None:
        super().__init__({})
        self.misfits: list[Misfit] = []
        self.past_constants = past_constants

    def graph(self, graph: ir.Graph) -> None:
        self.opset = graph.opset_imports.get("", self.opset)
        for node in graph:
            for value in node.inputs:
                self._constant(value)
            numbers = [None if v is None else self.numbers.get(v) for v in node.inputs]
            shapes = [None if v is None else self.shapes.get(v) for v in node.inputs]
            with contextlib.suppress(ValueError, IndexError, KeyError, ZeroDivisionError, OverflowError, TypeError):
                if is_standard(node) and (why := misfit(node, shapes, numbers)):
                    self.misfits.append(Misfit(node, why))
                    self._past(node)
                    continue
                self._node(node)
                self._drop_senseless(node)
                self._bodies(node, numbers)

    def _past(self, node: ir.Node) -> None:
        """The shape of what meets a constant that does not go with it."""
        others = [v for v in node.inputs if v is not None and constant_tensor(v) is None]
        if self.past_constants and node.op_type in BROADCAST and len(others) == 1 and others[0] in self.shapes:
            self.shapes[node.outputs[0]] = self.shapes[others[0]]

    def _bodies(self, node: ir.Node, numbers: list[Numbers | None]) -> None:
        before = len(self.misfits)
        taken = bodies(node)
        if node.op_type == "If" and numbers and numbers[0] is not None:
            taken = [node.attributes["then_branch" if numbers[0].all() else "else_branch"].as_graph()]
        for body in taken:
            self.graph(body)
        if node.op_type == "If" and len(taken) > 1:
            del self.misfits[before:]
        elif node.op_type == "If":
            for value, made in zip(node.outputs, taken[0].outputs, strict=False):
                if made in self.shapes:
                    self.shapes[value] = self.shapes[made]

    def _drop_senseless(self, node: ir.Node) -> None:
        """A convolution wider than what it reads makes sizes below one: too small, and all else is unknown."""
        for value in node.outputs:
            if any(size < 0 for size in self.shapes.get(value, ())):
                del self.shapes[value]
