"""W001: weights that a caller may replace, which no optimiser and no quantizer therefore touches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites import default_inputs

NEWER = "export again with keep_initializers_as_inputs=False"


class OverridableWeights:
    """Initializers that are graph inputs too: defaults, which a caller may override at every run.

    Files of IR version 3 list every weight so, and `keep_initializers_as_inputs=True` still does. ONNX Runtime then
    does not fold, fuse or pack them, and quantizers see no constant weight at all, so that they do nothing.

    Repair: `onnxfix repair` takes them out of the inputs where all weights of the file are; a caller can then feed none
    of them. Where only some are, somebody chose them: export again with `keep_initializers_as_inputs=False`.
    """

    code: ClassVar[str] = "W001"
    name: ClassVar[str] = "overridable-weights"

    def check(self, subject: Subject) -> Iterator[Finding]:
        weights = default_inputs.weights(subject.model)
        if not weights:
            return
        repairable = bool(default_inputs.listed(subject.model))
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
            repair="onnxfix repair --precision fp32" if repairable else NEWER,
            applicability=Applicability.EXACT if repairable else Applicability.MANUAL,
        )
