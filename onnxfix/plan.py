"""Plan: which execution provider runs each node, and every copy between device and host with its cause."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["to_host", "from_host"]


@dataclass(frozen=True)
class NodePlacement:
    """One node of the planned graph. `reason` says in one sentence why it is not on the target's first provider."""

    name: str
    op_type: str
    provider: str
    reason: str = ""
    scope: str = ""
    output: str = ""
    source: tuple[str, ...] = ()
    lacks_kernel: bool = False
    """True when the target has no kernel for the operator or its types; False for shape arithmetic moved on purpose."""

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "op_type": self.op_type,
            "provider": self.provider,
            "reason": self.reason,
            "scope": self.scope,
            "output": self.output,
            "source": list(self.source),
        }


@dataclass(frozen=True)
class Copy:
    """One Memcpy node: the copied value, who makes it, who reads it, and the node that forces the copy."""

    direction: Direction
    value: str
    producer: str
    consumers: tuple[str, ...]
    cause_node: str
    cause_op_type: str
    cause: str
    severity: str
    scope: str = ""
    graph: str = ""
    grows: bool = False
    """True when the value has a dynamic axis of rank >= 2 activations, so the bytes grow with batch and sequence."""

    def as_dict(self) -> dict[str, object]:
        return {
            "direction": self.direction,
            "value": self.value,
            "producer": self.producer,
            "consumers": list(self.consumers),
            "cause": {"node": self.cause_node, "op_type": self.cause_op_type, "reason": self.cause},
            "severity": self.severity,
            "scope": self.scope,
            "grows": self.grows,
        }


@dataclass(frozen=True)
class Plan:
    """The placement of a whole model. `engine` is forecast, measured or unknown; `note` says what limits it."""

    engine: str
    nodes: tuple[NodePlacement, ...] = ()
    copies: tuple[Copy, ...] = ()
    failures: tuple[str, ...] = field(default=())
    """Nodes for which no provider has a kernel: the session refuses to load (bfloat16 and float8 have no fallback)."""
    note: str = ""
    load_error: str = ""
    """The runtime's own message when it cannot load the model at all."""

    def providers(self) -> dict[str, int]:
        return dict(sorted(Counter(n.provider for n in self.nodes).items()))

    def as_dict(self) -> dict[str, object]:
        to_host = sum(c.direction == "to_host" for c in self.copies)
        return {
            "engine": self.engine,
            "note": self.note,
            "memcpy": {
                "total": len(self.copies),
                "to_host": to_host,
                "from_host": len(self.copies) - to_host,
                "copies": [c.as_dict() for c in self.copies],
            },
            "providers": self.providers(),
            "nodes": [n.as_dict() for n in self.nodes],
        }
