"""HTML: one file with the headline, the findings, the placement strip and its tables; no network, light and dark.

Every name in a model is its author's text: it reaches the page escaped, or as JSON in a data block without `<`. The
page's policy allows the one script and the one style sheet by their hashes, so nothing else could run or load.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from onnxfix.nouns.layer_noise import Against
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.report import Report
from onnxfix.nouns.rule import Rule
from onnxfix.nouns.runtime.provider import named
from onnxfix.render.document import about, whole
from onnxfix.render.markup import code, data_block, details, section, table, text
from onnxfix.render.words import plural

from . import attentions, graph, headline, legend, strip, tables
from .places import Group, groups

SHOWN = 8
"""Places listed open under one finding."""


def page(report: Report, rules: Mapping[str, type[Rule]]) -> str:
    """The whole document. `rules` by code: their documentation stands under the findings."""
    name = PurePath(str(report.model["path"])).name
    at_home, nodes = named(str(report.target["provider"])).is_host, graph.Nodes(report.plan)
    body = [
        f"<header><h1>{text(name)}</h1><p>{text(_subtitle(report))}</p></header>",
        _notices(report),
        _tiles(report),
        legend.drawn(report.plan, at_home=at_home) if report.plan.nodes else "",
        graph.drawn(report.plan),
        section("Findings", text(headline.summary(report)), (_group(g, rules, nodes) for g in groups(report.findings))),
        _layers(report.against),
        _attentions(report),
        _copies(report.plan),
        _off_device(report.plan),
    ]
    drawn = bool(report.plan.nodes)
    after = _data(report) if drawn else ""
    return whole(
        f"{name} · onnxfix diagnose",
        ["page.css", "graph.css"],
        body,
        ["page.js", "graph_layout.js", "graph.js"] if drawn else [],
        after,
    )


def _data(report: Report) -> str:
    data = data_block(strip.data(report.plan) | {"graph": graph.data(report)})
    return f'<div id="card" role="status" hidden></div>\n<script type="application/json" id="plan">{data}</script>'


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


def _group(group: Group, rules: Mapping[str, type[Rule]], nodes: graph.Nodes) -> str:
    first, places = group.first, group.places()
    times = f" × {len(group.findings):,}" if len(group.findings) > 1 else ""
    severity = first.severity.value
    lines = [f"<li>{code(str(place))}{nodes.button(place.things)}</li>" for place in places if place.pattern]
    shown, hidden = "".join(lines[:SHOWN]), "".join(lines[SHOWN:])
    more = details(plural(len(lines) - SHOWN, "more place"), f"<ul>{hidden}</ul>")
    repair = f'<p class="repair">repair ({first.applicability.value}) {code(first.repair)}</p>'
    more_about = about(rules[first.code]) if first.code in rules else ""
    return (
        f'<article class="finding {severity}"><h3><span class="severity">{severity}</span> '
        f"{code(first.code)} {text(first.name)}{times}</h3>"
        f"<p>{text(first.message)}</p><ul>{shown}</ul>{more if hidden else ''}"
        f"{repair if first.repair else ''}"
        f"{details(f'About {first.code}', more_about)}</article>"
    )


def _layers(against: Against | None) -> str:
    """Empty where nothing was measured."""
    if against is None or not against.layers:
        return ""
    hint = "In dB, of the float result over the difference: own, with float inputs, and as the model runs. "
    drawn = table(tables.layers(against))
    return section("What quantization loses, layer by layer", text(hint + headline.against(against)), [drawn])


def _attentions(report: Report) -> str:
    if not report.attentions:
        return ""
    return section(attentions.TITLE, text(attentions.HINT), [table(attentions.attentions(report.attentions))])


def _copies(plan: Plan) -> str:
    if not plan.copies:
        return ""
    where = "Bytes and PCIe times are estimates " + headline.workload(plan).replace("a batch", "for a batch", 1) + "."
    each = details(f"{plural(len(plan.copies), 'copy')}, one by one", table(tables.copies(plan)))
    return section("Copies", where, [table(tables.causes(plan)), each])


def _off_device(plan: Plan) -> str:
    each = tables.nodes(plan)
    if not each.lines:
        return ""
    hint = "Shape arithmetic belongs on the host; an operator that only lacks a kernel does not."
    folded = details(f"{plural(len(each.lines), 'node')}, one by one", table(each))
    return section("Nodes that fall back", hint, [table(tables.off_device(plan)), folded])
