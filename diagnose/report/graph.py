"""The graph's section of the page: who reads what, types, and where each finding is, as data for its script.

The script folds nodes into their torch modules and draws what is open; so the data are indices into the plan's nodes,
and 5,000 nodes need about 60 kB more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnxfix.nouns.finding import Finding
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.report import Report
from onnxfix.render.markup import section

from .places import groups

SHOWN = 400
"""Nodes that one place of a finding leads to."""


class Nodes:
    """The plan's nodes found again by what a finding says of its site: a node of the file, or a value."""

    def __init__(self, plan: Plan) -> None:
        self._drawn = _is_drawn(plan)
        self._by_name: dict[str, int] = {}
        self._by_value: dict[str, int] = {}
        for index, node in enumerate(plan.nodes if self._drawn else ()):
            for name in (node.name, *node.source):
                self._by_name.setdefault(name, index)
            for value in node.makes:
                self._by_value.setdefault(value, index)

    def of(self, finding: Finding) -> int | None:
        """None where an optimisation left nothing of it, and for what is no node, as an input."""
        found = self._by_name.get(finding.site.node) if finding.site.node else None
        return self._by_value.get(finding.site.value) if found is None else found

    def button(self, findings: Iterable[Finding]) -> str:
        """HTML that leads to these in the graph; empty where there is nothing to lead to."""
        indices = list(dict.fromkeys(i for f in findings if (i := self.of(f)) is not None))[:SHOWN]
        where = ",".join(map(str, indices))
        return f' <button type="button" class="goto" data-goto="{where}">show</button>' if indices else ""


def drawn(plan: Plan) -> str:
    """The section that the script draws into; empty where nobody knows who reads what."""
    if not _is_drawn(plan):
        return ""
    hint = (
        "Modules are folded: click to open one and to close it. Drag to move, Ctrl and the wheel or two fingers to "
        "zoom; a dashed line is a copy, a number the findings inside. Lines to many far places show while you point "
        "at one."
    )
    first, other = (
        f'<button type="button" class="key" data-colour="{name}" aria-pressed="{pressed}">by {name}</button>'
        for name, pressed in (("provider", "true"), ("type", "false"))
    )
    acts = (("in", "+"), ("out", "−"), ("fit", "fit"), ("fold", "fold all"), ("open", "open all"))
    buttons = "".join(f'<button type="button" class="key" data-act="{name}">{label}</button>' for name, label in acts)
    bar = f'<div class="legend graph-bar">{first}{other}<span class="types"></span>{buttons}</div>'
    place = '<div id="graph" tabindex="0" role="group" aria-label="The graph by module"></div>'
    return section("Graph", hint, [bar, place])


def data(report: Report) -> dict[str, object]:
    """Makers by reader, types by node with the table of types, and findings as [code, severity, nodes]."""
    plan = report.plan
    if not _is_drawn(plan):
        return {}
    made: dict[str, int] = {}
    for index, node in enumerate(plan.nodes):
        for value in node.makes:
            made.setdefault(value, index)
    kinds = list(dict.fromkeys(_kind(node.dtype) for node in plan.nodes))
    nodes = Nodes(plan)
    return {
        "reads": [_makers(i, node.reads, made) for i, node in enumerate(plan.nodes)],
        "kinds": kinds,
        "types": [kinds.index(_kind(node.dtype)) for node in plan.nodes],
        "findings": [
            [group.first.code, group.first.severity.value, sorted(_all(group.findings, nodes))]
            for group in groups(report.findings)
        ],
    }


def _makers(reader: int, values: Sequence[str], made: dict[str, int]) -> list[int]:
    return sorted({made[value] for value in values if value in made} - {reader})


def _all(findings: Iterable[Finding], nodes: Nodes) -> set[int]:
    return {index for finding in findings if (index := nodes.of(finding)) is not None}


def _is_drawn(plan: Plan) -> bool:
    return any(node.makes for node in plan.nodes)


def _kind(dtype: str) -> str:
    """`tensor(float16)` → float16; what is no tensor, as a sequence, by its own name."""
    inner = dtype[len("tensor(") : -1] if dtype.startswith("tensor(") else dtype
    return "float32" if inner == "float" else inner or "unknown"
