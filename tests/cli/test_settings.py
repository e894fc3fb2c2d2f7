"""Options from a project's file: found from below, typed ones go first, wrong ones are errors, and none runs code."""

from __future__ import annotations

from pathlib import Path

import pytest
from encoder_graphs import encoder
from terminal import onnxfix as typed

SETTINGS = """[tool.onnxfix]
target = "cpu"
unknown-to-all = 1

[tool.onnxfix.diagnose]
ignore = ["F"]
fail-on = "note"
min-quantized = 0.5
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "models").mkdir()
    encoder().save(tmp_path / "models" / "model.onnx")
    (tmp_path / "pyproject.toml").write_text(SETTINGS)
    return tmp_path


def test_from_the_root_and_from_below(project: Path) -> None:
    for folder, model in ((project, "models/model.onnx"), (project / "models", "model.onnx")):
        done = typed("diagnose", model, cwd=folder)
        assert done.returncode == 1 and "placement on cpu" in done.stdout and "over budget" in done.stdout
        assert "F002" not in done.stdout


def test_what_is_typed_goes_first_and_isolated_reads_none(project: Path) -> None:
    done = typed("diagnose", "models/model.onnx", "--target", "cuda", "--min-quantized", "0", cwd=project)
    assert done.returncode == 0 and "placement on cuda" in done.stdout
    assert "F002" in typed("--isolated", "diagnose", "models/model.onnx", cwd=project).stdout


def test_a_file_of_its_own_goes_before_and_the_repository_is_the_end(project: Path) -> None:
    (project / "models" / "onnxfix.toml").write_text('[diagnose]\nselect = ["K"]\n')
    done = typed("diagnose", "model.onnx", cwd=project / "models")
    assert done.returncode == 0 and "placement on cuda" in done.stdout and "F002" not in done.stdout
    (project / "models" / "onnxfix.toml").unlink()
    (project / "models" / ".git").mkdir()
    assert "F002" in typed("diagnose", "model.onnx", cwd=project / "models").stdout


def test_paths_are_from_the_files_folder(project: Path) -> None:
    (project / "onnxfix.toml").write_text('[diagnose]\nbaseline = "accepted.json"\n')
    first = typed("diagnose", "model.onnx", "--update-baseline", cwd=project / "models")
    assert first.returncode == 0 and (project / "accepted.json").exists()
    assert "accepted before" in typed("diagnose", "model.onnx", cwd=project / "models").stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[diagnose]\nfail_on = 'note'\n", "diagnose has no option fail_on; did you mean fail-on?"),
        ("[diagnose]\nformat = 'xml'\n", "'xml' is not one of"),
        ("[diagnose]\ncustom-op-library = ['evil.so']\n", "is taken from nobody's file; type --custom-op-library"),
        ("diagnose = 1\n", "diagnose is no table"),
        ("diagnose = [\n", "onnxfix.toml cannot be read"),
    ],
)
def test_wrong_settings_are_one_line(text: str, said: str, project: Path) -> None:
    (project / "onnxfix.toml").write_text(text)
    done = typed("diagnose", "models/model.onnx", cwd=project)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_no_script_comes_from_a_file(project: Path) -> None:
    """Neither from the table of a command nor from what all of them share."""
    (project / "evil.py").write_text("raise SystemExit(99)")
    (project / "onnxfix.toml").write_text("[repair]\nscript = ['evil.py']\n")
    assert "type --script instead" in typed("repair", "models/model.onnx", "--dry-run", cwd=project).stderr
    (project / "onnxfix.toml").write_text("script = ['evil.py']\nforce = true\n")
    done = typed("repair", "models/model.onnx", "--precision", "fp32", "--dry-run", cwd=project)
    assert done.returncode == 0 and "script" not in done.stdout


def test_one_of_several_needs_no_list(project: Path) -> None:
    (project / "onnxfix.toml").write_text("[diagnose]\nignore = 'F002'\n")
    done = typed("diagnose", "models/model.onnx", cwd=project)
    assert "F002" not in done.stdout and "F004" in done.stdout
