"""W001: weights that a caller may replace, which no optimiser and no quantizer therefore touches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site


class OverridableWeights:
    """Initializers that are graph inputs too: defaults, which a caller may override at every run.

    Files of IR version 3 list every weight so, and `keep_initializers_as_inputs=True` still does. ONNX Runtime then
    does not fold, fuse or pack them, and quantizers see no constant weight at all, so that they do nothing.

    Repair: export again with `keep_initializers_as_inputs=False`, or take the names out of the graph's inputs.
    """

    code: ClassVar[str] = "W001"
    name: ClassVar[str] = "overridable-weights"

    def check(self, subject: Subject) -> Iterator[Finding]:
        graph = subject.model.graph
        found = [v for v in graph.inputs if v.name in graph.initializers and v.const_value is not None]
        weights = [v for v in found if v.const_value is not None and v.const_value.size > 1]
        if not weights:
            return
        largest = max(weights, key=lambda v: v.const_value.nbytes if v.const_value is not None else 0)
        count = f"{len(weights):,} weights are inputs" if len(weights) > 1 else "a weight is an input"
        yield Finding(
            code=self.code,
            name=self.name,
            severity=Severity.WARNING,
            site=Site(value=largest.name or ""),
            message=f"{count} of the graph as well, so nothing may treat them as constant",
            evidence={
                "weights": [v.name or "" for v in weights[:20]],
                "count": len(weights),
                "bytes": sum(v.const_value.nbytes for v in weights if v.const_value is not None),
            },
            repair="export again with keep_initializers_as_inputs=False",
        )
