"""`onnxfix diff`: exit codes, formats, files, what is refused, and what is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import browser
import graphs
import jsonschema
import numpy as np
import onnx
import pytest
import rendered_models
from terminal import onnxfix

SCHEMA = json.loads((Path(__file__).parents[2] / "onnxfix" / "schemas" / "diff-1.json").read_text(encoding="utf-8"))
W = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
TEXT = "g (float[batch,8] x) => (float[batch,8] y) { h = MatMul(x, w) y = Relu(h) }"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a and renamed are the same graph; b has another operator, and half weights behind a cast."""
    graphs.model(TEXT, {"w": W}).save(tmp_path / "a.onnx")
    graphs.model(TEXT.replace("h", "k").replace("batck", "batch"), {"w": W}).save(tmp_path / "renamed.onnx")
    other = TEXT.replace("{ h = MatMul(x, w) y = Relu(h)", "{ c = CastLike(w, x) h = MatMul(x, c) y = Gelu(h)")
    graphs.model(other, {"w": W.astype(np.float16)}).save(tmp_path / "b.onnx")
    return tmp_path


def test_exit_codes_and_text(folder: Path) -> None:
    same = onnxfix("diff", "a.onnx", "a.onnx", cwd=folder)
    assert (same.returncode, same.stderr) == (0, "") and same.stdout.startswith("a.onnx → a.onnx: the same\n")
    named = onnxfix("diff", "a.onnx", "renamed.onnx", cwd=folder)
    assert named.returncode == 0 and named.stdout.startswith("a.onnx → renamed.onnx: the same graph; names differ\n")
    different = onnxfix("diff", "a.onnx", "b.onnx", cwd=folder)
    assert different.returncode == 1 and different.stderr == ""
    assert different.stdout.splitlines()[0] == "a.onnx → b.onnx: different: 1 node gone, 2 new, 1 weight rounded"
    assert "1 × the same values, rounded: FLOAT → FLOAT16, 256 bytes → 128 bytes" in different.stdout
    assert "Gelu 0 → 1, Relu 1 → 0, CastLike 0 → 1" in different.stdout and "MatMul" not in different.stdout
    assert "MatMul 1 → 1" in onnxfix("diff", "a.onnx", "b.onnx", "--all", cwd=folder).stdout


def test_it_is_listed() -> None:
    assert "diff " in onnxfix("--help").stdout and "Exit code 0: the same graph" in onnxfix("diff", "--help").stdout


