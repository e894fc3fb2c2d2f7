"""Values that no input changes, which a runtime computes once, and the weights behind them."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.types.operators import bodies
from onnxfix.surgery.sites.constants import constant_tensor

_RANDOM = ("Random", "Bernoulli", "Multinomial")


class Leaves:
    """Called with a value: the constants that it is computed from, itself where it is one; none where an input counts.

    Remembers what it found: for a graph that does not change meanwhile.
    """

    def __init__(self) -> None:
        self._found: dict[ir.Value, frozenset[ir.Value]] = {}

    def __call__(self, value: ir.Value) -> frozenset[ir.Value]:
        pending = [value]
        while pending:  # without recursion: graphs are thousands of nodes deep
            last = pending[-1]
            missing = [v for v in self._sources(last) if v not in self._found]
            pending.extend(missing)
            if not missing:
                self._found[pending.pop()] = self._of(last)
        return self._found[value]

    def _sources(self, value: ir.Value) -> list[ir.Value]:
        node = value.producer()
        fixed = value in self._found or constant_tensor(value) is not None
        if fixed or node is None or bodies(node) or node.op_type.startswith(_RANDOM):
            return []
        return [v for v in node.inputs if v is not None]

    def _of(self, value: ir.Value) -> frozenset[ir.Value]:
        if value in self._found:
            return self._found[value]
        if constant_tensor(value) is not None:
            return frozenset({value})
        parts = [self._found[v] for v in self._sources(value)]
        return frozenset().union(*parts) if parts and all(parts) else frozenset()
