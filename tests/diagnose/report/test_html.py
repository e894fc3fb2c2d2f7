"""The page in a real browser: every node a cell, every copy an arrow, what they say, and nothing else happens."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import rendered_models
from browser import BINARY, Page

from onnxfix.diagnose.registry import all_rules
from onnxfix.diagnose.report import html, strip
from onnxfix.nouns.plan import Copy, NodePlacement, Plan
from onnxfix.nouns.report import Report
from onnxfix.render import words

IN_BROWSER = pytest.mark.skipif(
    not BINARY, reason="NOT CHECKED: the page needs chromium on PATH (apt-get install chromium)"
)


def opened(browser: Page, report: Report, folder: Path) -> None:
    file = folder / "report.html"
    file.write_text(html.page(report, all_rules()), encoding="utf-8")
    browser.open(file)
    assert browser.complaints() == []
    assert browser.requests() == [file.resolve().as_uri()], "the page loads nothing but itself"


def cells(browser: Page) -> tuple[int, int]:
    found = [browser.evaluate(f"document.querySelectorAll('#strip [data-{kind}]').length") for kind in ("node", "copy")]
    return found[0], found[1]


@IN_BROWSER
@pytest.mark.parametrize("name", list(rendered_models.MODELS))
def test_the_strip_holds_every_node_and_copy(browser: Page, tmp_path: Path, name: str) -> None:
    report = rendered_models.report(name)
    opened(browser, report, tmp_path)
    assert cells(browser) == (len(report.plan.nodes), len(report.plan.copies))
    assert browser.evaluate("document.images.length") == 0
    assert browser.evaluate("document.scripts.length") == (2 if report.plan.nodes else 0)


@IN_BROWSER
def test_rows_are_layers_and_colours_are_providers(browser: Page, tmp_path: Path) -> None:
    opened(browser, rendered_models.report("gated"), tmp_path)
    labels = browser.evaluate("[...document.querySelectorAll('.row:not(.heads) .label')].map(e => e.textContent)")
    assert labels == ["model.layers.0", "model.layers.1", "model.layers.2"]
    row = "[...document.querySelectorAll('.row:not(.heads)')][1].querySelectorAll('.cells > i')"
    drawn = browser.evaluate(f"[...{row}].map(e => e.className)")
    assert drawn[:4] == ["cell cuda", "copy down error", "cell cpu", "copy up error"]
    colours = browser.evaluate(f"[...{row}].map(e => getComputedStyle(e).backgroundColor)")
    assert len({colours[0], colours[1], colours[2]}) == 3


@IN_BROWSER
def test_pointing_at_a_copy_says_value_direction_cause_and_cost(browser: Page, tmp_path: Path) -> None:
    report = rendered_models.report("gated")
    opened(browser, report, tmp_path)
    assert browser.evaluate("document.getElementById('card').hidden")
    for index, copy in enumerate(report.plan.copies[:2]):
        browser.point_at(f"[data-copy='{index}']")
        card = browser.evaluate("document.getElementById('card').innerText")
        assert copy.nbytes is not None and copy.milliseconds is not None
        direction = f"Memcpy {copy.direction.replace('_', ' ')}"
        for said in (direction, copy.value, copy.cause, words.quantity(copy.nbytes), words.duration(copy.milliseconds)):
            assert said in card
    browser.point_at("h1")
    assert browser.evaluate("document.getElementById('card').hidden")


@IN_BROWSER
def test_pointing_at_a_node_says_operator_name_provider_and_reason(browser: Page, tmp_path: Path) -> None:
    report = rendered_models.report("gated")
    opened(browser, report, tmp_path)
    index, node = next((i, n) for i, n in enumerate(report.plan.nodes) if n.lacks_kernel)
    browser.point_at(f"[data-node='{index}']")
    card = browser.evaluate("document.getElementById('card').innerText")
    for said in (node.op_type, node.name, "CPU", node.reason, node.scope):
        assert said in card
    label = browser.evaluate(f"document.querySelector(\"[data-node='{index}']\").getAttribute('aria-label')")
    assert node.name in label and node.reason in label


@IN_BROWSER
def test_touching_works_like_pointing(browser: Page, tmp_path: Path) -> None:
    report = rendered_models.report("gated")
    opened(browser, report, tmp_path)
    browser.touch("[data-copy='1']")
    card = browser.evaluate("document.getElementById('card').innerText")
    assert report.plan.copies[1].value in card and "Memcpy from host" in card
    browser.touch("h1")
    assert browser.evaluate("document.getElementById('card').hidden")


@IN_BROWSER
def test_a_legend_entry_dims_everything_else(browser: Page, tmp_path: Path) -> None:
    report = rendered_models.report("gated")
    opened(browser, report, tmp_path)
    dimmed = "document.querySelectorAll('#strip .dim').length"
    browser.evaluate("document.querySelector(\"[data-only='.cell.cpu']\").click()")
    on_host = sum(n.provider == "CPUExecutionProvider" for n in report.plan.nodes)
    assert browser.evaluate(dimmed) == len(report.plan.nodes) + len(report.plan.copies) - on_host
    browser.evaluate("document.querySelector(\"[data-only='.cell.cpu']\").click()")
    assert browser.evaluate(dimmed) == 0


@IN_BROWSER
def test_the_keyboard_walks_the_strip(browser: Page, tmp_path: Path) -> None:
    opened(browser, rendered_models.report("gated"), tmp_path)
    browser.evaluate("document.querySelector('#strip [tabindex=\"0\"]').focus()")
    first = browser.evaluate("document.getElementById('card').innerText")
    browser.press("ArrowRight")
    second = browser.evaluate("document.getElementById('card').innerText")
    assert first.startswith("Exp") and second.startswith("Memcpy to host")
    browser.press("ArrowDown")
    assert "h1" in browser.evaluate("document.getElementById('card').innerText").split()
    browser.press("Escape")
    assert browser.evaluate("document.getElementById('card').hidden")


@IN_BROWSER
def test_hostile_names_are_shown_as_they_are(browser: Page, tmp_path: Path) -> None:
    report = rendered_models.report("hostile")
    opened(browser, report, tmp_path)
    browser.point_at("[data-node='1']")
    card = browser.evaluate("document.getElementById('card').textContent")
    assert words.visible(report.plan.nodes[1].name) in card and "<img src=x" in card


@IN_BROWSER
def test_both_themes(browser: Page, tmp_path: Path) -> None:
    opened(browser, rendered_models.report("gated"), tmp_path)
    seen = []
    for theme in ("light", "dark"):
        browser.theme(theme)
        seen.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert seen[0] == "rgb(255, 255, 255)" and seen[1] != seen[0]


def large(count: int) -> Report:
    """A plan of many nodes with names as exporters write them, every hundredth between two copies."""
    nodes = tuple(
        NodePlacement(
            f"/model/layers.{i // 100}/mlp/act/Mul_{i}", "Mul", "CUDAExecutionProvider", "",
            f"model.layers.{i // 100}.mlp.act", f"out_{i}", (f"node_Constant_{i}", f"node_Mul_{i}"),
        )
        for i in range(count)
    )  # fmt: skip
    copies = tuple(
        Copy("to_host", f"v{i}", nodes[i - 1].name, (nodes[i].name,), nodes[i].name, "Mul", "no kernel", "error")
        for i in range(50, count, 100)
    )
    base = rendered_models.report("gated")
    return Report(base.model, base.target, Plan("forecast", nodes, copies), base.quantization, base.findings)


@IN_BROWSER
def test_ten_thousand_nodes_are_drawn_at_once(browser: Page, tmp_path: Path) -> None:
    opened(browser, large(10_000), tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 3_000_000
    assert cells(browser) == (10_000, 100)
    assert browser.evaluate("performance.getEntriesByType('navigation')[0].domComplete") < 10_000
    assert browser.evaluate("document.querySelector('[data-node]').getBoundingClientRect().width") < 8


class Blocks(HTMLParser):
    """Contents of script elements, as a browser cuts them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script"
        if self.inside:
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[-1] += data


