"""The text report: like places in one line, no line too long, none with trailing blanks, plurals."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
import rendered_models
from rich.console import Console
from rich.table import Table

from onnxfix.cli import console
from onnxfix.diagnose.report import headline, text
from onnxfix.nouns.plan import Copy
from onnxfix.nouns.report import Report
from onnxfix.render import words


def shown(report: Report, width: int = 120) -> str:
    stream = io.StringIO()
    text.show(report, Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


def test_like_places_are_one_line_with_one_example() -> None:
    lines = shown(rendered_models.report("gated")).splitlines()
    assert lines.count("  3 × model.layers.*.mlp: chunk") == 1
    assert [line for line in lines if "e.g. " in line] == [
        "    e.g. SplitToSequence /model/layers.0/mlp/chunk in model.layers.0.mlp"
    ]


def test_the_headline_counts_what_the_plan_holds() -> None:
    report = rendered_models.report("gated")
    plan = report.plan
    out = shown(report)
    total = sum(c.nbytes or 0 for c in plan.copies)
    assert len(plan.copies) == 6 and total == 6 * 64 * 512 * 8 * 4
    assert f"  6 Memcpy, {words.quantity(total)} and " in out and " a batch of 64 × 512 tokens\n" in out
    assert "  cuda-graph-ready: no: 6 × SplitToSequence\n" in out
    assert f"  {len(plan.nodes)} nodes: 15 on CUDA, 3 on CPU\n" in out


def test_one_node_is_not_nodes() -> None:
    out = shown(rendered_models.report("sound"))
    assert "1 node, opset 20" in out and "  1 node: 1 on CUDA\n  no Memcpy\n  cuda-graph-ready: yes\n" in out
    assert out.endswith("0 errors, 0 warnings, 0 notes\n")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", list(rendered_models.MODELS))
def test_lines_fit_and_end_with_their_text(name: str, width: int) -> None:
    for line in shown(rendered_models.report(name), width).splitlines():
        assert line == line.rstrip()
        assert len(line) <= width or "repair (" in line, "only commands, which people copy, are not wrapped"


def test_names_cannot_steer_the_terminal() -> None:
    out = shown(rendered_models.report("hostile"))
    assert "onerror" in out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", out)


def test_differences_of_a_measurement_and_notes_are_said() -> None:
    report = rendered_models.report("gated")
    differences = tuple(f"node {i} runs elsewhere" for i in range(7))
    plan = replace(report.plan, engine="measured", differences=differences, note="a note", approximate=True)
    out = shown(replace(report, plan=plan))
    assert "measured with ONNX Runtime" in out and "the forecast differs in 7 places" in out
    assert "node 4 runs elsewhere" in out and "node 5 runs" not in out and "… and 2 more differences" in out
    assert "a note" in out and "after an approximation of ONNX Runtime's basic optimisations" in out


def test_unknown_sizes_are_a_lower_bound_or_nothing() -> None:
    known = rendered_models.report("gated").plan.copies[0]
    unknown: Copy = replace(known, nbytes=None, milliseconds=None)
    assert headline.traffic([known, unknown]).startswith("at least ")
    assert headline.traffic([unknown]) == ""


@pytest.mark.parametrize(
    ("nbytes", "said"),
    [(1, "1 byte"), (8, "8 bytes"), (999, "999 bytes"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1 MB"),
     (687_865_856, "688 MB"), (38_520_487_936, "38.5 GB"), (0, "0 bytes")],
)  # fmt: skip
def test_bytes_have_three_digits(nbytes: int, said: str) -> None:
    assert words.quantity(nbytes) == said


@pytest.mark.parametrize(("ms", "said"), [(0.01, "10 µs"), (3.3654, "3.4 ms"), (963.0, "963 ms"), (1926.0, "1.9 s")])
def test_times_have_their_unit(ms: float, said: str) -> None:
    assert words.duration(ms) == said


def test_piped_tables_have_no_trailing_blanks() -> None:
    stream = io.StringIO()
    table = Table("a", "b", box=None)
    table.add_row("long enough to pad the other", "x")
    table.add_row("y", "")
    console.out(stream).print(table)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3 and all(line == line.rstrip() for line in lines)
