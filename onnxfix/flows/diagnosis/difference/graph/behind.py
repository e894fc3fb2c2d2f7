"""Digests of nodes by where their outputs go: the other way round, from the model's outputs up."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.types.operators import bodies

from .digests import Digests, commutes


class Behind:
    """Digests of nodes by where their outputs go, down to the model's outputs: the other way round."""

    def __init__(self, digests: Digests, outputs: list[ir.Value]) -> None:
        self._digests = digests
        self._ends: dict[ir.Value, list[int]] = {}
        for place, value in enumerate(outputs):
            self._ends.setdefault(value, []).append(place)
        self._of_bodies: dict[ir.Value, list[tuple[ir.Node, int, int]]] = {}
        for node in digests.of_node:
            for number, body in enumerate(bodies(node)):
                for place, value in enumerate(body.outputs):
                    self._of_bodies.setdefault(value, []).append((node, number, place))
        self._known: dict[ir.Node, int | None] = {}
        for node in reversed(list(digests.of_node)):
            self._known[node] = self._of(node)

    def of(self, node: ir.Node) -> int | None:
        return self._known.get(node)

    def _of(self, node: ir.Node) -> int | None:
        """None for a node that nothing reads."""
        uses: list[tuple[int, str, str, int]] = []
        for place, value in enumerate(node.outputs):
            uses += [(place, "end", str(end), 0) for end in self._ends.get(value, ())]
            for owner, number, index in self._of_bodies.get(value, ()):
                uses.append((place, f"body {number}", str(self._known.get(owner)), index))
            uses += [
                (place, "reader", str(self._known.get(r)), 0 if commutes(r) else index) for r, index in value.uses()
            ]
        constants = tuple(self._digests.constant(value) for value in node.inputs)
        if commutes(node):
            constants = tuple(sorted(constants, key=str))
        return hash((self._digests.labels[node], constants, tuple(sorted(uses)))) if uses else None
