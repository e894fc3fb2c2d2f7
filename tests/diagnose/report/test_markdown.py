"""The pull request comment: whole tables, names that stay names, never too long for GitHub."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import rendered_models

from onnxfix.diagnose.report import markdown
from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.plan import NodePlacement, Plan
from onnxfix.nouns.site import Site
from onnxfix.render import words


def tables(comment: str) -> list[list[str]]:
    """Runs of lines that begin with a bar."""
    blocks = re.findall(r"(?:^\|.*\n?)+", comment, re.MULTILINE)
    return [block.splitlines() for block in blocks]


@pytest.mark.parametrize("name", list(rendered_models.MODELS))
def test_every_row_has_the_columns_of_its_head(name: str) -> None:
    comment = markdown.comment(rendered_models.report(name))
    found = tables(comment)
    assert found
    for table in found:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
        assert len(widths) == 1, table
        assert re.fullmatch(r"\|( ---:? \|)+", table[1])


def test_findings_and_copies_are_counted_by_place() -> None:
    report = rendered_models.report("gated")
    comment = markdown.comment(report)
    out = [c for c in report.plan.copies if c.direction == "to_host"]
    size = words.quantity(sum(c.nbytes or 0 for c in out))
    time = words.duration(sum(c.milliseconds or 0.0 for c in out))
    assert "| ❌ error | K001 sequence-op-copies | 3 | `3 × model.layers.*.mlp: chunk` |" in comment
    assert f"| `3 × model.layers.*.mlp: chunk` | to host | {size} | {time} |" in comment
    assert comment.count("<details>") == comment.count("</details>") == 2


def test_names_are_neither_markup_nor_mentions() -> None:
    comment = markdown.comment(rendered_models.report("hostile"))
    assert "onerror" in comment
    outside = re.sub(r"(?<!\\)(`+)(?!`).*?(?<!`)\1(?!`)", "", comment)
    assert not re.search(r"(?<!\\)<(?!/?(details|summary)>|!-- -->)", outside)
    assert "@all" not in outside


def test_a_code_span_holds_backticks() -> None:
    assert markdown.code("a`b") == "``a`b``"
    assert markdown.code("`a") == "`` `a ``"
    assert markdown.code("a\nb") == "`a b`"


def test_a_huge_report_stays_below_githubs_limit() -> None:
    report = rendered_models.report("gated")
    long = "/model/" + "a_very_long_module_name/" * 20
    findings = tuple(
        Finding(f"K{code:03}", "like-others", Severity.ERROR, Site(f"{long}{i}", "MatMul", f"{long}{i}"), f"{long} *")
        for code in range(15)
        for i in range(100)
    )
    nodes = tuple(NodePlacement(f"n{i}", "Add", "CPUExecutionProvider", long, f"{long}{i}") for i in range(3000))
    comment = markdown.comment(replace(report, findings=findings, plan=Plan("forecast", nodes)))
    assert len(comment) < 65_536 and "… and 95 more places" in comment
