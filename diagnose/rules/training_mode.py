"""X001: an operator that still behaves as in training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.constants import constant_tensor


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
            if is_standard(node) and _trains(node):
                yield Finding(
                    code=self.code,
                    name=self.name,
                    severity=Severity.ERROR,
                    site=Site.of_node(node),
                    message=f"{node.op_type} is in training mode: outputs are wrong and differ from run to run",
                    repair="call model.eval() before the export",
                )


def _trains(node: ir.Node) -> bool:
    if node.op_type == "BatchNormalization":
        return integer(node, "training_mode", 0) == 1
    if node.op_type != "Dropout" or len(node.inputs) < 3:
        return False
    ratio, training = constant_tensor(node.inputs[1]), constant_tensor(node.inputs[2])
    drops = ratio is None or bool((ratio.numpy() > 0).all())
    return training is not None and bool(training.numpy().all()) and drops
