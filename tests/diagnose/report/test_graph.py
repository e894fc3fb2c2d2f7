"""The graph on the page, in a real browser: modules that open, lines that are copies, findings that lead to places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import rendered_models
from browser import Page
from test_html import IN_BROWSER, opened

from onnxfix.diagnose.registry import all_rules
from onnxfix.diagnose.report import graph, html
from onnxfix.nouns.plan import NodePlacement

TITLES = "[...document.querySelectorAll('#graph [data-module]')].map(e => e.getAttribute('aria-label'))"
NODES = "document.querySelectorAll('#graph [data-node]').length"
LARGE = 850
"""Layers of six nodes: 5,100."""


def press(browser: Page, selector: str) -> None:
    browser.evaluate(f"document.querySelector({selector!r}).dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")


def test_a_node_reads_what_others_make() -> None:
    report = rendered_models.report("gated")
    data = graph.data(report)
    names = [node.name for node in report.plan.nodes]
    split, exp = names.index("/model/layers.0/mlp/chunk"), names.index("/model/layers.0/mlp/Exp")
    reads = data["reads"]
    assert isinstance(reads, list) and reads[split] == [exp] and reads[exp] == []
    kinds, types = data["kinds"], data["types"]
    assert isinstance(kinds, list) and isinstance(types, list)
    assert kinds[types[exp]] == "float32" and kinds[types[split]] == "seq(tensor(float))"


def test_a_finding_leads_to_its_nodes() -> None:
    report = rendered_models.report("gated")
    nodes = graph.Nodes(report.plan)
    found = [nodes.of(finding) for finding in report.findings if finding.code == "K001"]
    assert found and all(report.plan.nodes[i].op_type == "SplitToSequence" for i in found if i is not None)
    elsewhere = replace(report.findings[0], site=replace(report.findings[0].site, node="nobody", value="nothing"))
    assert nodes.of(elsewhere) is None and nodes.button([elsewhere]) == ""


def test_nothing_is_drawn_where_nobody_knows_who_reads_what() -> None:
    report = rendered_models.report("gated")
    bare = replace(report.plan, nodes=tuple(replace(node, makes=()) for node in report.plan.nodes))
    assert graph.drawn(bare) == "" and graph.data(replace(report, plan=bare)) == {}
    assert 'id="graph"' not in html.page(replace(report, plan=bare), all_rules())


@IN_BROWSER
def test_modules_open_and_close(browser: Page, tmp_path: Path) -> None:
    report = rendered_models.report("gated")
    opened(browser, report, tmp_path)
    press(browser, "[data-act=fold]")
    assert browser.evaluate(TITLES) == ["model"] and browser.evaluate(NODES) == 0
    press(browser, "#graph [data-module]")
    assert browser.evaluate(TITLES) == ["model", "layers", "layers.0", "layers.1", "layers.2"]  # what is alone opens
    press(browser, "[data-act=open]")
    assert browser.evaluate(NODES) == len(report.plan.nodes)
    press(browser, "#graph [aria-label=model]")
    assert browser.evaluate(TITLES) == ["model"] and browser.evaluate(NODES) == 0


@IN_BROWSER
def test_copies_are_dashed_and_findings_are_counted(browser: Page, tmp_path: Path) -> None:
    report = rendered_models.report("gated")
    opened(browser, report, tmp_path)
    press(browser, "[data-act=open]")
    assert browser.evaluate("document.querySelectorAll('#graph .copied').length") >= rendered_models.LAYERS
    counts = browser.evaluate("[...document.querySelectorAll('#graph .count')].map(e => +e.textContent)")
    assert sum(counts) == sum(1 for f in report.findings if graph.Nodes(report.plan).of(f) is not None)
    press(browser, "[data-act=fold]")
    assert browser.evaluate("document.querySelector('#graph .badge').getAttribute('class')") == "badge error"
    opened(browser, rendered_models.report("sound"), tmp_path)
    assert browser.evaluate("document.querySelectorAll('#graph .copied, #graph .badge').length") == 0


@IN_BROWSER
def test_a_finding_opens_its_place(browser: Page, tmp_path: Path) -> None:
    report = rendered_models.report("gated")
    opened(browser, report, tmp_path)
    press(browser, "[data-act=fold]")
    wanted = browser.evaluate("document.querySelector('[data-goto]').dataset.goto").split(",")
    press(browser, "[data-goto]")
    lit = browser.evaluate("[...document.querySelectorAll('#graph .lit')].map(e => e.dataset.node)")
    assert sorted(lit) == sorted(wanted)
    inside = (
        "(() => { const r = document.querySelector('#graph .lit').getBoundingClientRect(), "
        "v = document.getElementById('graph').getBoundingClientRect(); "
        "return r.left >= v.left && r.right <= v.right && r.top >= v.top && r.bottom <= v.bottom })()"
    )
    assert browser.evaluate(inside)


@IN_BROWSER
def test_types_have_colours_with_a_key(browser: Page, tmp_path: Path) -> None:
    opened(browser, rendered_models.report("gated"), tmp_path)
    press(browser, "[data-act=open]")
    before = browser.evaluate("document.querySelector('#graph .op').style.stroke")
    press(browser, "[data-colour=type]")
    assert browser.evaluate("document.querySelector('#graph .op').style.stroke") != before
    keys = browser.evaluate("[...document.querySelectorAll('.types span')].map(e => e.textContent)")
    assert keys == ["float32", "seq(tensor(float))"]


@IN_BROWSER
def test_names_are_text(browser: Page, tmp_path: Path) -> None:
    opened(browser, rendered_models.report("hostile"), tmp_path)
    press(browser, "[data-act=open]")
    assert browser.evaluate("document.images.length") == 0 and browser.complaints() == []


@IN_BROWSER
@pytest.mark.parametrize("width", [420, 1400])
def test_it_fits_the_window(browser: Page, tmp_path: Path, width: int) -> None:
    browser.resize(width, 900)
    opened(browser, rendered_models.report("gated"), tmp_path)
    frame = browser.evaluate(
        "(() => { const r = document.getElementById('graph').getBoundingClientRect(); return [r.left, r.right] })()"
    )
    assert 0 <= frame[0] < frame[1] <= width and frame[1] - frame[0] > 0.8 * width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.resize(1280, 900)


def _copied(node: NodePlacement, k: int) -> NodePlacement:
    reads, makes = (tuple(f"{k}{value}" for value in values) for values in (node.reads, node.makes))
    return replace(node, name=f"{k}{node.name}", scope=f"model.layers.{k}.mlp", reads=reads, makes=makes)


@IN_BROWSER
def test_five_thousand_nodes(browser: Page, tmp_path: Path) -> None:
    """Folded at first, so that the page is there at once; all of them open, and a zoom draws nothing anew."""
    report = rendered_models.report("gated")
    first = [n for n in report.plan.nodes if n.scope == "model.layers.0.mlp"]
    again = [_copied(node, k) for k in range(LARGE) for node in first]
    large = replace(report, plan=replace(report.plan, nodes=tuple(again), copies=()), findings=())
    opened(browser, large, tmp_path)
    assert len(again) >= 5000 and browser.evaluate(NODES) == 0
    press(browser, "[data-act=open]")
    assert browser.evaluate(NODES) == len(again)
    browser.evaluate("window.kept = document.querySelector('#graph [data-node]')")
    press(browser, "[data-act=in]")
    assert browser.evaluate("window.kept === document.querySelector('#graph [data-node]')")
