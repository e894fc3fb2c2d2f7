"""Text for a terminal: the headline, findings by code and scope pattern, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxfix.nouns.report import Report
from onnxfix.render import terminal
from onnxfix.render.terminal import line as _line
from onnxfix.render.words import plural, visible

from . import attentions, headline, tables
from .places import Group, Place, groups

if TYPE_CHECKING:
    from rich.console import Console

    from onnxfix.nouns.finding import Finding

STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
SHOWN, LAYERS, ATTENTIONS = 5, 10, 8
"""Places listed under one finding code and differences of a measurement, layers, and kinds of attention; --format json
has all."""


def show(report: Report, out: Console) -> None:
    """Print the whole report. Lines are wrapped with their indentation at the console's width, commands are not."""
    _headline(report, out)
    if report.against is not None:
        _line(out, 0, headline.against(report.against))
    for group in groups(report.findings):
        _group(group, out)
    if report.against is not None:
        out.print(terminal.table(tables.layers(report.against).first(LAYERS)))
    if report.attentions:
        _attentions(report, out)
    out.print()
    out.print(headline.summary(report))
    for line in headline.gate(report):
        _line(out, 0, line)
    if report.next_step:
        out.print(f"next: {report.next_step}", soft_wrap=True, markup=False)


def _headline(report: Report, out: Console) -> None:
    plan = report.plan
    _line(out, 0, (visible(str(report.model["path"])), "bold"), f"  {headline.file(report)}")
    placement = f"placement on {report.target['provider']}"
    _line(out, 0, placement if plan.engine == "unknown" else f"{placement}, {headline.engine(report)}")
    if plan.load_error:
        _line(out, 2, ("ONNX Runtime does not load this model", "bold red"))
    _line(out, 2, headline.nodes(report))
    copies, graph = headline.memcpy(plan), headline.cuda_graph(plan)
    if copies:
        _line(out, 2, (copies, "bold" if plan.copies else ""))
    if graph:
        _line(out, 2, f"cuda-graph-ready: {graph}")
    if plan.note:
        _line(out, 2, (visible(plan.note), "dim"))
    if plan.differences:
        _line(out, 2, (f"the forecast differs in {plural(len(plan.differences), 'place')}", "yellow"))
        for difference in plan.differences[:SHOWN]:
            _line(out, 4, visible(difference))
        _more(out, 4, len(plan.differences), "difference")
    _line(out, 0, headline.linears(report))


def _group(group: Group, out: Console) -> None:
    first, places = group.first, group.places()
    times = f" × {len(group.findings):,}" if len(group.findings) > 1 else ""
    out.print()
    severity = first.severity.value
    _line(out, 0, (severity, STYLES[severity]), " ", (f"{first.code} {first.name}", "bold"), times)
    for place in places[:SHOWN]:
        _place(place, out, place is places[0])
    _more(out, 2, len(places), "place")
    if first.repair:
        repair = f"  repair ({first.applicability.value}): {first.repair}"
        out.print(repair, style="green", soft_wrap=True, markup=False)


def _attentions(report: Report, out: Console) -> None:
    out.print()
    _line(out, 0, (attentions.TITLE, "bold"), f", as ONNX Runtime {attentions.RELEASE} chooses")
    found = attentions.alike(report.attentions)
    for each in found[:ATTENTIONS]:
        _line(out, 2, (each.title, "cyan"))
        for gpus, choice in each.choices():
            style = terminal.STYLES.get(attentions.style(choice), "")
            _line(out, 4, f"{gpus}: ", (choice.words(), style))
            if why := each.why(choice):
                _line(out, 6, (visible(why), "dim"))
        if least := each.least():
            _line(out, 4, (least, "dim"))
    _more(out, 2, len(found), "group", ATTENTIONS)


def _place(place: Place[Finding], out: Console, example: bool) -> None:
    """A scope pattern with its count; under the first one, one node and what is wrong with it."""
    if place.pattern:
        _line(out, 2, (str(place), "cyan"))
    if not example:
        return
    site = visible(str(place.first.site))
    if len(place.things) > 1:
        _line(out, 4, ("e.g. ", "dim"), site)
    elif site and site != place.pattern:
        _line(out, 4, site)
    _line(out, 4, visible(place.first.message))


def _more(out: Console, indent: int, count: int, noun: str, shown: int = SHOWN) -> None:
    if count > shown:
        _line(out, indent, (f"… and {plural(count - shown, f'more {noun}')} (--format json lists all)", "dim"))
