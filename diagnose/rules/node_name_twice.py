"""K009: two nodes of one graph have the same name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.nouns.types.operators import named_twice


class NodeNameTwice:
    """Two nodes of one graph have one name, and ONNX Runtime refuses the model.

    ONNX itself does not ask for names, and a node may have none: tools that copy nodes, or merge two graphs, write the
    name again, and most readers never look at it. `onnxfix repair` gives the second and later ones names of their own,
    which changes nothing that is computed; `name-nodes-apart` is the pass.
    """

    code: ClassVar[str] = "K009"
    name: ClassVar[str] = "node-name-twice"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for nodes in named_twice(subject.model.ir.graph):
            others = ", ".join(f"{node.op_type} of {node.outputs[0].name}" for node in nodes[:3] if node.outputs)
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.ERROR,
                site=Site.of_node(nodes[1]),
                message=f"{len(nodes)} nodes of one graph are named '{nodes[0].name}', which ONNX Runtime refuses: "
                f"{others}{', …' if len(nodes) > 3 else ''}",
                evidence={"nodes": len(nodes)},
                repair="onnxfix repair --precision fp32",
                applicability=Applicability.EXACT,
            )
