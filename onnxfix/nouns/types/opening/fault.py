"""Fault: one thing that makes a file no model, at its place; and the error that says so where a model is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxfix.nouns.errors import DIAGNOSE, OnnxfixError
from onnxfix.nouns.site import Site


@dataclass(frozen=True)
class Fault:
    """`message` is a clause whose subject is the site: `reads 'h', which nothing makes`."""

    site: Site
    message: str

    def __str__(self) -> str:
        where = str(self.site)
        if self.message.startswith("weight "):  # and its name
            return self.message
        return f"{where} {self.message}" if where else self.message


class BrokenError(OnnxfixError):
    """The file can be parsed and is no model all the same."""

    def __init__(self, source: Path, faults: Sequence[Fault]) -> None:
        more = f" (and {len(faults) - 1:,} more)" if len(faults) > 1 else ""
        super().__init__(f"{source} is a broken model: {faults[0]}{more}", f"see {DIAGNOSE}, or export it again")


def site_of(node: Any) -> Site:
    """The place of a NodeProto."""
    first = next(filter(None, node.output), "")
    return Site(op_type=node.op_type, node=node.name or first, value=first)
