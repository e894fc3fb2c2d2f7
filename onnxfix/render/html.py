"""HTML: one file with the headline, the findings, the placement strip and its tables; no network, light and dark.

Every name in a model is its author's text: it reaches the page escaped, or as JSON in a data block without `<`. The
page's policy allows the one script and the one style sheet by their hashes, so nothing else could run or load.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import PurePath

from onnxfix.finding import Rule
from onnxfix.report import Report

from . import headline, layers, legend, strip, tables
from .markup import code, data_block, details, section, text
from .places import Group, groups
from .words import plural

SHOWN = 8
"""Places listed open under one finding."""


def page(report: Report, rules: Mapping[str, type[Rule]]) -> str:
    """The whole document. `rules` by code: their documentation stands under the findings."""
    style, script = _asset("page.css"), _asset("page.js")
    name = text(PurePath(str(report.model["path"])).name)
    policy = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'"
    body = [
        f"<header><h1>{name}</h1><p>{text(_subtitle(report))}</p></header>",
        _notices(report),
        _tiles(report),
        legend.drawn(report.plan) if report.plan.nodes else "",
        section("Findings", text(headline.summary(report)), (_group(g, rules) for g in groups(report.findings))),
        layers.html(report.against),
        tables.copies(report.plan),
        tables.off_device(report.plan),
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{name} · onnxfix diagnose</title>\n<style>{style}</style>\n</head>\n<body>\n<main>",
            *(part for part in body if part),
            "</main>",
            _drawing(report, script) if report.plan.nodes else "",
            "</body>\n</html>\n",
        ]
    )


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _drawing(report: Report, script: str) -> str:
    data = data_block(strip.data(report.plan))
    return (
        '<div id="card" role="status" hidden></div>\n'
        f'<script type="application/json" id="plan">{data}</script>\n<script>{script}</script>'
    )


def _subtitle(report: Report) -> str:
    return f"{headline.file(report)} · placement on {report.target['provider']}, {headline.engine(report)}"


def _notices(report: Report) -> str:
    plan = report.plan
    lines = [f"The forecast differs: {d}" for d in plan.differences]
    if plan.note:
        lines.insert(0, plan.note)
    if plan.load_error:
        lines.insert(0, "ONNX Runtime does not load this model: the plan is what its graph asks for as it stands.")
    return "".join(f'<p class="notice">{text(line)}</p>' for line in lines)


def _tiles(report: Report) -> str:
    plan, graph = report.plan, headline.cuda_graph(report.plan)
    cost = headline.traffic(plan.copies)
    worst, *rest = headline.summary(report).split(", ")
    tiles = [("findings", worst, text(", ".join(rest)))]
    if plan.nodes:
        tiles.append(("planned nodes", f"{len(plan.nodes):,}", _shares(report)))
    if headline.memcpy(plan):
        under = f"{cost} {headline.workload(plan)}" if cost else "copies between device and host at every run"
        tiles.append(("Memcpy", f"{len(plan.copies):,}", text(under if plan.copies else "nothing crosses the bus")))
    if graph:
        word, _, why = graph.partition(": ")
        tiles.append(("CUDA graph ready", word, text(f"prevented by {why}" if why else "nothing prevents capture")))
    linears, quantized = report.quantization["linears"], report.quantization["quantized"]
    if linears:
        tiles.append(("linears quantized", f"{quantized} of {linears}", text(headline.flops(report))))
    drawn = (f'<div class="tile"><span>{name}</span><b>{value}</b><p>{under}</p></div>' for name, value, under in tiles)
    return f'<div class="tiles">{"".join(drawn)}</div>'


def _shares(report: Report) -> str:
    """Nodes by provider, and why they are fewer than the file's."""
    parts = [headline.shares(report.plan)]
    if basis := headline.basis(report):
        parts.append(f"{basis} ({headline.number(report.model['nodes']):,} in the file)")
    return "<br>".join(map(text, parts))


def _group(group: Group, rules: Mapping[str, type[Rule]]) -> str:
    first, places = group.first, group.places()
    times = f" × {len(group.findings):,}" if len(group.findings) > 1 else ""
    severity = first.severity.value
    lines = [f"<li>{code(str(place))}</li>" for place in places if place.pattern]
    shown, hidden = "".join(lines[:SHOWN]), "".join(lines[SHOWN:])
    more = details(plural(len(lines) - SHOWN, "more place"), f"<ul>{hidden}</ul>")
    repair = f'<p class="repair">repair ({first.applicability.value}) {code(first.repair)}</p>'
    about = inspect.cleandoc(rules[first.code].__doc__ or "") if first.code in rules else ""
    return (
        f'<article class="finding {severity}"><h3><span class="severity">{severity}</span> '
        f"{code(first.code)} {text(first.name)}{times}</h3>"
        f"<p>{text(first.message)}</p><ul>{shown}</ul>{more if hidden else ''}"
        f"{repair if first.repair else ''}"
        f"{details(f'About {first.code}', _paragraphs(about))}</article>"
    )


def _paragraphs(document: str) -> str:
    """A rule's docstring: paragraphs, and names in backticks."""
    parts = (re.sub("`([^`]+)`", r"<code>\1</code>", text(part)) for part in document.split("\n\n") if part.strip())
    return "".join(f"<p>{part}</p>" for part in parts)
