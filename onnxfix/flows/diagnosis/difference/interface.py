"""Inputs and outputs of two models in pairs: by name, else in their order where types agree; and what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from onnxfix.nouns.types.type_strings import type_string

Dim = int | str | None
Ends = tuple[ir.Value | None, ir.Value | None]


@dataclass(frozen=True)
class Signature:
    """What is declared of an input or output; `shape` None where the rank is not."""

    name: str
    type: str
    shape: tuple[Dim, ...] | None

    @staticmethod
    def of(value: ir.Value) -> Signature:
        shape = value.shape
        dims = None if shape is None else tuple(d if isinstance(d, int) else d.value for d in shape)
        return Signature(value.name or "", type_string(value.type) or "", dims)

    def __str__(self) -> str:
        inner = self.type.removeprefix("tensor(").removesuffix(")") if self.type.startswith("tensor(") else self.type
        dims = "" if self.shape is None else f"[{', '.join('?' if d is None else str(d) for d in self.shape)}]"
        return f"{self.name}: {inner}{dims}"

    def as_dict(self) -> dict[str, object]:
        return {"name": self.name, "type": self.type, "shape": None if self.shape is None else list(self.shape)}


@dataclass(frozen=True)
class Port:
    """One input or output. `changes`: name, type, shape, or axes, whose names alone do not count."""

    kind: Literal["input", "output"]
    before: Signature | None
    after: Signature | None
    changes: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        return self.before is None or self.after is None or any(change != "axes" for change in self.changes)

    def as_dict(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "before": self.before.as_dict() if self.before else None,
            "after": self.after.as_dict() if self.after else None,
            "changes": list(self.changes),
            "counts": self.counts,
        }


@dataclass
class Axes:
    """Names of free axes in both models: two that stand for each other everywhere are one axis."""

    ours: dict[str, str] = field(default_factory=dict)
    theirs: dict[str, str] = field(default_factory=dict)

    def all_alike(self, ours: Sequence[Dim], theirs: Sequence[Dim]) -> bool:
        """Of two shapes of one rank; every axis is looked at, also behind one that differs."""
        found = [self._alike(*dims) for dims in zip(ours, theirs, strict=True)]
        return all(found)

    def _alike(self, one: Dim, other: Dim) -> bool:
        if isinstance(one, int) or isinstance(other, int):
            return one == other
        if one is None or other is None:
            return True
        return self.ours.setdefault(one, other) == other and self.theirs.setdefault(other, one) == one


def own_inputs(graph: ir.Graph) -> list[ir.Value]:
    """Inputs that are no weights: files of IR version 3 list every weight as an input, too."""
    return [value for value in graph.inputs if value.const_value is None]


def paired(
    before: Sequence[ir.Value], after: Sequence[ir.Value], same: Callable[[ir.Value, ir.Value], bool] | None = None
) -> list[Ends]:
    """By name; of the rest those that are the `same`, then in their order those of one type and rank."""
    named: dict[str | None, list[ir.Value]] = {}
    for value in after:  # several outputs may have one name
        named.setdefault(value.name, []).append(value)
    found: list[Ends] = [(value, named[value.name].pop(0) if named.get(value.name) else None) for value in before]
    left = [value for values in named.values() for value in values]
    for test in filter(None, (same, _alike)):
        for index, (one, other) in enumerate(found):
            match = next((v for v in left if test(one, v)), None) if other is None and one is not None else None
            if match is not None:
                found[index] = (one, match)
                left.remove(match)
    return [*found, *((None, value) for value in left)]


def ports(kind: Literal["input", "output"], pairs: Iterable[Ends], axes: Axes) -> list[Port]:
    """Those that differ in anything."""
    found = [_port(kind, one, other, axes) for one, other in pairs]
    return [port for port in found if port.changes or port.before is None or port.after is None]


def _port(kind: Literal["input", "output"], one: ir.Value | None, other: ir.Value | None, axes: Axes) -> Port:
    before, after = (None if value is None else Signature.of(value) for value in (one, other))
    changes = []
    if before is not None and after is not None:
        changes += ["name"] * (before.name != after.name) + ["type"] * (before.type != after.type)
        if before.shape is None or after.shape is None or len(before.shape) != len(after.shape):
            changes += ["shape"] * (before.shape != after.shape)
        elif not axes.all_alike(before.shape, after.shape):
            changes.append("shape")
        elif before.shape != after.shape:
            changes.append("axes")
    return Port(kind, before, after, tuple(changes))


def _alike(one: ir.Value, other: ir.Value) -> bool:
    before, after = Signature.of(one), Signature.of(other)
    return before.type == after.type and len(before.shape or ()) == len(after.shape or ())
