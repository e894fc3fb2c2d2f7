"""The lower parts of a bench's page: classes, where time goes, and where each file's nodes run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from onnxfix.nouns.runtime.provider import placed_on
from onnxfix.render.markup import code, details, section, table, text
from onnxfix.render.words import plural

from . import profile_charts
from .charts import Document, Row

WIDE, HIGH = 1000.0, 22.0
PLOTS = (("scope", "torch module"), ("op_type", "operator"), ("provider", "provider"))


def classes(document: Document) -> str:
    """F1 of each class, a table a head."""
    drawn = []
    for head, entries in (document.get("classes") or {}).items():
        names = [row["variant"] for row in document["rows"] if any(row["variant"] in e["f1"] for e in entries)]
        rows = [
            [text(str(entry["class"])), f"{entry['rows']:,}", *(_score(entry["f1"].get(name)) for name in names)]
            for entry in entries
        ]
        titles = ["class", "rows", *(text(name) for name in names)]
        shown = table(titles, rows, tuple(range(1, len(titles))))
        drawn.append(details(f"{text(head)}: {plural(len(entries), 'class')}", shown))
    return section("F1 by class", "Of every head; the spread over classes hides in their mean.", drawn) if drawn else ""


def profiles(document: Document) -> str:
    """Plots of where a batch's time goes, and how far each variant is from the machine's peak rates."""
    found: dict[str, Row] = {n: p for n, p in (document.get("profiles") or {}).items() if "by" in p}
    if not found:
        return ""
    layers = profile_charts.layers(document)
    plots = [f'<h3>By layer</h3><div class="plot">{layers}</div>' if layers else ""]
    plots += [
        f'<h3>By {words}</h3><div class="plot">{drawn}</div>'
        for key, words in PLOTS
        if (drawn := profile_charts.shares(document, key))
    ]
    titles = ["variant", "ms a batch", "bound ms", "× bound", "GFLOP", "MB moved"]
    rows = [[text(name), *_gap(each)] for name, each in found.items()]
    roof = next(iter(found.values()))["roofline"]
    hint = (
        "ONNX Runtime's own profile of the first timed batch. The bound is what its multiplications and bytes take at "
        f"this machine's measured peak rates, {roof['gflops']:,.0f} GFLOP/s and {roof['gbs']:,.1f} GB/s."
    )
    layered = [details(f"Modules of {text(name)}", _modules(each)) for name, each in found.items()]
    return section("Where the time goes", hint, [*plots, table(titles, rows, (1, 2, 3, 4, 5)), *layered])


def _gap(found: Row) -> list[str]:
    roof = found["roofline"]
    return [
        f"{found['untraced_ms']:,.1f}", f"{roof['bound_ms']:,.1f}", _times(roof["gap"]), f"{roof['flops'] / 1e9:,.1f}",
        f"{roof['bytes'] / 1e6:,.0f}",
    ]  # fmt: skip


def _times(gap: float | None) -> str:
    """Far from a bound of microseconds is not worth a figure."""
    return "–" if gap is None else f"{gap:.1f}" if gap < 99.95 else "> 100"


def _modules(found: Row) -> str:
    gaps = {row["scope"]: row["gap"] for row in found["roofline"].get("scopes") or []}
    rows = [
        [code(p["name"] or "–"), f"{p['ms']:.2f}", f"{p['share']:.1%}", f"{p['count']:,}",
         _times(gaps.get(p["name"]))]
        for p in found["by"]["scope"]
    ]  # fmt: skip
    return table(["torch module", "ms", "share", "nodes", "× bound"], rows, (1, 2, 3, 4))


def placements(document: Document) -> str:
    """A strip a file: its nodes in execution order by provider, copies between, and the findings."""
    found = document.get("diagnoses") or {}
    numbers = {row["variant"]: number for number, row in enumerate(document["rows"], start=1)}
    drawn = [_placement(name, numbers.get(name, 0), each) for name, each in found.items()]
    kinds = {(at.label, at.name) for each in found.values() for run in each["runs"] for at in [placed_on(run[0])]}
    keys = "".join(
        f'<span class="key"><i class="cell {name}"></i>{text(label)}</span>' for label, name in sorted(kinds)
    )
    if any(run[2] for each in found.values() for run in each["runs"]):
        keys += '<span class="key"><i class="tick"></i>copies between device and host</span>'
    hint = "Nodes in the order in which ONNX Runtime runs them, by provider, as forecast from the graph."
    return section("Placement", hint, [f'<div class="legend">{keys}</div>', *drawn]) if drawn else ""


def _placement(name: str, number: int, found: Row) -> str:
    shares = ", ".join(f"{count:,} on {placed_on(each).label}" for each, count in found["providers"].items())
    said = f"{found['target'].upper()}: {shares or 'does not load'}; {found['memcpy']:,} Memcpy"
    findings = "".join(_finding(f) for f in found["findings"])
    below = f"<ul>{findings}</ul>" if findings else ""
    place = f'<a href="#row-{number}">{number}</a> ' if number else ""
    head = f"<h3>{place}{text(name)}</h3><p>{text(said)}</p>"
    return f'<article class="placement">{head}{_strip(found["runs"])}{below}</article>'


def _finding(found: Row) -> str:
    times = f" × {found['count']:,}" if found["count"] > 1 else ""
    repair = f" {code(found['repair'])}" if found.get("repair") else ""
    return (
        f'<li class="{text(found["severity"])}"><a class="severity" href="#{text(found["code"])}">{text(found["code"])}'
        f"</a> {text(found['name'])}{times}: {text(found['message'])}{repair}</li>"
    )


def _strip(runs: Sequence[Sequence[Any]]) -> str:
    """Runs of nodes to scale; a tick where copies stand, longer with more of them."""
    total = sum(run[1] for run in runs)
    if not total:
        return ""
    at, bars, ticks = 0.0, [], []
    for name, count, copies in runs:
        wide = WIDE * count / total
        runs_on = placed_on(name)
        label = f"{plural(count, 'node')} on {runs_on.label}"
        bars.append(
            f'<rect class="{runs_on.name}" x="{at:.2f}" y="8" width="{wide:.2f}" height="14">'
            f"<title>{text(label)}</title></rect>"
        )
        if copies:
            ticks.append(
                f'<rect class="tick" x="{max(0.0, at - 1):.2f}" y="0" width="2" height="22">'
                f"<title>{copies} Memcpy</title></rect>"
            )
        at += wide
    return (
        f'<svg class="runs" viewBox="0 0 {WIDE:.0f} {HIGH:.0f}" preserveAspectRatio="none" role="img" '
        f'aria-label="{plural(total, "node")} in execution order">{"".join(bars + ticks)}</svg>'
    )


def sentences(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return section(title, "", [f'<ul class="sentences">{items}</ul>']) if items else ""


def machine(document: Document) -> str:
    rows = [[text(name), text(str(value))] for name, value in document["machine"].items()]
    return section("Machine", "", [table(["", ""], rows)]) if rows else ""


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
