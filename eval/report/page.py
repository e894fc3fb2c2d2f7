"""The page of a bench: which variant to deploy, how the others compare, and why; one file, no script, no network.

The document is `summary.json`'s, so that a page can be drawn of an earlier bench too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxfix.nouns.rule import Rule
from onnxfix.render.document import about, whole
from onnxfix.render.markup import code, details, section, text
from onnxfix.render.table import DASH
from onnxfix.render.words import listed, plural

from . import charts, pareto, parts
from .charts import measured
from .contents import Document, Entry, batchings, fastest, memory_mb, on_device, once


def page(document: Document, method: Sequence[str], rules: Mapping[str, type[Rule]]) -> str:
    """The whole page. `method`: how it was measured, in sentences; `rules` by code: their documentation stands last."""
    best = next((row for row in document["rows"] if row["variant"] == document["best"]), None)
    title = listed(fastest(document)) or "No variant is to be deployed"
    body = [
        f"<header><h1>{text(title)}</h1><p>{text(_subtitle(document, best))}</p></header>",
        _tiles(document, best),
        _worse(document),
        _plot(
            "Time against quality",
            f"Numbers are those of the table below{_of_which(document)}, the area of a bubble is memory. Pale variants "
            "are not to be deployed; by their medians none beats those on the line in both.",
            pareto.pareto(document),
            _kinds(document),
        ),
        parts.variants(document, _codes(document, rules)),
        _plot(
            "Time by the baseline's", "With 95 % bootstrap intervals, on a logarithmic axis.", charts.ratios(document)
        ),
        parts.sweep(document, [charts.lines(document, "length"), charts.lines(document, "batch")]),
        _plot("Memory and size", "Peak memory of the variant alone, and its file or weights.", charts.memory(document)),
        parts.classes(document),
        parts.profiles(document),
        parts.placements(document),
        _rules(document, rules),
        parts.sentences("How it was measured", method),
        parts.machine(document),
        parts.sentences("Notes", document.get("notes") or []),
    ]
    return whole("onnxfix bench", ["page.css", "bench_page.css"], body)


def _of_which(document: Document) -> str:
    ways = batchings(document)
    return f", of {ways[0]} rows" if ways else ""


def _subtitle(document: Document, best: Entry | None) -> str:
    rows, method = once(document), document["method"]
    where = f"{plural(len(rows), 'variant')} on {method['workload']}, {method['provider'].upper()}"
    if best is None:
        return f"{where}: each failed, has a defect, or answers otherwise than {method['reference']}"
    if len(fastest(document)) == 1:
        return f"the fastest sound variant that none dominates, of {where}"
    return f"tied: nothing shows which of these sound variants is the fastest, of {where}"


def _tiles(document: Document, best: Entry | None) -> str:
    rows = once(document)
    tiles = _of_best(document, best) if best else []
    tiles += _of_others(document)
    failed, sound = sum(bool(row["failure"]) for row in rows), sum(bool(row.get("sound")) for row in rows)
    flawed = len(rows) - failed - sound
    under = ", ".join(
        f"{count} {words}" for count, words in ((failed, "failed"), (flawed, "with a defect or wrong answers")) if count
    )
    tiles.append(("sound variants", f"{sound} of {len(rows)}", text(under)))
    drawn = (f'<div class="tile"><span>{name}</span><b>{value}</b><p>{below}</p></div>' for name, value, below in tiles)
    return f'<div class="tiles">{"".join(drawn)}</div>'


def _of_others(document: Document) -> list[tuple[str, str, str]]:
    """The fastest of the other ways of batching."""
    found = []
    for way in batchings(document)[1:]:
        names = fastest(document, way)
        row = next((r for r in document["rows"] if names and (r["variant"], r["batching"]) == (names[0], way)), None)
        if row is not None:
            ratio = f", {row['ratio']:.2f} of the baseline's" if row.get("ratio") is not None else ""
            under = f"{text(listed(names))}{ratio} with its rows {way}, too"
            found.append((f"ms/sample, rows {way}", f"{row['ms_per_sample']:.3g}", under))
    return found


def _of_best(document: Document, best: Entry) -> list[tuple[str, str, str]]:
    baseline, what = document["method"]["baseline"], "all timed batches" if batchings(document) else "the median batch"
    of = f" of {text(best['variant'])}" if len(fastest(document)) > 1 else ""
    tiles = [
        (
            "ms/sample",
            f"{best['ms_per_sample']:.3g}",
            f"{what}{of}; {best['samples_per_s']:,.0f} samples a second over all",
        )
    ]
    if best.get("ratio") is not None and best["variant"] != baseline:
        low, high = best["ratio_low"], best["ratio_high"]
        tied = ", a tie" if low is not None and low <= 1 <= high else ""
        under = f"95 %: {low:.2f} … {high:.2f}{tied}" if low is not None else ""
        tiles.append((f"time by that of {text(baseline)}", f"{best['ratio']:.2f}", under))
    heads = document.get("heads") or []
    scores = [best.get(f"f1_{head}") for head in heads]
    if any(score is not None for score in scores):
        figures = " / ".join(DASH if score is None else f"{score:.3f}" for score in scores)
        tiles.append(("macro F1", figures, text(", ".join(heads))))
    elif best.get("rel_l2_logits") is not None:
        tiles.append(("error of the outputs", f"{best['rel_l2_logits']:.1e}", "relative L2"))
    what = "VRAM" if on_device(document) else "memory"
    tiles.append((what, f"{memory_mb(best):,.0f} MB", f"{best.get('size_mb') or 0:,.1f} MB on disk"))
    return tiles


def _worse(document: Document) -> str:
    found = document.get("regressions")
    if found is None:
        return ""
    if not found:
        return '<p class="notice">Nothing is worse than it was last time.</p>'
    return "".join(f'<p class="notice">Worse than last time: {text(str(each["sentence"]))}</p>' for each in found)


def _plot(title: str, hint: str, drawn: str, keys: str = "") -> str:
    return section(title, hint, [keys, f'<div class="plot">{drawn}</div>']) if drawn else ""


def _kinds(document: Document) -> str:
    found = dict.fromkeys(row["kind"] for _, row in measured(document))
    # colour as an SVG attribute: the page's Content-Security-Policy allows no inline style
    circle = '<svg class="dot" viewBox="0 0 2 2"><circle cx="1" cy="1" r="1" fill="{}"/></svg>'
    dots = ((circle.format(charts.colour(kind)), kind) for kind in found)
    keys = "".join(f'<span class="key">{dot}{text(kind)}</span>' for dot, kind in dots)
    return f'<div class="legend">{keys}</div>'


def _codes(document: Document, rules: Mapping[str, type[Rule]]) -> dict[str, str]:
    """The names of the findings of all files, by code."""
    found = {f["code"]: f["name"] for each in (document.get("diagnoses") or {}).values() for f in each["findings"]}
    return {code: name for code, name in sorted(found.items()) if code in rules}


def _rules(document: Document, rules: Mapping[str, type[Rule]]) -> str:
    entries = [
        # the id goes inside <details>: browsers open it when a link leads to something in it
        details(f"{code(number)} {text(name)}", f'<div id="{number}">{about(rules[number])}</div>')
        for number, name in _codes(document, rules).items()
    ]
    return section("The findings", "What each means and what repairs it.", entries) if entries else ""
