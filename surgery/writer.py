"""Nodes one after another in front of one, each with one output: how a pass writes an expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from .editor import Editor


@dataclass(frozen=True)
class Writer:
    """Writes in front of `like`, under names that begin with `name`."""

    editor: Editor
    name: str
    like: ir.Node

    def __call__(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        what: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> ir.Value:
        outputs = [f"{self.name}_{what}"]
        return self.editor.new_node(
            op_type, inputs, self.like, outputs=outputs, attributes=attributes, domain=domain
        ).outputs[0]

    def integers(self, name: str, numbers: Sequence[int] | int) -> ir.Value:
        """An int64 constant."""
        return self.editor.add_initializer(name, ir.tensor(np.array(numbers, dtype=np.int64)))

    def number(self, name: str, number: np.float32) -> ir.Value:
        """A float constant of no axes."""
        return self.editor.add_initializer(name, ir.tensor(number))
