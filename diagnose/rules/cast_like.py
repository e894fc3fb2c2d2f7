"""K006: a CastLike, which ONNX Runtime inlines only after it has placed the graph's nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site, label
from onnxfix.surgery.sites.shapes import cast_likes


class CastLike:
    """A `CastLike` hides a cast from ONNX Runtime until its nodes are placed.

    No provider has a kernel for it, so a shape chain that reaches it runs on through it, whatever type it makes:
    readers of its result go to the CPU that would have stayed on the GPU. A note: what it costs, if anything, stands
    in K003. Casts of constants are not meant.

    Repair: `onnxfix repair` writes the type into a `Cast`.
    """

    code: ClassVar[str] = "K006"
    name: ClassVar[str] = "cast-like"

    def check(self, subject: Subject) -> Iterator[Finding]:
        found = [node for node, _ in cast_likes.find(subject.model, subject.types)]
        if not found:
            return
        many = f"{len(found):,} CastLike nodes are" if len(found) > 1 else "CastLike is"
        yield Finding(
            code=self.code,
            name=self.name,
            severity=Severity.NOTE,
            site=Site.of_node(found[0]),
            message=f"{many} inlined only after the nodes of the graph are placed",
            evidence={"nodes": [label(n) for n in found[:20]], "count": len(found)},
            repair="onnxfix repair --precision fp32",
            applicability=Applicability.EXACT,
        )
