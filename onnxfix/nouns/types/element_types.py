"""ElementTypes: the type string of every value of a model, with all conflicts and not only the first."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix.nouns.site import Site


@dataclass(frozen=True)
class TypeConflict:
    """One node whose types cannot be right. `kind`: `unify` (one type variable, two types), `refused` (the operator
    does not take the type) or `declared` (value_info contradicts what the node produces)."""

    kind: str
    site: Site
    variable: str
    types: tuple[str, ...]
    values: tuple[str, ...]
    message: str


@dataclass
class ElementTypes:
    """The result: type string per value, conflicts in graph order, and nodes whose operator is unknown."""

    of: dict[ir.Value, str] = field(default_factory=dict)
    conflicts: list[TypeConflict] = field(default_factory=list)
    unknown_ops: list[ir.Node] = field(default_factory=list)

    def get(self, value: ir.Value | None) -> str | None:
        return None if value is None else self.of.get(value)

    def is_float32(self, value: ir.Value | None) -> bool:
        return self.get(value) == "tensor(float)"
