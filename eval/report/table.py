"""The tables of a bench's page: every variant with its verdict, and the times of a sweep."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from onnxfix.render.markup import code, details, section, table, text

from .charts import Document, Row, memory_mb

NOTHING = "–"
FIGURES = (
    ("p95 ms", "ms_p95", ",.2f"), ("p99 ms", "ms_p99", ",.2f"), ("samples/s", "samples_per_s", ",.1f"),
    ("load s", "load_s", ".2f"), ("J/sample", "joules_per_sample", ".3f"), ("agreement", "agreement", ".2%"),
    ("max abs", "max_abs_logits", ".1e"), ("KL", "kl_logits", ".1e"),
)  # fmt: skip
"""Title, field of a row and format."""


def main_table(document: Document, best: Row | None, rules: Collection[str] = ()) -> str:
    """A row a variant in the order of the bench."""
    heads, gpu = document.get("heads") or [], any(row.get("vram_mb") is not None for row in document["rows"])
    own = list(dict.fromkeys(name for row in document["rows"] for name in row if name.startswith("metric_")))
    titles = ["", "variant", "size MB", "ms/sample", "× baseline", "VRAM MB" if gpu else "memory MB"]
    titles += [f"{text(head)} F1" for head in heads] + [text(name.removeprefix("metric_")) for name in own]
    titles += ["rel. L2", "result"]
    rows = [_cells(number, row, heads, own, rules) for number, row in enumerate(document["rows"], start=1)]
    numeric = (0, *range(2, len(titles) - 1))
    marks = [_mark(row, best) for row in document["rows"]]
    hint = f"× baseline is the time by that of {text(document['method']['baseline'])} in the same rounds."
    drawn = f'<div class="variants">{_marked(table(titles, rows, numeric), marks)}</div>'
    return section("Variants", hint, [drawn, more_figures(document), how_made(document)])


def _cells(number: int, row: Row, heads: list[str], own: list[str], rules: Collection[str]) -> list[str]:
    note = text(row.get("note") or "")
    time = _figure(row.get("ms_per_sample"), 2) + _between(row.get("ms_low"), row.get("ms_high"))
    ratio = _figure(row.get("ratio"), 2) + _between(row.get("ratio_low"), row.get("ratio_high"))
    memory = _figure(memory_mb(row), 0) if row.get("ms_per_sample") is not None else NOTHING
    scores = [_scored(row, head) for head in heads]
    error = row.get("rel_l2_logits")
    return [
        f'<a id="row-{number}"></a>{number}',
        f"<b>{text(row['variant'])}</b>" + (f"<p>{note}</p>" if note else ""),
        _figure(row.get("size_mb"), 1),
        time,
        ratio,
        memory,
        *scores,
        *(_figure(row.get(name), 4) for name in own),
        NOTHING if error is None else f"{error:.1e}" if error else "0",
        linked(row["result"], rules),
    ]


def _scored(row: Row, head: str) -> str:
    low, high = row.get(f"f1_{head}_low"), row.get(f"f1_{head}_high")
    return _figure(row.get(f"f1_{head}"), 4) + _between(low, high, signed=True)


def linked(words: str, rules: Collection[str]) -> str:
    """Text in which codes of rules lead to what the page says of them."""
    pieces = re.split(r"\b([A-Z]\d{3})\b", words)
    return "".join(f'<a href="#{p}">{p}</a>' if i % 2 and p in rules else _kept(p) for i, p in enumerate(pieces))


def _kept(words: str) -> str:
    """Text with the blanks at its ends, which `text` takes away."""
    inner = text(words)
    left, right = (" " if words[:1].isspace() else ""), (" " if words[-1:].isspace() and inner else "")
    return f"{left}{inner}{right}"


def more_figures(document: Document) -> str:
    """Percentiles, throughput, load, energy, and how far the answers are from the reference's."""
    rows = [row for row in document["rows"] if not row["failure"]]
    if not rows:
        return ""
    known = [each for each in FIGURES if any(row.get(each[1]) is not None for row in rows)]
    titles = ["variant", *(title for title, _, _ in known)]
    cells = [[text(row["variant"]), *(_formatted(row.get(name), form) for _, name, form in known)] for row in rows]
    return details("More figures", table(titles, cells, tuple(range(1, len(titles)))))


def how_made(document: Document) -> str:
    """The command that makes each file, and what it was compared with; empty where no file says so."""
    rows = [row for row in document["rows"] if row.get("made_by") or row.get("verified")]
    cells = [[text(r["variant"]), code(r.get("made_by") or ""), text(r.get("verified") or NOTHING)] for r in rows]
    return details("How the files were made", table(["variant", "made by", "verified"], cells)) if rows else ""


def _formatted(value: Any, form: str) -> str:
    return NOTHING if value is None else format(value, form)


def sweep_table(document: Document, plots: Iterable[str]) -> str:
    """Times at every batch size and length; empty where there is one."""
    points = document["method"].get("points") or []
    if len(points) < 2:
        return ""
    found = {(p["variant"], p["batch"], p["length"]): p for p in document.get("points") or []}
    rows = [
        [text(row["variant"]), *(_timed(found.get((row["variant"], p["batch"], p["length"]))) for p in points)]
        for row in document["rows"]
        if not row["failure"]
    ]
    titles = ["variant", *(_point(p) for p in points)]
    drawn = table(titles, rows, tuple(range(1, len(titles))))
    plotted = "".join(f'<div class="plot">{plot}</div>' for plot in plots if plot)
    return section("By batch size and length", "Milliseconds a sample.", [plotted, drawn])


def _point(point: Row) -> str:
    return f"{point['batch']} × {point['length']}" if point["length"] else f"batch {point['batch']}"


def _timed(point: Row | None) -> str:
    if point is None:
        return NOTHING
    if point["failure"]:
        return f'<span class="failed" title="{text(point["failure"])}">err</span>'
    return _figure(point["ms_per_sample"], 2)


def _mark(row: Row, best: Row | None) -> str:
    if best is not None and row["variant"] == best["variant"]:
        return "best"
    return "failed" if row["failure"] else "" if row.get("sound") else "flawed"


def _marked(drawn: str, marks: list[str]) -> str:
    """The table with a class on each row of its body, the first of which holds the titles."""
    head, *rows = drawn.split("<tr>")
    body = [f'<tr class="{mark}">' + row for mark, row in zip(["", *marks], rows, strict=True)]
    return head + "".join(body)


def _figure(value: Any, digits: int) -> str:
    return NOTHING if value is None else f"{value:,.{digits}f}"


def _between(low: Any, high: Any, signed: bool = False) -> str:
    """The interval below a figure."""
    if low is None or high is None or low == high:
        return ""
    form = "+.4f" if signed else ".2f"
    return f"<small>{low:{form}} … {high:{form}}</small>"
