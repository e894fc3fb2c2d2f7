"""The tables of a bench, each once: a terminal, REPORT.md and the page say them in the same words.

They are of the document, which is `summary.json`'s, so that an earlier bench can be drawn too.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from onnxfix.render.table import DASH, Cell, Column, Line, Table, table

Document = Mapping[str, Any]
Entry = Mapping[str, Any]
"""A variant, a point, a profile or a part of one, as the document has it."""
ASIDE = ("× baseline", "rel. L2")
"""Columns of the variants that only a page has room for, beside the task's own metrics."""
FIGURES = (
    ("p95 ms", "ms_p95", ",.2f"), ("p99 ms", "ms_p99", ",.2f"), ("samples/s", "samples_per_s", ",.1f"),
    ("load s", "load_s", ".2f"), ("J/sample", "joules_per_sample", ".3f"), ("agreement", "agreement", ".2%"),
    ("max abs", "max_abs_logits", ".1e"), ("KL", "kl_logits", ".1e"),
)  # fmt: skip
"""Title, field of a row and format."""
SHARES = {"scope": "torch module", "op_type": "operator", "provider": "provider"}
"""What the time of a profile is divided by, and what that is called."""
BEFORE, AFTER = "before", "after onnxfix"
USUAL = "padded"
"""The way of batching that nobody has to ask for: where no row is of another, none says it."""
WAYS = {USUAL: "as padded by the tokenizer, in data order", "sorted": "the same rows sorted by length"}


def variants(document: Document) -> Table:
    """A row a variant in the order of the bench: what it needs, how it answers, and its verdict."""
    heads, own, gpu = document.get("heads") or [], _own(document), on_device(document)
    columns = [
        Column("variant", least=22), Column("batching"), Column("exporter"), Column("size MB", True),
        Column("ms/sample", True, below="95 %"),
        Column("× baseline", True, below="95 %"), Column("VRAM MB" if gpu else "memory MB", True),
        *(Column(f"{head} F1", True, below=f"{head} F1 − baseline's, 95 %") for head in heads),
        *(Column(name, True) for name in own), Column("rel. L2", True), Column("result", least=28),
    ]  # fmt: skip
    groups = _groups(document)
    lines = (Line(tuple(_variant(row, heads, own)), _style(row, document), group)
             for row, group in zip(document["rows"], groups, strict=True))  # fmt: skip
    found = Table(tuple(columns), tuple(lines))
    return found if {*map(batched, document["rows"])} - {"", USUAL} else found.without("batching")


def brief(document: Document) -> Table:
    """The variants as far as a terminal has room for them."""
    return variants(document).without(*ASIDE, *_own(document))


def intervals(document: Document) -> Table:
    """The rest of what the variants' table has, with its intervals in columns of their own."""
    memory = "VRAM MB" if on_device(document) else "memory MB"
    found = variants(_measured(document)).without("exporter", "size MB", memory, "result")
    return table(found.spread().columns, (line.cells for line in found.spread().lines), "Intervals")


def figures(document: Document) -> Table:
    """Percentiles, throughput, load, energy, and how far the answers are from the reference's."""
    titles = [Column(title, True) for title, _, _ in FIGURES]
    rows = [
        [Cell(called(row, document)), *(number(row.get(name), form) for _, name, form in FIGURES)]
        for row in _measured(document)["rows"]
    ]
    return table(["variant", *titles], rows, "More figures").known()


def how_made(document: Document) -> Table:
    """The command that makes each file, and what it was compared with; empty where no file says so."""
    rows = [row for row in once(document) if row.get("made_by") or row.get("verified")]
    cells = [[r["variant"], Cell(r.get("made_by") or "", code=True), r.get("verified") or ""] for r in rows]
    return table(["variant", "made by", "verified"], cells, "How the files were made")


