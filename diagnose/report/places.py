"""Like things as one line: findings, copies and nodes of all layers by their scope with the layer numbers left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from onnxfix.nouns.finding import Finding
from onnxfix.nouns.plan import Copy, NodePlacement, Obstacle
from onnxfix.nouns.site import Site, layers_as_one
from onnxfix.render.words import visible

T = TypeVar("T")

# What torch's dynamo exporter writes for nodes that belong to no module.
NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"


@dataclass(frozen=True)
class Place(Generic[T]):
    """Things at one scope pattern; `str()` is `28 × model.layers.*.mlp: chunk`."""

    pattern: str
    things: tuple[T, ...]

    @property
    def first(self) -> T:
        return self.things[0]

    def __str__(self) -> str:
        return f"{len(self.things):,} × {self.pattern}" if len(self.things) > 1 else self.pattern


@dataclass(frozen=True)
class Group:
    """The findings of one code and severity."""

    findings: tuple[Finding, ...]

    @property
    def first(self) -> Finding:
        return self.findings[0]

    def places(self) -> list[Place[Finding]]:
        return _places(self.findings, lambda f: of_site(f.site))


def groups(findings: Sequence[Finding]) -> list[Group]:
    """Findings by code and severity, in the report's order."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        found.setdefault((finding.code, finding.severity.value), []).append(finding)
    return [Group(tuple(members)) for members in found.values()]


def of_copies(copies: Sequence[Copy]) -> list[Place[Copy]]:
    """Copies by direction and cause, the most bytes first."""
    split = {d: [c for c in copies if c.direction == d] for d in ("to_host", "from_host")}
    found = [p for part in split.values() for p in _places(part, of_copy)]
    return sorted(found, key=lambda p: (-sum(c.nbytes or 0 for c in p.things), p.pattern))


def of_nodes(nodes: Iterable[NodePlacement]) -> list[Place[NodePlacement]]:
    """Nodes by operator and scope pattern, the most first."""
    found = _places(list(nodes), lambda n: pattern(n.scope, n.op_type, n.output))
    return sorted(found, key=lambda p: -len(p.things))


def of_obstacles(obstacles: Sequence[Obstacle]) -> list[Place[Obstacle]]:
    """Obstacles by operator."""
    return _places(obstacles, lambda o: o.op_type or "a node")


def of_copy(copy: Copy) -> str:
    return pattern(copy.scope, copy.call or copy.cause_op_type, copy.value)


def of_site(site: Site) -> str:
    return pattern(site.scope, site.call or site.op_type, site.value or site.node)


def pattern(scope: str, call: str, name: str) -> str:
    """`model.layers.*.mlp: chunk`; what there is of it where the exporter recorded less."""
    module = "" if scope == NO_MODULE else layers_as_one(scope)
    text = f"{module}: {call}" if module and call else module or call or layers_as_one(name)
    return visible(text)


def _places(things: Sequence[T], key: Callable[[T], str]) -> list[Place[T]]:
    found: dict[str, list[T]] = {}
    for thing in things:
        found.setdefault(key(thing), []).append(thing)
    return [Place(name, tuple(members)) for name, members in found.items()]
