"""merge: a forecast and what a real session reported, as one plan, with every difference in a sentence.

The session's word counts: who runs a node, what is copied. Reason, scope, source and cause are the forecast's, kept
where both agree. Names may be empty or repeated, so nodes are paired by name and operator, then by operator alone, and
within such a group by provider first: only what counts cannot explain is a difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from onnxfix.nouns.plan import Copy, NodePlacement, Obstacle, Plan

from .log import SessionLog


@dataclass(frozen=True)
class Assigned:
    """One node as the runtime reports it; its name may be empty."""

    provider: str
    name: str
    op_type: str


def merge(forecast: Plan, assigned: Iterable[Assigned], log: SessionLog, error: str) -> Plan:
    """The measured plan. A session that does not load has none: its message, and the forecast's nodes, stand."""
    if error:
        return _not_loaded(forecast, error)
    pairs = _Pairs(list(forecast.nodes), list(assigned)).paired()
    nodes = tuple(node for _, node, _ in pairs if node is not None)
    copies, copy_differences = _copies(forecast.copies, log)
    differences = [text for _, _, text in pairs if text]
    if forecast.load_error or forecast.failures:
        refused = forecast.load_error or f"no provider has a kernel for {', '.join(forecast.failures)}"
        differences.insert(0, f"the real session loads the model; forecast: it does not, {refused}")
    extra = [Obstacle(c.value, "", f"{c.value} is copied") for c in copies if c.cause == _UNEXPLAINED]
    return replace(
        forecast, engine="measured", nodes=nodes, copies=copies, failures=(), load_error="",
        obstacles=None if forecast.obstacles is None else (*forecast.obstacles, *extra),
        differences=(*differences, *copy_differences),
    )  # fmt: skip


def _not_loaded(forecast: Plan, error: str) -> Plan:
    agreed = bool(forecast.load_error or forecast.failures)
    difference = f"the real session does not load the model ({error}); forecast: it does"
    return replace(
        forecast, engine="measured", load_error=error, obstacles=None, differences=() if agreed else (difference,)
    )


_Paired = tuple[int, NodePlacement | None, str]


@dataclass
class _Pairs:
    """Pairs planned with reported nodes, most exact first; what is taken is removed from both lists."""

    planned: list[NodePlacement]
    reported: list[Assigned]
    found: list[_Paired] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.order = {id(node): index for index, node in enumerate(self.planned)}

    def paired(self) -> list[_Paired]:
        """(order in the forecast, node of the measured plan if it is in it, difference if there is one)."""
        self._match(lambda n: (n.name, n.op_type, n.provider))
        # a node that the runtime lists without a name has that of its output in the forecast
        named = Counter((n.name, n.op_type) for n in self.reported)
        self._match(lambda n: ("" if (n.name, n.op_type) not in named else n.name, n.op_type, n.provider))
        self._match(lambda n: (n.name, n.op_type))
        self._match(lambda n: (n.op_type, n.provider))
        self._match(lambda n: n.op_type)
        self.found.extend((self.order[id(n)], None, _only("forecast", n)) for n in self.planned)
        last = len(self.order)
        self.found.extend(
            (last, NodePlacement(n.name, n.op_type, n.provider), _only("session", n)) for n in self.reported
        )
        return sorted(self.found, key=lambda pair: pair[0])

    def _match(self, key: Callable[[NodePlacement | Assigned], Hashable]) -> None:
        waiting: dict[Hashable, list[Assigned]] = {}
        for given in reversed(self.reported):
            waiting.setdefault(key(given), []).append(given)
        left: list[NodePlacement] = []
        for node in self.planned:
            partners = waiting.get(key(node))
            if partners:
                self.found.append((self.order[id(node)], *_merged(node, partners.pop())))
            else:
                left.append(node)
        kept = {id(given) for partners in waiting.values() for given in partners}
        self.planned, self.reported = left, [given for given in self.reported if id(given) in kept]


def _merged(node: NodePlacement, given: Assigned) -> tuple[NodePlacement, str]:
    if node.provider == given.provider:
        return node, ""
    placed = replace(node, provider=given.provider, reason="", lacks_kernel=False)
    return placed, f"{_said(node)} runs on {_short(given.provider)}; forecast: {_short(node.provider)}"


def _only(where: str, node: NodePlacement | Assigned) -> str:
    if where == "forecast":
        return f"{_said(node)} is not in the real session; forecast: {_short(node.provider)}"
    return f"{_said(node)} runs on {_short(node.provider)} in the real session; the forecast does not have it"


_UNEXPLAINED = "the real session copies it; the forecast has no cause for it"


def _copies(planned: tuple[Copy, ...], log: SessionLog) -> tuple[tuple[Copy, ...], Iterator[str]]:
    real = Counter(log.copies)
    kept: list[Copy] = []
    missing: list[Copy] = []
    for copy in planned:
        key = (copy.direction, copy.value)
        (kept if real[key] > 0 else missing).append(copy)
        real[key] -= 1
    extra = [
        Copy(direction, value, "", (), "", "", _UNEXPLAINED, "warning")
        for (direction, value), count in real.items()
        for _ in range(count)
    ]
    return (*kept, *extra), _copy_differences(missing, extra, log)


def _copy_differences(missing: list[Copy], extra: list[Copy], log: SessionLog) -> Iterator[str]:
    for copy in missing:
        yield f"{copy.value} is not copied {_way(copy)} in the real session; the forecast copies it"
    for copy in extra:
        yield f"{copy.value} is copied {_way(copy)} in the real session; the forecast does not copy it"
    if log.memcpy != len(log.copies):
        yield f"the real session counts {log.memcpy} Memcpy nodes and names {len(log.copies)}"


def _way(copy: Copy) -> str:
    return copy.direction.replace("_", " ")


def _said(node: NodePlacement | Assigned) -> str:
    return f"{node.op_type} '{node.name}'" if node.name else f"a nameless {node.op_type}"


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider") or "no provider"
