"""The parts of a bench's page: its tables, where time goes, and where each file's nodes run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from onnxfix.nouns.runtime.provider import named, placed_on
from onnxfix.render.markup import code, details, section, table, text
from onnxfix.render.words import plural

from . import contents, profile_charts
from .contents import Document, Entry

WIDE, HIGH = 1000.0, 22.0


def variants(document: Document, rules: Collection[str]) -> str:
    """Every variant with its verdict, more of its figures, and how it was made."""
    shown = contents.variants(document).without("exporter")
    hint = f"× baseline is the time by that of {text(document['method']['baseline'])} in the same rounds."
    more = (contents.figures(document), contents.how_made(document))
    folded = (details(each.title, table(each)) for each in more if each.lines)
    return section("Variants", hint, [f'<div class="variants">{table(shown, rules, True)}</div>', *folded])


def sweep(document: Document, plots: Iterable[str]) -> str:
    """Times at every batch size and length; empty where there is one."""
    if len(document["method"].get("points") or []) < 2:
        return ""
    plotted = "".join(f'<div class="plot">{plot}</div>' for plot in plots if plot)
    return section("By batch size and length", "Milliseconds a sample.", [plotted, table(contents.sweep(document))])


def classes(document: Document) -> str:
    """F1 of each class, a table a head."""
    drawn = [
        details(f"{text(shown.title)}: {len(shown.lines):,} class{'es' * (len(shown.lines) != 1)}", table(shown))
        for shown in contents.classes(document)
    ]
    return section("F1 by class", "Of every head; the spread over classes hides in their mean.", drawn) if drawn else ""


def profiles(document: Document) -> str:
    """Plots of where a batch's time goes, and how far each variant is from the machine's peak rates."""
    found: dict[str, Entry] = {n: p for n, p in (document.get("profiles") or {}).items() if "by" in p}
    if not found:
        return ""
    layers = profile_charts.layers(document)
    plots = [f'<h3>By layer</h3><div class="plot">{layers}</div>' if layers else ""]
    plots += [
        f'<h3>By {words}</h3><div class="plot">{drawn}</div>'
        for key, words in contents.SHARES.items()
        if (drawn := profile_charts.shares(document, key))
    ]
    roof = next(iter(found.values()))["roofline"]
    hint = (
        "ONNX Runtime's own profile of the first timed batch. The bound is what its multiplications and bytes take at "
        f"this machine's measured peak rates, {roof['gflops']:,.0f} GFLOP/s and {roof['gbs']:,.1f} GB/s."
    )
    modules = [details(f"Modules of {text(n)}", table(contents.shares(each, "scope"))) for n, each in found.items()]
    return section("Where the time goes", hint, [*plots, table(contents.gaps(document)), *modules])


def placements(document: Document) -> str:
    """A strip a file: its nodes in execution order by provider, copies between, and the findings."""
    found = document.get("diagnoses") or {}
    numbers = {row["variant"]: number for number, row in enumerate(contents.once(document), start=1)}
    drawn = [_placement(name, numbers.get(name, 0), each) for name, each in found.items()]
    kinds = {(at.label, at.name) for each in found.values() for run in each["runs"] for at in [placed_on(run[0])]}
    keys = "".join(
        f'<span class="key"><i class="cell {name}"></i>{text(label)}</span>' for label, name in sorted(kinds)
    )
    if any(run[2] for each in found.values() for run in each["runs"]):
        keys += '<span class="key"><i class="tick"></i>copies between device and host</span>'
    hint = "Nodes in the order in which ONNX Runtime runs them, by provider, as forecast from the graph."
    classes = "legend at-home" if all(named(each["target"]).is_host for each in found.values()) else "legend"
    return section("Placement", hint, [f'<div class="{classes}">{keys}</div>', *drawn]) if drawn else ""


def _placement(name: str, number: int, found: Entry) -> str:
    shares = ", ".join(f"{count:,} on {placed_on(each).label}" for each, count in found["providers"].items())
    said = f"{found['target'].upper()}: {shares or 'does not load'}; {found['memcpy']:,} Memcpy"
    findings = "".join(_finding(f) for f in found["findings"])
    below = f"<ul>{findings}</ul>" if findings else ""
    place = f'<a href="#row-{number}">{number}</a> ' if number else ""
    head = f"<h3>{place}{text(name)}</h3><p>{text(said)}</p>"
    return f'<article class="placement">{head}{_strip(found["runs"])}{below}</article>'


def _finding(found: Entry) -> str:
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
    shown = contents.machine(document)
    return section(shown.title, "", [table(shown)]) if shown.lines else ""
