"""What passes in and out of each island when it becomes a function, and in which type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.surgery.sites.constants import constant_tensor

from .fp32_islands import Island, owners, reads
from .half_plan import FLOAT, accepts_half, schema_of

HALF = "tensor(float16)"
Use = tuple[ir.Node, int]


@dataclass(frozen=True)
class Entry:
    """A value read by an island: `uses` are inputs of its nodes, `wide` says that they need fp32."""

    value: ir.Value
    wide: bool
    uses: tuple[Use, ...]

    @property
    def constant(self) -> ir.TensorProtocol | None:
        """What the function holds itself, in fp32; any other constant stays outside and is passed."""
        return constant_tensor(self.value) if self.wide else None


@dataclass(frozen=True)
class Exit:
    """A value that an island makes for `uses` outside. `kind`: `like` (in the type of the graph around), `double`
    (for other fp32 islands, without loss and in a type that no converter touches) or `same` (as it is)."""

    value: ir.Value
    kind: str
    uses: tuple[Use, ...]


class Borders:
    """Entries and exits of islands, asked for while one after the other is replaced by a call."""

    def __init__(self, model: Model, types: ElementTypes, islands: Sequence[Island]) -> None:
        self.model = model
        self.types = types
        self.owner = owners(model)
        self.island_of = {node: island for island in islands for node in island.nodes}
        self.doubles: set[ir.Value] = set()
        """Values that calls made before pass on as double."""

    def entries(self, island: Island) -> list[Entry]:
        """Raises OnnxfixError for a sequence of floats, as `exits` does."""
        found = []
        for value in dict.fromkeys(v for n in island.nodes for v in reads(n) if self._of(v.producer()) is not island):
            self._refuse_sequence(value)
            uses = [(u.node, u.idx) for u in value.uses() if self._of(u.node) is island]
            for wide in (True, False):
                alike = tuple(use for use in uses if self._is_wide(island, value, use) is wide)
                if alike:
                    found.append(Entry(value, wide, alike))
        return found

    def exits(self, island: Island) -> list[Exit]:
        found = []
        for value in (v for node in island.nodes for v in node.outputs):
            outside = [(u.node, u.idx) for u in value.uses() if self._of(u.node) is not island]
            if not outside and not value.is_graph_output():
                continue
            self._refuse_sequence(value)
            if not (island.fp32 and self.types.is_float32(value)):
                found.append(Exit(value, "same", tuple(outside)))
                continue
            exact = tuple(use for use in outside if (other := self._of(use[0])) is not None and other.fp32)
            rounded = tuple(use for use in outside if use not in exact)
            if rounded or value.is_graph_output():
                found.append(Exit(value, "like", rounded))
            if exact:
                found.append(Exit(value, "double", exact))
        return found

    def _of(self, node: ir.Node | None) -> Island | None:
        """The island that a node is in, or that it is the call of."""
        return self.island_of.get(self.owner.get(node, node)) if node is not None else None

    def _is_wide(self, island: Island, value: ir.Value, use: Use) -> bool:
        if value in self.doubles or (island.fp32 and self.types.is_float32(value)):
            return True
        schema = schema_of(use[0], self.model)
        return self.types.is_float32(value) and schema is not None and not accepts_half(schema, use[1], FLOAT, HALF)

    def _refuse_sequence(self, value: ir.Value) -> None:
        kind = self.types.get(value) or ""
        if "(float)" in kind and not kind.startswith("tensor("):
            raise OnnxfixError(
                f"{value.name} is a {kind}, which no fp16 converter follows", f"leave {arg('converter')} out"
            )
