"""Plan: which execution provider runs each node, and every copy between device and host with its cause."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["to_host", "from_host"]


@dataclass(frozen=True)
class Sizes:
    """What bytes are stated for: rows of a batch, and tokens of a row (or any other axis that is not fixed)."""

    batch: int = 64
    sequence: int = 512


DEFAULT_SIZES = Sizes()


@dataclass(frozen=True)
class NodePlacement:
    """One node of the planned graph. `reason` says in one sentence why it is not on the target's first provider."""

    name: str
    """Of its first output where it has none."""
    op_type: str
    provider: str
    reason: str = ""
    scope: str = ""
    output: str = ""
    source: tuple[str, ...] = ()
    lacks_kernel: bool = False
    """True when the target has no kernel for the operator or its types; False for shape arithmetic moved on purpose."""
    reads: tuple[str, ...] = ()
    """Names of the values that it reads, those that its bodies take from outside included."""
    makes: tuple[str, ...] = ()
    dtype: str = ""
    """Type string of its first output, as `tensor(float16)`; empty where it is not known."""

    @property
    def key(self) -> tuple[str, str]:
        """What tells a node from all others: nodes of different graphs may have one name, or make values of one."""
        return self.name, self.output

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
    """Whether the bytes grow with batch and sequence."""
    shape: tuple[int, ...] | None = None
    """At the plan's batch and sequence, None when nothing tells."""
    nbytes: int | None = None
    milliseconds: float | None = None
    """Estimated time of this copy over PCIe."""
    call: str = ""
    """What the torch code calls at the cause, without its running number: chunk, arange, Split."""
    cause_output: str = ""
    """First output of the cause, as nodes of different graphs may have one name."""

    @property
    def cause_key(self) -> tuple[str, str]:
        """As the key of the node to blame."""
        return self.cause_node, self.cause_output

    def as_dict(self) -> dict[str, object]:
        return {
            "direction": self.direction,
            "value": self.value,
            "producer": self.producer,
            "consumers": list(self.consumers),
            "cause": {"node": self.cause_node, "op_type": self.cause_op_type, "reason": self.cause},
            "severity": self.severity,
            "scope": self.scope,
            "call": self.call,
            "graph": self.graph,
            "grows": self.grows,
            "shape": None if self.shape is None else list(self.shape),
            "bytes": self.nbytes,
            "ms": self.milliseconds,
        }


@dataclass(frozen=True)
class Obstacle:
    """One node that a CUDA graph cannot hold, and why."""

    node: str
    op_type: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        return {"node": self.node, "op_type": self.op_type, "reason": self.reason}


@dataclass(frozen=True)
class Unfused:
    """One operator that computes in float on numbers that DequantizeLinear made, since the target does not fuse it."""

    node: str
    op_type: str
    reason: str
    scope: str = ""
    output: str = ""
    harm: Literal["fails", "slow", "rounds"] = "slow"
    """`fails`: the session loads, and refuses to run; `slow`: a product in float where integers were meant; `rounds`:
    no product, only rounded in between."""


@dataclass(frozen=True)
class Flops:
    """Operations of all products of one batch: all, and those in integers or over quantized weights."""

    total: int
    quantized: int


@dataclass(frozen=True)
class Plan:
    """The placement of a whole model. `engine` is forecast, measured or unknown; `note` says what limits it.

    Nodes and copies are those of the graph that ONNX Runtime partitions after basic optimisations, so that a forecast
    and a real session compare line by line.
    """

    engine: str
    nodes: tuple[NodePlacement, ...] = ()
    copies: tuple[Copy, ...] = ()
    failures: tuple[str, ...] = field(default=())
    """Nodes for which no provider has a kernel: the session refuses to load (bfloat16 and float8 have no fallback)."""
    note: str = ""
    load_error: str = ""
    """The runtime's own message when it cannot load the model at all."""
    approximate: bool = False
    """True when the graph was too large for ONNX Runtime's own optimiser, and ours stood in for it."""
    sizes: Sizes = DEFAULT_SIZES
    """What the bytes of copies are stated for."""
    obstacles: tuple[Obstacle, ...] | None = None
    """What prevents CUDA graphs: empty when nothing does, None where the question makes no sense."""
    unfused: tuple[Unfused, ...] = ()
    """What stays in float between QuantizeLinear and DequantizeLinear, on CPU and CUDA."""
    fused: tuple[str, ...] = ()
    """What products with a weight behind DequantizeLinear become there: QLinearMatMul, MatMulNBits and the like."""
    flops: Flops | None = None
    """At the plan's batch and sequence, None where a shape is not known."""
    differences: tuple[str, ...] = ()
    """Where the forecast and the real session disagree, for a measured plan."""

    def providers(self) -> dict[str, int]:
        return dict(sorted(Counter(n.provider for n in self.nodes).items()))

    def as_dict(self) -> dict[str, object]:
        return {
            "engine": self.engine,
            "approximate": self.approximate,
            "note": self.note,
            "batch": self.sizes.batch,
            "sequence": self.sizes.sequence,
            "memcpy": self._memcpy(),
            "cuda_graph": self._cuda_graph(),
            "providers": self.providers(),
            "differences": list(self.differences),
            "nodes": [n.as_dict() for n in self.nodes],
        }

    def _memcpy(self) -> dict[str, object]:
        to_host = sum(c.direction == "to_host" for c in self.copies)
        return {
            "total": len(self.copies),
            "to_host": to_host,
            "from_host": len(self.copies) - to_host,
            "bytes": sum(c.nbytes or 0 for c in self.copies),
            "ms": round(sum(c.milliseconds or 0.0 for c in self.copies), 3),
            "copies": [c.as_dict() for c in self.copies],
        }

    def _cuda_graph(self) -> dict[str, object] | None:
        if self.obstacles is None:
            return None
        return {"ready": not self.obstacles, "prevented_by": [o.as_dict() for o in self.obstacles]}
