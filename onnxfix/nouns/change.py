"""Change: what a pass did to a graph, recorded by the editor as it happens."""

from __future__ import annotations

from dataclasses import dataclass

from .site import Site


@dataclass(frozen=True)
class Change:
    """One edit: which pass, which verb of the editor, where, and in words what for."""

    pass_name: str
    verb: str
    site: Site
    detail: str = ""

    def as_dict(self) -> dict[str, object]:
        return {"pass": self.pass_name, "verb": self.verb, "site": self.site.as_dict(), "detail": self.detail}

    def __str__(self) -> str:
        tail = f": {self.detail}" if self.detail else ""
        return f"{self.verb} {self.site}{tail}"