def sweep(document: Document) -> Table:
    """Milliseconds a sample at every batch size and length."""
    points = document["method"].get("points") or []
    found = {(p["variant"], *_place(p)): p for p in document.get("points") or []}
    rows = [
        [row["variant"], *(_timed(found.get((row["variant"], *_place(p)))) for p in points)] for row in once(document)
    ]
    return table(["variant", *(Column(_point(p), True) for p in points)], rows)


def classes(document: Document) -> list[Table]:
    """F1 of each class, a table a head."""
    found = []
    for head, entries in (document.get("classes") or {}).items():
        names = [row["variant"] for row in once(document) if any(row["variant"] in e["f1"] for e in entries)]
        columns = [Column("class"), Column("rows", True), *(Column(name, True) for name in names)]
        rows = (
            [Cell(str(e["class"])), Cell(f"{e['rows']:,}"), *(number(e["f1"].get(name), ".3f") for name in names)]
            for e in entries
        )
        found.append(table(columns, rows, head))
    return found


def profile_line(found: Entry) -> str:
    """A profile in one line: the time of a batch, the least that this machine's peak rates allow, and the rates."""
    roof = found["roofline"]
    rates = f"{roof['gflops']:,.0f} GFLOP/s, {roof['gbs']:,.1f} GB/s"
    note = f" ({found['note']})" if found.get("note") else ""
    return f"{found['untraced_ms']:.1f} ms a batch, {_bounds(roof['gap']) or DASH} times the bound at {rates}{note}"


def shares(found: Entry, key: str) -> Table:
    """Where the time of a profile goes, by one of SHARES."""
    gaps = {row["scope"]: row["gap"] for row in found["roofline"].get("scopes") or []} if key == "scope" else {}
    rows = (
        (Cell(p["name"], code=key == "scope"), f"{p['ms']:.2f}", f"{p['share']:.1%}", f"{p['count']:,}",
         _bounds(gaps.get(p["name"])))
        for p in found["by"][key]
    )  # fmt: skip
    shown = table([SHARES[key], *(Column(name, True) for name in ("ms", "share", "nodes", "× bound"))], rows)
    return shown if key == "scope" else shown.without("× bound")


def gaps(document: Document) -> Table:
    """How far each profiled variant is from the machine's peak rates."""
    rows = [
        [name, f"{found['untraced_ms']:,.1f}", f"{roof['bound_ms']:,.1f}", _bounds(roof["gap"]),
         f"{roof['flops'] / 1e9:,.1f}", f"{roof['bytes'] / 1e6:,.0f}"]
        for name, found in (document.get("profiles") or {}).items() if "by" in found
        for roof in [found["roofline"]]
    ]  # fmt: skip
    titles = ("ms a batch", "bound ms", "× bound", "GFLOP", "MB moved")
    return table(["variant", *(Column(title, True) for title in titles)], rows)


def machine(document: Document) -> Table:
    return table(["", ""], ([name, str(value)] for name, value in document["machine"].items()), "Machine")


def number(value: float | None, form: str, ends: tuple[float | None, float | None] = (None, None)) -> Cell:
    """A figure, and below it its interval where that has a width; empty where it was not measured."""
    if value is None:
        return Cell()
    low, high = ends
    sided = "+.4f" if form == ".4f" else ".2f"
    between = "" if low is None or high is None or low == high else f"{low:{sided}} … {high:{sided}}"
    return Cell("0" if value == 0 and form.endswith("e") else format(value, form), below=between)


def fastest(document: Document, batching: str = "") -> list[str]:
    """The names of the fastest variants that may be deployed, tied where there are several; of the first way of
    batching, or of one of several."""
    if batching and batching in (ways := document.get("by_batching") or {}):
        return list(ways[batching])
    return list(document.get("fastest") or [document["best"]]) if document["best"] else []


def batchings(document: Document) -> list[str]:
    """Ways of batching, where there are several."""
    ways = list(document.get("by_batching") or {})
    return ways if len(ways) > 1 else []


