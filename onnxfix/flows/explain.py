"""The documentation that lives in each rule and pass, by code or name."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import dataclass
from typing import Any

from onnxfix.nouns.errors import OnnxfixError, either
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
    if not isinstance(code, str):
        raise OnnxfixError(
            f"code is of type {type(code).__name__}, not text", "give one such as K001 or convert-to-half"
        )
    wanted, entries = code.strip().lower(), documented()
    found = next((entry for entry in entries if wanted in entry.name.lower().split()), None)
    if found is None:
        names = {name.lower(): name for entry in entries for name in entry.name.split()}
        near = [names[name] for name in difflib.get_close_matches(wanted, names, n=3)]
        listing = either("docs/rules.md and docs/passes.md list them", "'onnxfix explain' lists them")
        said = f"did you mean {' or '.join(near)}? {listing}" if near else listing
        raise OnnxfixError(f"no rule or pass is called '{code}'", said)
    return found


def documented() -> list[Explanation]:
    """Every rule in the order of its code, then every pass by name."""
    from onnxfix.diagnose.registry import all_rules
    from onnxfix.surgery.graph_pass import all_passes

    kinds: dict[str, type] = {f"{code} {rule.name}": rule for code, rule in all_rules().items()}
    kinds |= dict(sorted(all_passes().items()))
    texts = {name: inspect.cleandoc(kind.__doc__ or "").partition("\n") for name, kind in kinds.items()}
    return [Explanation(name, title, text.strip()) for name, (title, _, text) in texts.items()]
