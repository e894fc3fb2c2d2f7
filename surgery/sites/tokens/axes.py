"""Token axes: where a value has its rows and its tokens, told by sizes that nothing else in the graph has.

A graph is walked twice, at prime sizes of its free axes. An axis that has the batch's size both times is the batch's,
one that has the length's both times the tokens', and one that has their product both at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.sizes.probe import Probe, free_axes, generic, probe

Shape = tuple[int, ...]
RESHAPES = frozenset({"Reshape", "Flatten"})


@dataclass(frozen=True)
class Axes:
    """`batch` and `token` are one number where rows and tokens share an axis, and `batch` is None for what is of a
    position, the same in all rows."""

    batch: int | None
    token: int

    @property
    def leading(self) -> bool:
        """Whether slices of tokens lie one behind the other: [batch, token, …], or [batch · token, …]."""
        return (self.batch, self.token) in ((0, 1), (0, 0))

    @property
    def merged(self) -> bool:
        return self.batch == self.token


class Layout:
    """Token axes of all values of a model, whose rows are called `batch` and its tokens `length` in its inputs;
    `alike`: what else rows are called."""

    def __init__(self, model: Model, batch: str, length: str, alike: frozenset[str] = frozenset()) -> None:
        axes = free_axes(model.graph)
        found = [generic(axes, turn) for turn in (0, 1)]
        turns = [sizes | dict.fromkeys(alike, sizes[batch]) for sizes in found]
        apart = [name for name in turns[0] if name not in (batch, length) and name not in alike]
        self._elsewhere = {tuple(sizes[name] for sizes in turns) for name in apart}
        self._walks: list[tuple[Probe, int, int]] = [
            (probe(model.graph, sizes, inferred=True), sizes[batch], sizes[length]) for sizes in turns
        ]
        self._out_of_order = self._orders(model.graph)

    def shape(self, value: ir.Value | None) -> Shape | None:
        """The shape of a value in the first walk; None where it is not known in both."""
        found = self._shapes(value)
        return found[0] if found else None

    def axes(self, value: ir.Value | None) -> Axes | None:
        """None for what has no tokens, has them twice, as scores of an attention have, or has no known shape."""
        shapes = self._shapes(value)
        if not shapes or value in self._out_of_order:
            return None
        rows, tokens, both, others = self._kinds(shapes)
        if others:
            return None
        if len(both) == 1 and not rows and not tokens:
            return Axes(both[0], both[0])
        if len(tokens) == 1 and not both and len(rows) <= 1:
            return Axes(rows[0] if rows else None, tokens[0])
        return None

    def is_of_none(self, value: ir.Value | None) -> bool:
        """Whether a value has no tokens, if perhaps rows, rows times heads, or tokens of another input."""
        if value is not None and constant_tensor(value) is not None:
            return True
        shapes = self._shapes(value)
        _, tokens, both, others = self._kinds(shapes) if shapes else ([], [0], [], [])
        return not tokens and not both and all(self._is_of_rows([shape[axis] for shape in shapes]) for axis in others)

    def _is_of_rows(self, sizes: Sequence[int]) -> bool:
        if tuple(sizes) in self._elsewhere:
            return True
        parts = {divmod(size, walk[1]) for size, walk in zip(sizes, self._walks, strict=True)}
        return len(parts) == 1 and parts.pop()[1] == 0

    def is_of_pairs(self, value: ir.Value | None) -> bool:
        """Whether a value has tokens twice: a number for each pair of them, as scores of an attention are."""
        shapes = self._shapes(value)
        return bool(shapes) and len(self._kinds(shapes)[1]) == 2

    def _orders(self, graph: ir.Graph) -> set[ir.Value]:
        """Values whose shapes say something else than what is in them: rows and tokens in one axis with tokens first,
        as [length, batch, …] becomes it, or tokens that a Reshape put together of parts of several."""
        found: set[ir.Value] = set()
        for node in graph:
            for value in node.outputs:
                shapes = self._shapes(value)
                if not shapes:
                    continue
                source = node.inputs[0] if node.op_type in RESHAPES and is_standard(node) else None
                if source is not None:
                    apart = not self._kept(source, shapes, source in found)
                elif self._kinds(shapes)[2]:
                    apart = any(each in found for each in node.inputs)
                else:
                    continue
                if apart:
                    found.add(value)
        return found

    def _kept(self, source: ir.Value, made: Sequence[Shape], tokens_first: bool) -> bool:
        """Whether a Reshape leaves as many numbers behind a row and a token as there were; True where a shape does not
        say."""
        before = self._shapes(source)
        if not before or self._kinds(before)[3]:
            return True
        steps = [
            (_steps(was, batch, length, tokens_first), _steps(now, batch, length))
            for (_, batch, length), was, now in zip(self._walks, before, made, strict=True)
        ]
        return all(was is None or now is None or was == now for was, now in steps)

    def _kinds(self, shapes: Sequence[Shape]) -> tuple[list[int], list[int], list[int], list[int]]:
        """Axes of rows, of tokens, of both at once, and of what else is of another size in another walk."""
        batches, lengths = [walk[1] for walk in self._walks], [walk[2] for walk in self._walks]
        products = [batch * length for batch, length in zip(batches, lengths, strict=True)]
        kinds: tuple[list[int], list[int], list[int], list[int]] = ([], [], [], [])
        for axis, sizes in enumerate(zip(*shapes, strict=True)):
            known = [batches, lengths, products]
            if list(sizes) in known:
                kinds[known.index(list(sizes))].append(axis)
            elif len(set(sizes)) > 1:
                kinds[3].append(axis)
        return kinds

    def features(self, value: ir.Value) -> Shape | None:
        """The sizes behind leading token axes, where they are the same at every size; None elsewhere."""
        axes, shapes = self.axes(value), self._shapes(value)
        if axes is None or not axes.leading or not shapes:
            return None
        first, second = (shape[axes.token + 1 :] for shape in shapes)
        return first if first == second else None

    def depends(self, value: ir.Value | None) -> bool:
        """Whether a shape is of the batch or the length in any way, or is not known."""
        if value is None or constant_tensor(value) is not None:
            return False
        shapes = self._shapes(value)
        return not shapes or shapes[0] != shapes[1]

    def _shapes(self, value: ir.Value | None) -> Sequence[Shape]:
        if value is None:
            return ()
        found = [walk.shapes.get(value) for walk, _, _ in self._walks]
        known = [shape for shape in found if shape is not None]
        same_rank = len({len(shape) for shape in known}) == 1
        return known if len(known) == len(found) and same_rank else ()


def _steps(shape: Shape, batch: int, length: int, tokens_first: bool = False) -> tuple[int, int] | None:
    """How many numbers lie from one row to the next and from one token to the next; None where a shape has not both,
    once. `tokens_first`: in an axis of both."""
    behind = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    rows, tokens, both = (
        [step for step, size in zip(behind, shape, strict=True) if size == wanted]
        for wanted in (batch, length, batch * length)
    )
    if len(both) == 1 and not rows and not tokens:
        return (both[0], both[0] * batch) if tokens_first else (both[0] * length, both[0])
    return (rows[0], tokens[0]) if len(rows) == len(tokens) == 1 and not both else None
