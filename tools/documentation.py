"""docs/rules.md and docs/passes.md, generated from the docstrings that `onnxfix explain` prints.

`python tools/documentation.py docs` writes them; a test fails when they are stale.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path


def rules_page() -> str:
    """One section a rule, in code order."""
    from onnxfix.diagnose.registry import all_rules

    parts = ["# Rules", "What `onnxfix diagnose` looks for. Generated from the rules' own documentation."]
    for code, rule in all_rules().items():
        parts += [f"## {code} {rule.name}", inspect.cleandoc(rule.__doc__ or "")]
    return "\n\n".join(parts) + "\n"


def passes_page() -> str:
    """One section a pass, by name."""
    from onnxfix.surgery.graph_pass import all_passes

    parts = ["# Passes", "What `onnxfix repair` can do to a graph. Generated from the passes' own documentation."]
    for name, kind in sorted(all_passes().items()):
        silences = f"; silences {', '.join(kind.repairs)}" if kind.repairs else ""
        parts += [f"## {name}", f"*{kind.applicability}*{silences}", inspect.cleandoc(kind.__doc__ or "")]
    return "\n\n".join(parts) + "\n"


def write(folder: Path) -> None:
    (folder / "rules.md").write_text(rules_page(), encoding="utf-8")
    (folder / "passes.md").write_text(passes_page(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