def test_data_survives_the_parser_and_nothing_points_outside() -> None:
    report = rendered_models.report("hostile")
    document = html.page(report, all_rules())
    parser = Blocks()
    parser.feed(document)
    plan: dict[str, Any] = json.loads(parser.found[0])
    assert [n[0] for n in plan["nodes"]] == [words.visible(n.name) for n in report.plan.nodes]
    assert len(parser.found) == 2
    assert not re.search(r"\b(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", document)
    assert "default-src &#x27;none&#x27;" in document or "default-src 'none'" in document


def test_layers_stand_in_order_though_their_shape_arithmetic_comes_first() -> None:
    scopes = ["model.layers.1.attn", "model.embed", "model.layers.0.mlp", "model.layers.0", "model.layers.1.mlp",
              "model.layers.1.mlp.act", "", "model.layers.10.mlp"]  # fmt: skip
    nodes = tuple(NodePlacement(f"n{i}", "Add", "", scope=scope) for i, scope in enumerate(scopes))
    assert [(row.label, row.nodes) for row in strip.rows(nodes)] == [
        ("model.embed", (1,)),
        ("model.layers.0", (2, 3)),
        ("model.layers.1", (0, 4, 5)),
        ("(no scope)", (6,)),
        ("model.layers.10", (7,)),
    ]


def test_a_graph_without_scopes_is_cut_into_rows() -> None:
    nodes = tuple(NodePlacement(f"n{i}", "Add", "CPUExecutionProvider") for i in range(strip.ROW + 1))
    assert [row.label for row in strip.rows(nodes)] == ["(no scope) 1–200", "(no scope) 201–201"]
