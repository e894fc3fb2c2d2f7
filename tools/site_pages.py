"""What mkdocs adds to docs/: a page for each rule and pass, from its docstring, and CONTRIBUTING.md.

`make site` builds build/site from mkdocs.yml, which names this file as its hook. Nothing is loaded from a network.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """All pages that stand in no file of docs/."""
    for address, text in (*rules(), *passes(), ("contributing.md", contributing())):
        files.append(File.generated(config, address, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Names of codes and passes lead to their pages; links out of docs/ are to files of the repository: plain words."""
    at = page.file.src_uri
    markdown = re.sub(r"\[([^\]]+)\]\((?:\.\./)+(?!docs/)[^)#]+\)", r"\1", markdown)
    up = "../" * at.count("/")
    if at == "rules.md":
        return re.sub(r"^## ([A-Z]\d{3}) (.+)$", rf"## [\1]({up}rules/\1.md) \2", markdown, flags=re.MULTILINE)
    if at == "passes.md":
        return re.sub(r"^## (.+)$", rf"## [\1]({up}passes/\1.md)", markdown, flags=re.MULTILINE)
    return markdown


def rules() -> Iterator[tuple[str, str]]:
    """(address, Markdown) of a page a rule: what it means, and the passes that do away with it."""
    from onnxfix.diagnose.registry import all_rules
    from onnxfix.surgery.graph_pass import all_passes

    for code, rule in all_rules().items():
        mends = [
            f"[{name}](../passes/{name}.md)" for name, kind in sorted(all_passes().items()) if code in kind.repairs
        ]
        parts = [f"# {code} {rule.name}", inspect.cleandoc(rule.__doc__ or "")]
        parts += ["Passes that do away with it: " + ", ".join(mends)] if mends else []
        parts += [f"In a terminal: `onnxfix explain {code}`."]
        yield f"rules/{code}.md", "\n\n".join(parts) + "\n"


def passes() -> Iterator[tuple[str, str]]:
    """(address, Markdown) of a page a pass."""
    from onnxfix.surgery.graph_pass import all_passes

    for name, kind in sorted(all_passes().items()):
        ends = [f"[{code}](../rules/{code}.md)" for code in kind.repairs]
        parts = [f"# {name}", f"*{kind.applicability}*", inspect.cleandoc(kind.__doc__ or "")]
        parts += ["Silences " + ", ".join(ends)] if ends else []
        yield f"passes/{name}.md", "\n\n".join(parts) + "\n"


def contributing() -> str:
    """CONTRIBUTING.md, whose links are to places in the repository."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.sub(r"\]\(docs/", "](", text)
