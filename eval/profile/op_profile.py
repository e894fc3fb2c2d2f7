"""Where the time of an ONNX model goes: by operator, by torch scope and by provider, from ONNX Runtime's own profiler.

On the CPU an event lasts as long as its work. On CUDA it lasts as long as launching it: kernels run behind it, unless
the process was started with CUDA_LAUNCH_BLOCKING=1.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime import provider as execution_provider
from onnxfix.nouns.site import layer_of
from onnxfix.nouns.types.operators import bodies
from onnxfix.surgery.sites.shapes.product_operations import is_product, operations

from .events import Event, name_expanded, node_times
from .node_scopes import UNKNOWN, scopes, shown
from .tensor_sizes import Sized, sized
from .traced_run import Feeds, Traced, named, trace

BETWEEN = "between operators"
"""What a run takes beyond its operators: the call, allocations, and most of some 10 us a node for the profiler."""
VARYING = "varies from run to run"
"""What a run takes beyond the medians of its nodes: other processes stop another node in each run."""
Key = Literal["op_type", "scope", "layer", "provider"]
KEYS: tuple[Key, ...] = get_args(Key)


@dataclass(frozen=True)
class NodeTime:
    """One node of the optimised graph. `ms` a run, bodies included, is the median over runs; `flops` and `bytes` are of
    a run: operations of a product, and all that it reads and writes once. None where the run did not show its shapes,
    and for control flow; `flops` is 0 for what multiplies no matrices."""

    name: str
    op_type: str
    provider: str
    scope: str
    ms: float
    flops: int | None
    bytes: int | None


@dataclass(frozen=True)
class ProfileRow:
    """Nodes under one name. `share` is of the time of all rows, 0 to 1."""

    name: str
    ms: float
    share: float
    nodes: int


@dataclass(frozen=True)
class Profile:
    """Where the time of a run goes; a run is one pass over all feeds. Times are medians over runs, in milliseconds.

    `wall_ms` is around the calls and at least the sum of the nodes, `session_ms` what the profiler says for them,
    `untraced_ms` around the calls with the profiler off. `between_ms` is the median of what a run took beyond its
    nodes, `varying_ms` what is then left of `wall_ms`: much of it says that the machine is busy. `note` says what
    limits the figures.
    """

    nodes: tuple[NodeTime, ...]
    between_ms: float
    varying_ms: float
    wall_ms: float
    session_ms: float
    untraced_ms: float
    runs: int
    note: str = ""

    def by(self, key: Key) -> list[ProfileRow]:
        """Rows by operator, scope, layer or provider, the slowest first, with the time between operators and the time
        that varies: together they are `wall_ms`. Scopes are shown without layer numbers, 28 layers of `mlp.Wi` are one
        row; a layer is a scope up to its first number.
        """
        groups: dict[str, list[float]] = {}
        for node in self.nodes:
            name = _group(node, key)
            groups.setdefault(name, []).append(node.ms)
        sums = {name: (math.fsum(ms), len(ms)) for name, ms in groups.items()} | {BETWEEN: (self.between_ms, 0)}
        sums |= {VARYING: (self.varying_ms, 0)} if self.varying_ms else {}
        total = math.fsum(ms for ms, _ in sums.values()) or 1.0
        rows = [ProfileRow(name, ms, ms / total, count) for name, (ms, count) in sums.items()]
        return sorted(rows, key=lambda row: (-row.ms, row.name))

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON: every figure, the three tables, and all nodes."""
        figures = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "nodes"}
        tables = {f"by_{key}": [asdict(row) for row in self.by(key)] for key in KEYS}
        return figures | tables | {"nodes": [asdict(node) for node in self.nodes]}


def _group(node: NodeTime, key: Key) -> str:
    if key == "scope":
        return shown(node.scope)
    return layer_of(node.scope) if key == "layer" else str(getattr(node, key))


