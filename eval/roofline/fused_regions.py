"""A graph as a compiler would run it: what is constant, what is only a view, and what can be one fused kernel.

Products and lookups break the graph. Two other nodes belong to one kernel when one reads the other or both read one
value, and as many breaks lie before the one as before the other on their longest paths: no path then leaves the kernel
and comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir

from onnxfix.eval.profile.computed_constants import Leaves
from onnxfix.eval.profile.tensor_sizes import Sized
from onnxfix.nouns.types.operators import bodies
from onnxfix.surgery.sites.disjoint_sets import root

VIEWS = frozenset({"Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten", "DequantizeLinear"})
"""Done by who reads the result; numbers are dequantized on reading them."""
_SHAPES = frozenset({"Shape", "Size"})


class Flow:
    """One graph with views and constants taken out. `breakers` are products, lookups and control flow, `level` is the
    number of breaks before every other node that computes something."""

    def __init__(self, graph: ir.Graph, sizes: Sized, breaks: Callable[[ir.Node], bool]) -> None:
        self.graph, self.sizes = graph, sizes
        self.breakers: list[ir.Node] = []
        self.level: dict[ir.Node, int] = {}
        self.readers: dict[ir.Value, list[ir.Node]] = {}
        self.leaves = Leaves()
        self.kept = {self.origin(value) for value in graph.outputs}
        depth: dict[ir.Value, int] = {}
        for node in graph:
            if node.op_type in VIEWS | _SHAPES or self._is_constant(node):
                continue
            read = list(self.reads(node))
            for value in read:
                self.readers.setdefault(value, []).append(node)
            before = max((depth.get(value, 0) for value in read), default=0)
            broken = breaks(node) or bool(bodies(node))
            if broken:
                self.breakers.append(node)
            else:
                self.level[node] = before
            depth |= dict.fromkeys(node.outputs, before + broken)

    def reads(self, node: ir.Node) -> Iterator[ir.Value]:
        """Where the values that a node reads come from, each once, those that its bodies capture included."""
        inner = [n for body in bodies(node) for n in body.all_nodes()]
        captured = (v for n in inner for v in n.inputs if v is not None and self._owner(v) is self.graph)
        yield from dict.fromkeys(self.origin(v) for v in (*node.inputs, *captured) if v is not None)

    def origin(self, value: ir.Value) -> ir.Value:
        """The value of which this one is a view; constants are their own."""
        while not self.leaves(value) and (producer := value.producer()) is not None and producer.op_type in VIEWS:
            first = producer.inputs[0]
            if first is None:
                break
            value = first
        return value

    def nbytes(self, value: ir.Value) -> int:
        """Bytes of what a value is a view of; of a constant as it is stored, where that is less."""
        value = self.origin(value)
        own, leaves = self.sizes.nbytes(value), self.leaves(value)
        stored = sum(self.sizes.nbytes(leaf) for leaf in leaves)
        return min(own or stored, stored) if leaves else own

    def _is_constant(self, node: ir.Node) -> bool:
        return bool(node.outputs) and bool(self.leaves(node.outputs[0]))

    def _owner(self, value: ir.Value) -> ir.Graph | ir.Function | None:
        producer = value.producer()
        return producer.graph if producer is not None else value.graph


def moved(flow: Flow) -> Iterator[tuple[ir.Node, float]]:
    """For each node outside of products and lookups the bytes that its fused kernel reads or writes for it."""
    kernel = _kernels(flow)
    for value, readers in flow.readers.items():
        producer = value.producer()
        home = kernel.get(producer) if producer is not None else None
        for there in dict.fromkeys(kernel[n] for n in readers if n in kernel):
            if there is not home:
                yield from _read(flow, value, [n for n in readers if kernel.get(n) is there])
        if (
            producer is not None
            and home is not None
            and (value in flow.kept or any(kernel.get(n) is not home for n in readers))
        ):
            yield producer, float(flow.sizes.nbytes(value))
    for value in flow.kept - flow.readers.keys():
        if (producer := value.producer()) is not None and producer in kernel:
            yield producer, float(flow.sizes.nbytes(value))


def _read(flow: Flow, value: ir.Value, readers: list[ir.Node]) -> Iterator[tuple[ir.Node, float]]:
    """A value read once for all readers in a kernel, or no more than they slice from it."""
    whole = flow.nbytes(value)
    wanted = {n: flow.sizes.nbytes(n.outputs[0]) if n.op_type == "Slice" else whole for n in readers}
    total = sum(wanted.values())
    for node, part in wanted.items():
        if total:
            yield node, min(whole, total) * part / total


def _kernels(flow: Flow) -> dict[ir.Node, ir.Node]:
    """Node → a node that stands for its kernel, of all that are not breakers."""
    above = {node: node for node in flow.level}
    for value, readers in flow.readers.items():
        if flow.leaves(value):
            continue
        together: dict[int, ir.Node] = {}
        producer = value.producer()
        for node in ([producer] if producer is not None else []) + readers:
            if node in flow.level:
                other = together.setdefault(flow.level[node], node)
                above[root(above, node)] = root(above, other)
    return {node: root(above, node) for node in flow.level}
