"""Markdown for a pull request comment: headline, findings and the costliest copies as tables, the rest folded away.

Names stand in code spans, where neither markup nor `@name` means anything; GitHub refuses a comment beyond 65,536
characters, so long lists are cut and say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from onnxfix.nouns.plan import Plan
from onnxfix.nouns.report import Report
from onnxfix.render import markdown
from onnxfix.render.markdown import code, plain
from onnxfix.render.table import DASH, Table, table
from onnxfix.render.words import plural

from . import attentions, headline, tables
from .places import Group, groups

PLACES, COPIES, LAYERS, NODES = 5, 10, 10, 20
"""Most places of a finding, causes of copies, quantized layers, and places of nodes off the device."""
NAME, SENTENCE = 160, 300
"""Most characters of one name, and of one message: some exporters write whole module paths into each name."""
MARKS = {"error": "❌", "warning": "⚠️", "note": "ℹ️"}


def comment(report: Report) -> str:
    """The whole comment."""
    found = groups(report.findings)
    parts = [
        f"### onnxfix: {code(PurePath(str(report.model['path'])).name, NAME)} on {report.target['provider']}: "
        + headline.summary(report),
        _headline(report),
        "\n".join(f"* {line}" for line in headline.gate(report)),
        _notices(report.plan),
        _findings(found),
        _layers(report),
        _copies(report.plan),
        _details("Every finding by place", _by_place(found)) if found else "",
        _details("Nodes that fall back", _off_device(report.plan)),
        _details(attentions.TITLE, _attentions(report)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(report: Report) -> str:
    plan = report.plan
    rows = [
        ("model", headline.file(report)),
        ("placement", f"{headline.engine(report)}: {headline.nodes(report)}"),
        ("copies", headline.memcpy(plan)),
        ("cuda-graph-ready", headline.cuda_graph(plan)),
        ("linears", headline.linears(report).removeprefix("linears: ")),
    ]
    return _table(table(("", ""), [row for row in rows if row[1]]))


def _notices(plan: Plan) -> str:
    lines = ["ONNX Runtime does not load this model."] * bool(plan.load_error)
    lines += [plan.note] * bool(plan.note)
    lines += [f"The forecast differs: {d}" for d in plan.differences[:PLACES]]
    return "\n".join(f"> {plain(line, SENTENCE)}\n>" for line in lines).removesuffix("\n>")


def _findings(found: Sequence[Group]) -> str:
    if not found:
        return "Nothing found."
    rows = []
    for group in found:
        first, places = group.first, group.places()
        more = f" and {plural(len(places) - 1, 'more place')}" if len(places) > 1 else ""
        where = code(str(places[0]), NAME) + more
        rows.append((
            f"{MARKS[first.severity.value]} {first.severity.value}", f"{first.code} {first.name}",
            f"{len(group.findings):,}", where, code(first.repair) or DASH,
        ))  # fmt: skip
    return markdown.grid(("", "finding", "count", "where", "repair"), rows)


def _layers(report: Report) -> str:
    if report.against is None or not report.against.layers:
        return ""
    title = f"**What quantization loses**, {plain(headline.against(report.against), SENTENCE)}:"
    return f"{title}\n\n" + _table(tables.layers(report.against), LAYERS)


def _copies(plan: Plan) -> str:
    """The causes that move the most bytes."""
    if not plan.copies:
        return ""
    title = f"**Copies between device and host**, {headline.workload(plan)}:"
    return f"{title}\n\n" + _table(tables.causes(plan), COPIES)


def _by_place(found: Sequence[Group]) -> str:
    parts = []
    for group in found:
        places = group.places()
        lines = [f"**{group.first.code} {group.first.name}**", ""]
        lines += [f"* {code(str(p), NAME)}: {plain(p.first.message, SENTENCE)}" for p in places[:PLACES]]
        parts.append("\n".join(lines) + _rest(len(places), PLACES))
    return "\n\n".join(parts)


def _off_device(plan: Plan) -> str:
    shown = tables.off_device(plan)
    return _table(shown, NODES) if shown.lines else ""


def _attentions(report: Report) -> str:
    return _table(attentions.attentions(report.attentions), NODES) if report.attentions else ""


def _table(shown: Table, most: int = PLACES) -> str:
    return markdown.table(shown.first(most), NAME, SENTENCE) + _rest(len(shown.lines), most)


def _rest(count: int, shown: int) -> str:
    return f"\n\n… and {plural(count - shown, 'more place')} (`--format json` lists all)" if count > shown else ""


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>" if body else ""