def profile(
    path: Path,
    feeds: Feeds,
    *,
    provider: Literal["cpu", "cuda"] = "cpu",
    threads: int = 0,
    custom_op_libraries: Sequence[Path] = (),
    runs: int = 5,
) -> Profile:
    """Profile a file as a session with all optimisations runs it, after a run to warm up.

    `feeds`: input name → array, all of them run in each run. `threads` 0 leaves the number of CPU threads to the
    runtime. Raises OnnxfixError without feeds or runs, LoadFailure and RunFailure with the runtime's message.
    """
    if not feeds or runs < 1:
        raise OnnxfixError("nothing to profile", "give at least one feed and one run")
    with named(path, custom_op_libraries) as (model, file):
        traced = trace(
            file, feeds, provider=provider, threads=threads, custom_op_libraries=custom_op_libraries, runs=runs,
            untraced=runs, name=path.name,
        )  # fmt: skip
    return _profile(model, traced, feeds, runs, _limits(provider))


def _profile(model: Model, traced: Traced, feeds: Feeds, runs: int, note: str) -> Profile:
    name_expanded(traced.graph, model.ir, (event for run in traced.runs for event in run.events))
    times = node_times(traced.graph, [run.events for run in traced.runs], len(feeds))
    walls = _passes([run.wall_ms for run in traced.runs], runs)
    nodes = tuple(_nodes(model, traced, feeds, times))
    in_nodes = math.fsum(node.ms for node in nodes)
    # medians do not add up: what a run took beyond its nodes is no more than the nodes leave of the whole
    left = max(float(np.median(walls)) - in_nodes, 0.0)
    between = min(float(np.median(walls - sum(ms for _, ms in times.values()))), left) if runs > 1 else left
    return Profile(
        nodes=nodes,
        between_ms=between,
        varying_ms=left - between,
        wall_ms=in_nodes + left,
        session_ms=float(np.median(_passes([run.session_ms for run in traced.runs], runs))),
        untraced_ms=float(np.median(_passes(traced.untraced_ms, runs))),
        runs=runs,
        note=note,
    )


def _passes(figures: Sequence[float], runs: int) -> Any:
    """Sums over the feeds of each run."""
    return np.asarray(figures, dtype=np.float64).reshape(runs, -1).sum(axis=1)


def _nodes(model: Model, traced: Traced, feeds: Feeds, times: Mapping[str, tuple[Event, Any]]) -> list[NodeTime]:
    # the main graph last, so that it wins: names that an optimisation makes may occur in a body as well
    by_name = {node.name: node for node in (*traced.graph.graph.all_nodes(), *traced.graph.graph)}
    where = scopes(traced.graph, model.ir)
    sizes = [sized(traced.graph, run, feed) for run, feed in zip(traced.runs, feeds, strict=False)]
    found = []
    for name, (event, ms) in times.items():
        node = by_name.get(name)
        scope = where.get(node, UNKNOWN) if node is not None else UNKNOWN
        work = _work(node, sizes) if node is not None else (None, None)
        found.append(NodeTime(name, event.op_type, event.provider, scope, float(np.median(ms)), *work))
    return found


def _work(node: ir.Node, every: Sequence[Sized]) -> tuple[int | None, int | None]:
    """Operations and bytes over all feeds."""
    values = list(dict.fromkeys(v for v in (*node.inputs, *node.outputs) if v is not None and v.name))
    if bodies(node) or any(value not in sizes.of for sizes in every for value in values):
        return None, None
    counted = [operations(node, sizes.shapes) if is_product(node) else (0, 0) for sizes in every]
    flops = None if None in counted else sum(sum(c) for c in counted if c is not None)
    return flops, sum(sizes.nbytes(value) for sizes in every for value in values)


def _limits(provider: str) -> str:
    on = execution_provider.named(provider)
    if on.blocks_by and os.environ.get(on.blocks_by) != "1":
        return f"times on {on.label} are those of launching kernels: set {on.blocks_by}=1 before the process starts"
    return ""
