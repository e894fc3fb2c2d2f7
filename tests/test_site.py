"""The documentation as pages: built without a warning and without a network, a page for every rule and pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_structure import ROOT

from onnxfix.diagnose.registry import all_rules
from onnxfix.surgery.graph_pass import all_passes

FROM_ELSEWHERE = re.compile(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["']?(https?:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = os.environ | {
        "NO_MKDOCS_2_WARNING": "1",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    built = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr and "contains a link" not in built.stderr, built.stderr
    return folder


def test_a_page_for_every_rule_and_pass(site: Path) -> None:
    for code, rule in all_rules().items():
        assert rule.name in (site / "rules" / code / "index.html").read_text(encoding="utf-8")
    for name in all_passes():
        assert (site / "passes" / name / "index.html").is_file()


def test_the_list_leads_to_them(site: Path) -> None:
    listed = (site / "rules" / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{code}/"' in listed for code in all_rules())


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(all_rules()) + len(all_passes())
    for page in pages:
        assert not FROM_ELSEWHERE.search(page.read_text(encoding="utf-8")), page
