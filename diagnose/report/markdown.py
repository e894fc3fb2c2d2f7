"""Markdown for a pull request comment: headline, findings and the costliest copies as tables, the rest folded away.

Names stand in code spans, where neither markup nor `@name` means anything; GitHub refuses a comment beyond 65,536
characters, so long lists are cut and say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from onnxfix.nouns.plan import Copy, Plan
from onnxfix.nouns.report import Report
from onnxfix.nouns.runtime.provider import placed_on
from onnxfix.render.words import duration, plural, quantity, visible

from . import headline, layers
from .places import Group, groups, of_copies, of_nodes

PLACES, COPIES, NODES = 5, 10, 20
"""Most places of a finding, causes of copies, and places of nodes off the device."""
NAME, SENTENCE = 160, 300
"""Most characters of one name, and of one message: some exporters write whole module paths into each name."""
MARKS = {"error": "❌", "warning": "⚠️", "note": "ℹ️"}


def comment(report: Report) -> str:
    """The whole comment."""
    found = groups(report.findings)
    parts = [
        f"### onnxfix: {code(PurePath(str(report.model['path'])).name)} on {report.target['provider']}: "
        + headline.summary(report),
        _headline(report),
        _notices(report.plan),
        _findings(found),
        _layers(report),
        _copies(report.plan),
        _details("Every finding by place", _by_place(found)) if found else "",
        _details("Nodes that fall back", _off_device(report.plan)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def code(text: str) -> str:
    """A code span, its backticks fenced by more of them; empty for an empty text."""
    name = _cut(visible(text), NAME)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", name)), default=0))
    space = " " if name.startswith("`") or name.endswith("`") else ""
    return f"{fence}{space}{name}{space}{fence}" if name else ""


def plain(text: str) -> str:
    """Text that markdown and HTML leave alone; the comment after `@` keeps it from calling anyone."""
    escaped = re.sub(r"([\\`*_\[\]<>~])", r"\\\1", _cut(visible(text), SENTENCE).replace("&", "&amp;"))
    return escaped.replace("@", "@<!-- -->")


def _headline(report: Report) -> str:
    plan = report.plan
    rows = [
        ("model", headline.file(report)),
        ("placement", f"{headline.engine(report)}: {headline.nodes(report)}"),
        ("copies", headline.memcpy(plan)),
        ("cuda-graph-ready", headline.cuda_graph(plan)),
        ("linears", headline.linears(report).removeprefix("linears: ")),
    ]
    return _table(("", ""), [(name, plain(text)) for name, text in rows if text])


def _notices(plan: Plan) -> str:
    lines = ["ONNX Runtime does not load this model."] * bool(plan.load_error)
    lines += [plan.note] * bool(plan.note)
    lines += [f"The forecast differs: {d}" for d in plan.differences[:PLACES]]
    return "\n".join(f"> {plain(line)}\n>" for line in lines).removesuffix("\n>")


def _findings(found: Sequence[Group]) -> str:
    if not found:
        return "Nothing found."
    rows = []
    for group in found:
        first, places = group.first, group.places()
        more = f" and {plural(len(places) - 1, 'more place')}" if len(places) > 1 else ""
        where = code(str(places[0])) + more
        rows.append((
            f"{MARKS[first.severity.value]} {first.severity.value}", f"{first.code} {first.name}",
            f"{len(group.findings):,}", where, code(first.repair),
        ))  # fmt: skip
    return _table(("", "finding", "count", "where", "repair"), rows)


def _layers(report: Report) -> str:
    if report.against is None or not report.against.layers:
        return ""
    rows = [(code(name), *map(plain, rest)) for name, *rest in map(layers.row, report.against.layers[: layers.SHOWN])]
    title = f"**What quantization loses**, {plain(layers.sentence(report.against))}:"
    return f"{title}\n\n" + _table(layers.HEADS, rows) + _rest(report.against.layers, layers.SHOWN)


def _copies(plan: Plan) -> str:
    """The causes that move the most bytes."""
    if not plan.copies:
        return ""
    places = of_copies(plan.copies)
    rows = [(code(str(p)), _direction(p.first), *_cost(p.things), plain(p.first.cause)) for p in places[:COPIES]]
    title = f"**Copies between device and host**, {headline.workload(plan)}:"
    return f"{title}\n\n" + _table(("cause", "direction", "bytes", "time", "why"), rows) + _rest(places, COPIES)


def _cost(copies: Sequence[Copy]) -> tuple[str, str]:
    sizes = [c.nbytes for c in copies if c.nbytes is not None]
    times = [c.milliseconds for c in copies if c.milliseconds is not None]
    return quantity(sum(sizes)) if sizes else "", duration(sum(times)) if times else ""


def _direction(copy: Copy) -> str:
    return copy.direction.replace("_", " ")


def _by_place(found: Sequence[Group]) -> str:
    parts = []
    for group in found:
        places = group.places()
        lines = [f"**{group.first.code} {group.first.name}**", ""]
        lines += [f"* {code(str(p))}: {plain(p.first.message)}" for p in places[:PLACES]]
        parts.append("\n".join(lines) + _rest(places, PLACES))
    return "\n\n".join(parts)


def _off_device(plan: Plan) -> str:
    places = of_nodes(n for n in plan.nodes if n.reason or not n.provider)
    rows = [(code(str(p)), plain(placed_on(p.first.provider).label), plain(p.first.reason)) for p in places[:NODES]]
    return _table(("node", "on", "why"), rows) + _rest(places, NODES) if rows else ""


def _rest(places: Sequence[object], shown: int) -> str:
    if len(places) <= shown:
        return ""
    return f"\n\n… and {plural(len(places) - shown, 'more place')} (`--format json` lists all)"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>" if body else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Bars inside cells are escaped, which GitHub undoes before it reads code spans."""
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