BROKEN = {
    "missing": (None, "missing.onnx does not exist"),
    "text": (b"# not a model", "is not"),
    "cut": (0.5, "is not a whole ONNX file"),
    "graph": (TEXT.replace("Relu(h)", "Relu(nothing)"), "is a broken model"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("second", [True, False])
def test_files_that_are_no_models(kind: str, second: bool, folder: Path) -> None:
    content, said = BROKEN[kind]
    path = folder / f"{kind}.onnx"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, float):
        path.write_bytes((folder / "a.onnx").read_bytes()[: int(content * (folder / "a.onnx").stat().st_size)])
    elif content is not None:
        onnx.save(graphs.proto(content, {"w": W}), path)
    files = ("a.onnx", path.name) if second else (path.name, "a.onnx")
    done = onnxfix("diff", *files, "--format", "html", cwd=folder)
    assert done.returncode == 2 and done.stdout == "" and not list(folder.glob("*.html"))
    assert said in done.stderr and len(done.stderr.splitlines()) == 1 and "internal" not in done.stderr


def test_every_format_and_file(folder: Path) -> None:
    document = json.loads(onnxfix("diff", "a.onnx", "b.onnx", "--format", "json", cwd=folder).stdout)
    jsonschema.validate(document, SCHEMA)
    assert document["same"] is False and document["weights"]["pairs"][0]["kind"] == "rounded"
    comment = onnxfix("diff", "a.onnx", "b.onnx", "--format", "markdown", cwd=folder).stdout
    assert comment.startswith("### onnxfix: `a.onnx` → `b.onnx`: different: 1 node gone, 2 new")
    for form, ending in (("text", "txt"), ("json", "json"), ("markdown", "md"), ("html", "html")):
        for _ in range(2):  # the second one replaces a report of ours
            done = onnxfix("diff", "a.onnx", "b.onnx", "--format", form, "-o", f"d.{ending}", cwd=folder)
            assert (done.returncode, done.stdout) == (1, f"d.{ending}\n"), done.stderr
    assert onnxfix("diff", "a.onnx", "b.onnx", "--format", "html", cwd=folder).stdout == "b.diff.html\n"
    page = (folder / "b.diff.html").read_text(encoding="utf-8")
    assert page == (folder / "d.html").read_text(encoding="utf-8") and "<script" not in page
    assert re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^#"\')\s]+)', page) == [], "it loads nothing"


def test_files_that_are_not_overwritten(folder: Path) -> None:
    before = (folder / "b.onnx").read_bytes()
    (folder / "mine.html").write_text("mine")
    for output, said in (("b.onnx", "does not end in"), ("mine.html", "is no report of onnxfix")):
        done = onnxfix("diff", "a.onnx", "b.onnx", "--format", "html", "-o", output, cwd=folder)
        assert done.returncode == 2 and said in done.stderr
    assert (folder / "b.onnx").read_bytes() == before and (folder / "mine.html").read_text() == "mine"


def test_where_a_target_runs_both(folder: Path) -> None:
    rendered_models.gated().save(folder / "gated.onnx")
    assert onnxfix("repair", "gated.onnx", "--precision", "fp32", cwd=folder).returncode == 0
    done = onnxfix("diff", "gated.onnx", "gated.fp32.onnx", "--target", "cuda", "--format", "json", cwd=folder)
    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA)
    placed = document["placement"]
    assert [each["copies"] for each in placed["memcpy"]] == [6, 0] and placed["target"] == "cuda"
    assert {c["cause"]: (c["before"], c["after"]) for c in placed["copies"]} == {"model.layers.*.mlp: chunk": (3, 0)}
    assert [(m["module"], len(m["scopes"])) for m in document["modules"]] == [("model.layers.*.mlp", 3)]
    shown = onnxfix("diff", "gated.onnx", "gated.fp32.onnx", "--target", "cuda", cwd=folder).stdout
    assert "Memcpy: 6 (" in shown and "→ none, a batch of 64 × 512 tokens" in shown
    assert "3 × model.layers.*.mlp (0–2): " in shown


def test_names_that_try_to_break_out(folder: Path) -> None:
    rendered_models.saved("gated", folder, "gated.onnx")
    rendered_models.saved("hostile", folder, "hostile.onnx")
    for form in ("text", "markdown", "html"):
        done = onnxfix("diff", "gated.onnx", "hostile.onnx", "--format", form, "-o", "-", "--all", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout and "\N{RIGHT-TO-LEFT OVERRIDE}" not in done.stdout
        assert form != "html" or ("<img" not in done.stdout and "<script" not in done.stdout)


@pytest.mark.skipif(not browser.BINARY, reason="no chromium")
def test_the_page_is_readable_on_a_telephone(folder: Path) -> None:
    rendered_models.saved("gated", folder, "gated.onnx")
    assert onnxfix("repair", "gated.onnx", "--precision", "fp32", cwd=folder).returncode == 0
    onnxfix("diff", "gated.onnx", "gated.fp32.onnx", "--target", "cuda", "--format", "html", cwd=folder)
    with browser.chromium() as page:
        for width in (420, 1400):
            page.resize(width, 900)
            page.open(folder / "gated.fp32.diff.html")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("document.querySelectorAll('.module').length") >= 1
            assert page.complaints() == [] and len(page.requests()) == 1
