"""The documentation that lives in each rule and pass, by code or name."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.render.shown import Shown, Summary


@dataclass(frozen=True, repr=False)
class Explanation(Shown):
    """A rule or a pass: `name` is `K001 sequence-op-copies` or `convert-to-half`, `title` its first line, `text` the
    rest, in Markdown."""

    name: str
    title: str
    text: str

    def __repr__(self) -> str:
        return f"{self.name}: {self.title}\n\n{self.text}"

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "title": self.title, "text": self.text}

    def in_short(self) -> Summary:
        return Summary.of(f"{self.name}: {self.title}", ("",), [[part] for part in self.text.split("\n\n")])

    def to_markdown(self) -> str:
        return f"## {self.name}\n\n{self.title}\n\n{self.text}\n"


def explain(code: str) -> Explanation:
    """What a finding (`K001` or `sequence-op-copies`) or a pass (`convert-to-half`) is. Raises OnnxfixError."""
    wanted = code.strip().lower()
    found = next((entry for entry in documented() if wanted in entry.name.lower().split()), None)
    if found is None:
        raise OnnxfixError(f"no rule or pass is called '{code}'", "'onnxfix explain' lists them")
    return found


def documented() -> list[Explanation]:
    """Every rule in the order of its code, then every pass by name."""
    from onnxfix.diagnose.registry import all_rules
    from onnxfix.surgery.graph_pass import all_passes

    kinds: dict[str, type] = {f"{code} {rule.name}": rule for code, rule in all_rules().items()}
    kinds |= dict(sorted(all_passes().items()))
    texts = {name: inspect.cleandoc(kind.__doc__ or "").partition("\n") for name, kind in kinds.items()}
    return [Explanation(name, title, text.strip()) for name, (title, _, text) in texts.items()]
