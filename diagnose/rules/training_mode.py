"""X001: an operator that still behaves as in training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.random_numbers import trains


class TrainingMode:
    """A `Dropout` that drops or a `BatchNormalization` that learns: the model was exported in training mode.

    Its outputs are wrong and change from run to run, so nothing can be compared with torch either. Exporters keep the
    mode of the module they get: `model.train()`, or an export with `training=TrainingMode.TRAINING`.

    Repair: call `model.eval()` and export again.
    """

    code: ClassVar[str] = "X001"
    name: ClassVar[str] = "training-mode"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for node in subject.nodes:
            if is_standard(node) and trains(node):
                yield Finding(
                    code=self.code,
                    name=self.name,
                    severity=Severity.ERROR,
                    site=Site.of_node(node),
                    message=f"{node.op_type} is in training mode: outputs are wrong and differ from run to run",
                    repair="call model.eval() before the export",
                )
