"""The page of a bench in a real browser: what it says, that its plots are drawn, and that nothing else happens."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bench_models as models
import pytest
import rendered_models
from browser import BINARY, Page, chromium

from onnxfix.diagnose.registry import all_rules
from onnxfix.eval.bench.bench import Course, Method, Remarks, Variant, run_bench
from onnxfix.eval.bench.profiling import profiles
from onnxfix.eval.bench.worker import Settings
from onnxfix.eval.figures.row import BenchRow
from onnxfix.eval.figures.verdict import judged
from onnxfix.eval.inputs.point import Point, grid
from onnxfix.eval.report.markdown import method
from onnxfix.eval.report.page import page
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.run.engines.pytorch import PyTorch
from onnxfix.flows.bench.benched import Bench
from onnxfix.flows.bench.opinions import document as opinion_document
from onnxfix.flows.bench.opinions import opinions
from onnxfix.render.axes import ticks
from onnxfix.render.label_places import Label, placed

pytestmark = pytest.mark.alone

pytest.importorskip("torch")
IN_BROWSER = pytest.mark.skipif(
    not BINARY, reason="NOT CHECKED: the page needs chromium on PATH (apt-get install chromium)"
)
HOSTILE = '</script><img src=x onerror="alert(1)"><b>&amp; \u202etxt'
Document = dict[str, Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as opened:
        opened.resize(1280, 900)
        yield opened


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """A real bench: a torch row, files fast, slow, wrong and broken, at two batch sizes and two lengths."""
    folder = tmp_path_factory.mktemp("page")
    files = {
        "fast": models.save_onnx(folder / "fast.onnx"),
        "slow": models.save_onnx(folder / "slow.onnx", slow_steps=20),
        HOSTILE: models.save_onnx(folder / "wrong.onnx", kernel_factor=-1.0),
        "broken": folder / "broken.onnx",
    }
    files["broken"].write_bytes(files["fast"].read_bytes()[:200])
    made = [Variant(name, OnnxRuntime(), path, made_by=f"onnxfix repair {path.name}") for name, path in files.items()]
    variants = [Variant("torch fp32", PyTorch(), models.torch_classifier), *made]
    workload, points = models.workload(32), grid((4, 8), (6, 12))
    said, documents = opinions(variants, "cpu", "cuda")
    report = run_bench(variants, workload, Course(points, rounds=3, threads=1), Remarks(opinions=said))
    found = profiles(variants, workload, points[0], Settings(threads=1))
    # one with copies and findings in the place of one without
    documents["slow"] = opinion_document(rendered_models.report("gated"))
    report = replace(report, diagnoses=documents, profiles=found)
    return {**report.as_dict(), "sentences": method(report)}


def opened(browser: Page, document: Document, folder: Path) -> str:
    file = folder / "report.html"
    drawn = page(document, document["sentences"], all_rules())
    file.write_text(drawn, encoding="utf-8")
    browser.open(file)
    assert browser.complaints() == []
    assert browser.requests() == [file.resolve().as_uri()], "the page loads nothing but itself"
    return drawn


def headings(browser: Page) -> list[str]:
    found: list[str] = browser.evaluate("[...document.querySelectorAll('h2')].map(e => e.textContent)")
    return found


@IN_BROWSER
def test_the_answer_comes_first_and_every_part_is_drawn(browser: Page, tmp_path: Path, document: Document) -> None:
    opened(browser, document, tmp_path)
    assert browser.evaluate("document.querySelector('h1').textContent") == " and ".join(document["fastest"])
    assert document["best"] == document["fastest"][0]
    assert {"fast", "torch fp32"} >= {*document["fastest"]}, "whichever of these the machine ran faster, or both"
    assert headings(browser) == [
        "Time against quality", "Variants", "Time by the baseline's", "By batch size and length", "Memory and size",
        "F1 by class", "Where the time goes", "Placement", "The findings", "How it was measured", "Machine",
    ]  # fmt: skip
    plots = "[...document.querySelectorAll('.plot svg')]"
    sizes = browser.evaluate(f"{plots}.map(e => [e.getBoundingClientRect().width, e.getBoundingClientRect().height])")
    assert len(sizes) >= 8 and all(width > 200 and height > 30 for width, height in sizes)
    empty = f"{plots}.filter(e => e.querySelectorAll('path, rect').length < 4).length"
    assert browser.evaluate(empty) == 0
    cut = (
        f"{plots}.flatMap(e => [...e.querySelectorAll('text')].map(t => [e, t])).filter(([e, t]) => "
        "(r => b => r.left < b.left - 1 || r.right > b.right + 1)(t.getBoundingClientRect())(e.getBoundingClientRect())"
        ").map(([e, t]) => t.textContent)"
    )
    assert browser.evaluate(cut) == [], "no text is cut off by the edge of its plot"


@IN_BROWSER
def test_each_point_of_the_plot_is_a_row_of_the_table(browser: Page, tmp_path: Path, document: Document) -> None:
    opened(browser, document, tmp_path)
    cells = "[...document.querySelectorAll('.variants tr')].slice(1).map(r => [...r.cells].map(c => c.innerText))"
    rows = browser.evaluate(cells)
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row[1].split("\n")[0] for row in rows][:3] == ["torch fp32", "fast", "slow"]
    made = browser.evaluate("[...document.querySelectorAll('details')][1].textContent")
    assert "How the files were made" in made and "onnxfix repair fast.onnx" in made
    assert "cannot be read" in rows[4][-1] or "load" in rows[4][-1]
    said = browser.evaluate("[...document.querySelectorAll('.plot')][0].querySelectorAll('title').length")
    assert said == 4, "a tooltip for each variant that was measured"
    title = browser.evaluate("[...document.querySelectorAll('.plot title')].map(e => e.textContent).join('\\n')")
    assert "2 fast" in title and "MB" in title
    marks = browser.evaluate("[...document.querySelectorAll('.variants tr')].slice(1).map(r => r.className)")
    marked = [row[1].split("\n")[0] for row, mark in zip(rows, marks, strict=True) if mark == "best"]
    assert sorted(marked) == sorted(document["fastest"])
    assert marks[2:] == ["", "flawed", "failed"]


@IN_BROWSER
def test_figures_are_those_of_the_summary(browser: Page, tmp_path: Path, document: Document) -> None:
    opened(browser, document, tmp_path)
    row = document["rows"][1]
    text = browser.evaluate("[...document.querySelectorAll('.variants tr')][2].innerText")
    for figure in (f"{row['ratio']:.2f}", f"{row['f1_category']:.4f}", f"{row['memory_mb']:,.0f}"):
        assert figure in text
    swept = browser.evaluate(
        "[...document.querySelectorAll('section')].find(s => s.innerText.startsWith('By batch')).innerText"
    )
    for point in (p for p in document["points"] if p["variant"] == "slow"):
        assert f"{point['ms_per_sample']:,.2f}" in swept
    assert "4 × 6" in swept and "8 × 12" in swept
    more = browser.evaluate("[...document.querySelectorAll('details')][0].textContent")
    assert all(word in more for word in ("p99 ms", "samples/s", "KL", f"{row['ms_p99']:,.2f}"))
    assert "J/sample" not in more, "no device here counts energy"


@IN_BROWSER
def test_placement_shows_every_run_and_leads_to_its_findings(browser: Page, tmp_path: Path, document: Document) -> None:
    opened(browser, document, tmp_path)
    drawn = browser.evaluate(
        "[...document.querySelectorAll('.runs')].map(e => e.querySelectorAll('.cuda, .cpu').length)"
    )
    assert drawn == [len(each["runs"]) for each in document["diagnoses"].values() if each["runs"]]
    links = browser.evaluate("[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href'))")
    assert links and all(browser.evaluate(f"!!document.querySelector({json.dumps(link)})") for link in set(links))
    code = next(link for link in links if not link.startswith("#row"))
    browser.evaluate(f"document.querySelector('a[href=\"{code}\"]').click()")
    assert browser.evaluate(f"document.querySelector('{code}').checkVisibility()"), "what a code means is opened"


@IN_BROWSER
def test_names_are_text(browser: Page, tmp_path: Path, document: Document) -> None:
    drawn = opened(browser, document, tmp_path)
    assert "<img" not in drawn and "<script" not in drawn
    assert browser.evaluate("document.images.length + document.scripts.length") == 0
    shown = browser.evaluate("[...document.querySelectorAll('.variants tr')][4].cells[1].innerText")
    assert shown.startswith("</script><img src=x onerror=") and "\u202e" not in drawn


@IN_BROWSER
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_are_readable(browser: Page, tmp_path: Path, document: Document, theme: str) -> None:
    opened(browser, document, tmp_path)
    browser.theme(theme)
    of = "getComputedStyle(document.querySelector('.plot text'), null).fill"
    text, back = browser.evaluate(of), browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert contrast(text, back) >= 4.5
    browser.theme("light")


@IN_BROWSER
def test_a_narrow_window_scrolls_within_its_parts(browser: Page, tmp_path: Path, document: Document) -> None:
    opened(browser, document, tmp_path)
    browser.resize(390, 800)
    wide = browser.evaluate("document.documentElement.scrollWidth")
    browser.resize(1280, 900)
    assert wide <= 390


@IN_BROWSER
def test_what_a_bench_has_not_is_left_out(browser: Page, tmp_path: Path, document: Document) -> None:
    """Without labels, sweep, profile and diagnosis, as of two torch modules; and where nothing works."""
    bare = copy.deepcopy(document)
    bare |= {"heads": [], "classes": {}, "profiles": {}, "diagnoses": {}, "points": document["points"][:1]}
    bare["method"]["points"] = bare["method"]["points"][:1]
    bare["rows"] = [{k: v for k, v in row.items() if "f1_" not in k} for row in bare["rows"][:2]]
    opened(browser, bare, tmp_path)
    assert headings(browser) == [
        "Time against quality", "Variants", "Time by the baseline's", "Memory and size", "How it was measured",
        "Machine",
    ]  # fmt: skip
    bare["rows"] = [row | {"failure": "no", "ms_per_sample": None, "sound": False} for row in bare["rows"]]
    bare |= {"best": None, "points": [], "regressions": [{"sentence": f"slower: {HOSTILE}"}]}
    opened(browser, bare, tmp_path)
    assert browser.evaluate("document.querySelector('h1').textContent") == "No variant is to be deployed"
    assert "slower: </script>" in browser.evaluate("document.querySelector('.notice').textContent")
    assert headings(browser)[0] == "Variants"


def contrast(one: str, other: str) -> float:
    """Of two rgb() colours, by WCAG 2.1."""

    def light(colour: str) -> float:
        parts = [int(x) / 255 for x in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_labels_do_not_cover_each_other() -> None:
    crowd = [Label(str(i), 1.0 + i / 1000, 0.84, i % 2 == 0) for i in range(12)]
    found = placed(crowd, (0.5, 2.0), (0.8, 0.9), 760, 340)
    assert sorted(int(each["n"]) for each in found) == list(range(12))
    across = [(each["x"], each["y"]) for each in found]
    assert len({(round(x, 6), round(y, 6)) for x, y in across}) == 12
    assert all(0.5 < x < 2.0 and 0.8 < y < 0.9 for x, y in across)


@pytest.mark.parametrize("bounds", [(0.09, 0.11), (0.4, 2.5), (1.0, 100.0), (3e-4, 7.0)])
def test_ticks_are_enough_and_inside(bounds: tuple[float, float]) -> None:
    found = ticks(bounds)["values"]
    assert len(found) >= 3 and all(bounds[0] <= tick <= bounds[1] for tick in found)
    assert found == sorted(set(found))


def test_variants_that_are_tied_share_the_first_place_in_every_form(tmp_path: Path) -> None:
    """A real clock ties or not as it likes: times by hand, two of whose intervals overlap."""
    one = BenchRow(
        "one", "onnx", "", ms_per_sample=5.0, ms_low=4.0, ms_high=5.9, ratio=0.5, ratio_low=0.4, ratio_high=0.59,
        round_ms=(5.0,) * 5, round_ratios=(0.5,) * 5, memory_mb=10, samples_per_s=200.0,
    )  # fmt: skip
    two = replace(one, variant="two", ms_per_sample=5.5, ratio=0.55, ratio_low=0.42, ratio_high=0.6)
    base = replace(one, variant="base", ms_per_sample=10.0, ratio=1.0, ratio_low=1.0, ratio_high=1.0)
    base = replace(base, round_ratios=(1.0,) * 5, round_ms=(10.0,) * 5)
    method = Method("rows", 8, 5, 2, "cpu", 0, "base", "base", (Point(8),))
    tied = Bench(judged([base, one, two], "base", "base"), method, {})
    apart = Bench(judged([base, one, replace(two, ratio_low=0.6, ratio_high=0.7)], "base", "base"), method, {})
    said = "Fastest sound variants, tied: one and two; one takes 0.50 (0.40 … 0.59) times the time of base"
    assert tied.as_dict()["fastest"] == ["one", "two"] and apart.as_dict()["fastest"] == ["one"]
    assert tied.in_short().title == said
    assert said in tied.to_markdown()
    assert repr(tied) == "<Bench of 3 variants on cpu: fastest sound variants, tied: one and two>"
    assert "<h1>one and two</h1><p>tied: " in tied.to_html() and "<h1>one</h1><p>the fastest" in apart.to_html()
    assert tied.to_html().count('class="best"') == 2 and apart.to_html().count('class="best"') == 1
    assert apart.in_short().title == "Fastest sound variant: one, 0.50 (0.40 … 0.59) times the time of base"
