"""All formats of `onnxfix diagnose` alike: exit codes, files, and models that do not load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rendered_models
from terminal import onnxfix

FORMATS = {"text": ".txt", "html": ".html", "markdown": ".md", "sarif": ".sarif", "json": ".json"}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("name", "fail_on", "code"),
    [("gated", "error", 1), ("gated", "never", 0), ("sound", "note", 0), ("unloadable", "error", 1)],
)
def test_exit_codes_do_not_depend_on_the_format(tmp_path: Path, form: str, name: str, fail_on: str, code: int) -> None:
    model = rendered_models.saved(name, tmp_path)
    done = onnxfix("diagnose", model, "--format", form, "--fail-on", fail_on, "-o", "-")
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.strip()
    assert sorted(tmp_path.iterdir()) == [model]


@pytest.mark.parametrize("form", FORMATS)
def test_a_model_that_does_not_load_is_said_to(tmp_path: Path, form: str) -> None:
    done = onnxfix("diagnose", rendered_models.saved("unloadable", tmp_path), "--format", form, "-o", "-")
    assert "Frobnicate" in done.stdout and "cannot load it" in done.stdout


@pytest.mark.parametrize("form", FORMATS)
def test_output_writes_a_file_and_prints_its_path(tmp_path: Path, form: str) -> None:
    model = rendered_models.saved("gated", tmp_path)
    file = tmp_path / f"report{FORMATS[form]}"
    (tmp_path / "models").mkdir()
    sound = rendered_models.saved("sound", tmp_path / "models")
    older = onnxfix("diagnose", sound, "--format", form, "-o", "-").stdout
    file.write_text(older, encoding="utf-8")
    done = onnxfix("diagnose", model, "--format", form, "-o", file)
    assert (done.returncode, done.stdout) == (1, f"{file}\n") and file.read_text(encoding="utf-8") != older
    assert file.read_text(encoding="utf-8") == onnxfix("diagnose", model, "--format", form, "-o", "-").stdout
    assert sorted(tmp_path.iterdir()) == sorted([model, file, sound.parent])


def test_a_page_is_named_after_the_model_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    rendered_models.saved("gated", tmp_path / "models", "encoder.fp16.onnx")
    done = onnxfix("diagnose", Path("models/encoder.fp16.onnx"), "--format", "html", cwd=tmp_path)
    assert done.stdout == "encoder.fp16.html\n"
    assert (tmp_path / "encoder.fp16.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("form", FORMATS)
def test_a_report_never_becomes_a_model_file(tmp_path: Path, form: str) -> None:
    model = rendered_models.saved("gated", tmp_path)
    before = model.read_bytes()
    other = rendered_models.saved("sound", tmp_path, "other.onnx")
    for file in (model, other, tmp_path / "model.onnx.data", tmp_path / "report"):
        done = onnxfix("diagnose", model, "--format", form, "-o", file)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "-o" in done.stderr
    assert model.read_bytes() == before and sorted(tmp_path.iterdir()) == sorted([model, other])


def test_not_even_a_model_that_is_named_like_a_report(tmp_path: Path) -> None:
    model = rendered_models.saved("gated", tmp_path).rename(tmp_path / "model.html")
    (tmp_path / "link.html").symlink_to(model)
    before = model.read_bytes()
    for arguments in ([], ["-o", model], ["-o", tmp_path / "link.html"]):
        done = onnxfix("diagnose", model, "--format", "html", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and "is read by this very call" in done.stderr
    assert model.read_bytes() == before


def test_a_missing_folder_is_said_before_any_work(tmp_path: Path) -> None:
    done = onnxfix("diagnose", tmp_path / "no.onnx", "--format", "html", "-o", tmp_path / "no" / "report.html")
    assert done.returncode == 2 and "folder" in done.stderr


def test_bytes_are_for_the_batch_that_was_asked_for(tmp_path: Path) -> None:
    model = rendered_models.saved("gated", tmp_path)
    done = onnxfix("diagnose", model, "--format", "json", "--batch", "2", "--seq", "16")
    placement = json.loads(done.stdout)["placement"]
    assert (placement["batch"], placement["sequence"]) == (2, 16)
    assert {c["bytes"] for c in placement["memcpy"]["copies"]} == {2 * 16 * 8 * 4}