def once(document: Document) -> list[Entry]:
    """A row a variant: those of the first way of batching."""
    return [row for row in document["rows"] if row.get("batching") == document["rows"][0].get("batching")]


def called(row: Entry, document: Document) -> str:
    """The name of a row: its variant, and which way of batching where there are several."""
    return f"{row['variant']}, {row['batching']}" if batchings(document) else str(row["variant"])


def on_device(document: Document) -> bool:
    """Memory is of a device."""
    return any(row.get("vram_mb") is not None for row in document["rows"])


def memory_mb(row: Entry) -> float:
    return float(row["vram_mb"] if row.get("vram_mb") is not None else row.get("memory_mb") or 0.0)


def _variant(row: Entry, heads: list[str], own: list[str]) -> list[Cell]:
    size, result = number(row.get("size_mb"), ",.1f"), Cell(row["result"])
    name = Cell(row["variant"], below=row.get("note") or "")
    if row["failure"]:
        failed = [Cell("err")] * (3 + len(heads) + len(own) + 1)
        return [name, Cell(batched(row)), Cell(row["exporter"]), size, *failed, result]
    scores = (
        number(row.get(f"f1_{head}"), ".4f", (row.get(f"f1_{head}_low"), row.get(f"f1_{head}_high"))) for head in heads
    )
    return [
        name, Cell(batched(row)), Cell(row["exporter"]), size,
        number(row.get("ms_per_sample"), ",.2f", (row.get("ms_low"), row.get("ms_high"))),
        number(row.get("ratio"), ",.2f", (row.get("ratio_low"), row.get("ratio_high"))),
        number(memory_mb(row), ",.0f"), *scores, *(number(row.get(f"metric_{name}"), ",.4f") for name in own),
        number(row.get("rel_l2_logits"), ".1e"), result,
    ]  # fmt: skip


def batched(row: Entry) -> str:
    """`padded`, `sorted`, and of a model that packs its tokens that it does."""
    return ", ".join(word for word in (row.get("batching"), "packed" if row.get("packed") else "") if word)


def _own(document: Document) -> list[str]:
    """Names of the task's own metrics."""
    found = dict.fromkeys(name for row in document["rows"] for name in row if name.startswith("metric_"))
    return [name.removeprefix("metric_") for name in found]


def _style(row: Entry, document: Document) -> str:
    if row["variant"] in fastest(document, row.get("batching") or ""):
        return "best"
    return "failed" if row["failure"] else "" if row.get("sound") else "flawed"


def _groups(document: Document) -> list[str]:
    """What each row stands under: its way of batching where there are several; else before and after onnxfix,
    where there are both, one behind the other."""
    rows = document["rows"]
    if batchings(document):
        return [WAYS.get(row["batching"], "") for row in rows]
    found = [_side(row) for row in rows]
    return found if [side for side, _ in groupby(filter(None, found))] == [BEFORE, AFTER] else [""] * len(rows)


def _side(row: Entry) -> str:
    if not row["exporter"]:
        return ""
    return AFTER if str(row["exporter"]).endswith("onnxfix") else BEFORE


def _measured(document: Document) -> Document:
    return {**document, "rows": [row for row in document["rows"] if not row["failure"]]}


def _point(point: Entry) -> str:
    how = ", sorted" if point.get("batching") == "sorted" else ""
    return f"{point['batch']} × {point['length']} tokens" if point["length"] else f"batch {point['batch']}{how}"


def _place(point: Entry) -> tuple[Any, ...]:
    """Which point of a sweep a time is of."""
    return point["batch"], point["length"], point.get("batching") == "sorted"


def _timed(point: Entry | None) -> Cell:
    if point is None:
        return Cell()
    if point["failure"]:
        return Cell("err", style="failed", tip=point["failure"])
    return number(point["ms_per_sample"], ",.2f")


def _bounds(gap: float | None) -> str:
    """Far from a bound of microseconds is not worth a figure."""
    return "" if gap is None else f"{gap:.1f}" if gap < 99.95 else "> 100"
