"""A release: its version is that of the tag, and what is built from it holds all, passes twine and runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from test_structure import ROOT, modules

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "*.egg-info", "onnxfix-demo", ".*_cache", "__pycache__"
)
TAG = "9.8.7"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sdist, and the wheel that is built from it, of a copy that somebody tagged: setuptools packs what lies about."""
    folder = tmp_path_factory.mktemp("release")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=LEFT_OUT)
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-qm", "all"), ("tag", f"v{TAG}")):
        subprocess.run(["git", *words], cwd=source, check=True, capture_output=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_a_wheel_installs_one_package_with_its_data(built: Path) -> None:
    names = zipfile.ZipFile(built / f"onnxfix-{TAG}-py3-none-any.whl").namelist()
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"onnxfix"}
    ours = {module.replace(".", "/") for _, module, _ in modules()}
    assert ours <= {n.removesuffix(".py") for n in names}
    for wanted in ("surgery/editor.py", "diagnose/run.py", "export/run.py", "eval/demo/holdout.parquet", "py.typed"):
        assert f"onnxfix/{wanted}" in names
    assert {f"onnxfix/render/page.{kind}" for kind in ("css", "js")} <= set(names)
    assert any(n.startswith("onnxfix/kernel_tables/") and n.endswith(".json.xz") for n in names)


def test_an_sdist_holds_what_the_tests_need(built: Path) -> None:
    with tarfile.open(built / f"onnxfix-{TAG}.tar.gz") as packed:
        names = {name.split("/", 1)[-1] for name in packed.getnames()}
    assert {"tests/test_release.py", "tools/kernel_tables.py", "Makefile", "constraints.txt", "LICENSE"} <= names


def test_twine_finds_nothing(built: Path) -> None:
    files = [str(path) for path in built.glob("onnxfix-*")]
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("PASSED") == 2


def test_the_wheel_runs_and_knows_its_tag(built: Path) -> None:
    target = built / "installed"
    wheel = str(built / f"onnxfix-{TAG}-py3-none-any.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), wheel]
    subprocess.run(pip, check=True, capture_output=True)
    environment = os.environ | {"PYTHONPATH": str(target)}
    asked = [sys.executable, "-m", "onnxfix", "--version"]
    told = subprocess.run(asked, cwd=built, env=environment, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == f"onnxfix, version {TAG}"


def test_workflows_run_what_is_there() -> None:
    """Each `make` target and file that a workflow names exists, and the release is made of a tag alone."""
    folder = ROOT / ".github" / "workflows"
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.yml")}
    assert set(texts) == {"test.yml", "docs.yml", "release.yml"}
    for text in texts.values():
        assert set(re.findall(r"\bmake ([\w-]+)", text)) <= targets
        assert all((ROOT / name).exists() for name in re.findall(r"run: (?:bash )?(\S+/\S+)", text))
    assert "id-token: write" in texts["release.yml"] and 'tags: ["v*"]' in texts["release.yml"]
    assert "id-token" not in texts["test.yml"] + texts["docs.yml"].partition("deploy:")[0]
