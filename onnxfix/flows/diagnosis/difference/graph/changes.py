"""What changed in a module: operators in number, nodes that are altered or give another type; like layers as one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onnxfix.nouns.site import layers_as_one


@dataclass(frozen=True, order=True)
class Count:
    """Nodes of one operator; of another domain than ai.onnx with it: `com.microsoft.MultiHeadAttention`."""

    op_type: str
    before: int
    after: int

    def __str__(self) -> str:
        return f"{self.op_type} {self.before:,} → {self.after:,}"

    def as_dict(self) -> dict[str, object]:
        return {"op_type": self.op_type, "before": self.before, "after": self.after}


@dataclass(frozen=True, order=True)
class Altered:
    """Nodes that are there in both and differ in an attribute or a constant: `to FLOAT → FLOAT16`."""

    op_type: str
    what: str
    nodes: int

    def as_dict(self) -> dict[str, object]:
        return {"op_type": self.op_type, "what": self.what, "nodes": self.nodes}


@dataclass(frozen=True, order=True)
class Retyped:
    """Nodes that are there in both and give another type."""

    before: str
    after: str
    nodes: int

    def as_dict(self) -> dict[str, object]:
        return {"before": self.before, "after": self.after, "nodes": self.nodes}


@dataclass(frozen=True)
class Change:
    """What changed in modules that differ in the numbers of their layers alone. `scopes`: each of them."""

    pattern: str
    scopes: tuple[str, ...]
    operators: tuple[Count, ...]
    """Of one module; those that did not change in number among them where all were asked for."""
    altered: tuple[Altered, ...] = ()
    retyped: tuple[Retyped, ...] = ()

    @property
    def layers(self) -> str:
        """`0, 2–4, 7` of several modules of one pattern."""
        numbers = (_number(self.pattern, scope) for scope in self.scopes)
        return ranges(number for number in numbers if number is not None)

    def as_dict(self) -> dict[str, object]:
        return {
            "module": self.pattern,
            "scopes": list(self.scopes),
            "operators": [each.as_dict() for each in self.operators],
            "altered": [each.as_dict() for each in self.altered],
            "types": [each.as_dict() for each in self.retyped],
        }


@dataclass(frozen=True)
class Modules:
    """Every module of either graph with all that is to be said of it."""

    each: tuple[Change, ...]

    def changed(self, every: bool = False) -> list[Change]:
        """Those in which something changed, like ones as one, in the graph's order. `every`: with all operators, and
        modules in which nothing did."""
        found: dict[tuple[object, ...], list[Change]] = {}
        for module in self.each:
            shown = module.operators if every else tuple(c for c in module.operators if c.before != c.after)
            if shown or module.altered or module.retyped:
                key = (layers_as_one(module.pattern), shown, module.altered, module.retyped)
                found.setdefault(key, []).append(module)
        return [
            Change(pattern if len(alike) > 1 else alike[0].pattern, tuple(m.pattern for m in alike), *rest)  # type: ignore[arg-type]
            for (pattern, *rest), alike in found.items()
        ]

    def without_types(self, every: bool = False) -> list[Change]:
        """As `changed`, but for those in which nothing but the types of results changed, which `types_alone` counts."""
        return [change for change in self.changed(every) if change.operators or change.altered]

    def types_alone(self) -> list[tuple[int, Retyped]]:
        """Modules in which nothing but types changed, and their nodes, by these types."""
        found: dict[tuple[str, str], list[int]] = {}
        for module in self.changed():
            for types in module.retyped if not module.operators and not module.altered else ():
                found.setdefault((types.before, types.after), []).extend([types.nodes] * len(module.scopes))
        return [(len(nodes), Retyped(*types, sum(nodes))) for types, nodes in found.items()]

    @property
    def unchanged(self) -> int:
        return sum(not m.altered and not m.retyped and all(c.before == c.after for c in m.operators) for m in self.each)


def ranges(numbers: Iterable[int]) -> str:
    """`0, 2–4, 7`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]}–{r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in runs)


def _number(pattern: str, scope: str) -> int | None:
    """What stands for the first star of a pattern."""
    parts = dict(enumerate(scope.split(".")))
    place = next((i for i, part in enumerate(pattern.split(".")) if part == "*"), -1)
    return int(parts[place]) if parts.get(place, "").isdigit() else None
