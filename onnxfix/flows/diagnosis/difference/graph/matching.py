"""Which node of one graph is which of the other: by what they compute, where it goes, and which weights they read.

Nodes of equal digests are the same. Of the others, those are paired that everything behind them reads in the same way,
that read the same weight, and then, step by step, the makers and readers of what is paired already, where operator and
place leave one choice. A cast between two of them does not stop that. No name is looked at but the torch module, and it
only decides between equal choices.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping

import onnx_ir as ir

from onnxfix.nouns.types.operators import bodies
from onnxfix.nouns.types.operators import graphs as every_graph

from .behind import Behind
from .digests import Digests, is_constant, operator

SKIPPED = ("Cast", "Identity")
"""Operators that stand between the same two in one graph and not in the other."""
THROUGH = (*SKIPPED, "CastLike", "Transpose", "Reshape", "DequantizeLinear")
"""Operators through which a weight is still that weight to a reader."""


class Matching:
    """`of`: node of the first graph → node of the second."""

    def __init__(self, one: Digests, other: Digests, graphs: tuple[ir.Graph, ir.Graph]) -> None:
        self.one, self.other = one, other
        self.of: dict[ir.Node, ir.Node] = {}
        self.taken: set[ir.Node] = set()
        self.nodes = tuple([n for g in every_graph(graph) for n in g if not is_constant(n)] for graph in graphs)
        self._waiting: deque[tuple[ir.Node, ir.Node]] = deque()

    def run(
        self, inputs: Iterable[tuple[ir.Value, ir.Value]], outputs: Iterable[tuple[ir.Value, ir.Value]],
        scopes: tuple[Mapping[ir.Node, str], Mapping[ir.Node, str]],
        weights: tuple[Mapping[ir.Value, int], Mapping[ir.Value, int]],
    ) -> None:  # fmt: skip
        """`inputs`, `outputs`: those of the models, in pairs. `weights`: values that hold a weight, by its pair's
        number."""
        ends = list(outputs)
        self._by_key(self.one.of_node.get, self.other.of_node.get, scopes)
        behind = [Behind(d, [pair[i] for pair in ends]) for i, d in enumerate((self.one, self.other))]
        self._by_key(behind[0].of, behind[1].of, scopes)
        ours, theirs = (functools.partial(_reads, weights=held) for held in weights)
        self._by_key(ours, theirs, scopes, only_one=True)
        for first, second in ends:
            self._try(first.producer(), second.producer())
        for first, second in inputs:
            self._readers(first, second)
        self._spread()

    def _by_key(
        self, first: Callable[[ir.Node], object], second: Callable[[ir.Node], object],
        scopes: tuple[Mapping[ir.Node, str], Mapping[ir.Node, str]], only_one: bool = False,
    ) -> None:  # fmt: skip
        """Pair nodes of one key: of several those of one module first, then in their order."""
        groups: dict[object, tuple[list[ir.Node], list[ir.Node]]] = {}
        for side, key in enumerate((first, second)):
            for node in self.nodes[side]:
                found = None if node in self.of or node in self.taken else key(node)
                if found is not None:
                    groups.setdefault(found, ([], []))[side].append(node)
        for ours, theirs in groups.values():
            if only_one and (len(ours), len(theirs)) != (1, 1):
                continue
            left, waiting = [], _by_scope(theirs, scopes[1])
            for one in ours:
                same = waiting.get(scopes[0][one])
                if same:
                    self._pair(one, same.popleft())
                else:
                    left.append(one)
            rest = (other for other in theirs if other not in self.taken)
            for one, other in zip(left, list(rest), strict=False):
                self._pair(one, other)

    def _pair(self, one: ir.Node, other: ir.Node) -> None:
        self.of[one] = other
        self.taken.add(other)
        self._waiting.append((one, other))

    def _free(self, one: ir.Node, other: ir.Node) -> bool:
        return one not in self.of and other not in self.taken and operator(one) == operator(other)

    def _try(self, one: ir.Node | None, other: ir.Node | None) -> None:
        """Pair two nodes, or those behind a cast that only one of them is."""
        for _ in range(2 * len(SKIPPED)):
            if one is None or other is None or is_constant(one) or is_constant(other):
                return
            if self._free(one, other):
                self._pair(one, other)
                return
            if one.op_type in SKIPPED and one not in self.of and operator(one) != operator(other):
                one = _maker(one, 0)
            elif other.op_type in SKIPPED and other not in self.taken and operator(one) != operator(other):
                other = _maker(other, 0)
            else:
                return

    def _spread(self) -> None:
        while self._waiting:
            one, other = self._waiting.popleft()
            for place in range(min(len(one.inputs), len(other.inputs))):
                self._try(_maker(one, place), _maker(other, place))
            for first, second in zip(one.outputs, other.outputs, strict=False):
                self._readers(first, second)
            for body, beside in zip(bodies(one), bodies(other), strict=False):
                for first, second in zip(body.outputs, beside.outputs, strict=False):
                    self._try(first.producer(), second.producer())

    def _readers(self, first: ir.Value, second: ir.Value) -> None:
        """Readers at the same place of the same operator, where each side has one."""
        ours, theirs = _uses(first, self.of), _uses(second, self.taken)
        for key, nodes in ours.items():
            beside = theirs.get(key, [])
            if len(nodes) == len(beside) == 1 and self._free(nodes[0], beside[0]):
                self._pair(nodes[0], beside[0])


def _by_scope(nodes: Iterable[ir.Node], scopes: Mapping[ir.Node, str]) -> dict[str, deque[ir.Node]]:
    found: dict[str, deque[ir.Node]] = {}
    for node in nodes:
        found.setdefault(scopes[node], deque()).append(node)
    return found


def _maker(node: ir.Node, place: int) -> ir.Node | None:
    value = node.inputs[place] if place < len(node.inputs) else None
    return value.producer() if value is not None else None


def _uses(value: ir.Value, known: Container[ir.Node]) -> dict[tuple[object, ...], list[ir.Node]]:
    """Readers that are not paired yet, by operator and place, those behind a cast among them."""
    found: dict[tuple[object, ...], list[ir.Node]] = {}
    for reader, place in value.uses():
        if reader not in known:
            found.setdefault((*operator(reader), place), []).append(reader)
    return found


def _reads(node: ir.Node, weights: Mapping[ir.Value, int]) -> object:
    """Operator and weights of a node that reads any, as they are or through what only moves or converts them."""
    if node.op_type in THROUGH:
        return None
    found = [(place, weights[held]) for place, v in enumerate(node.inputs) if (held := _weight(v, weights)) is not None]
    return (operator(node), tuple(found)) if found else None


def _weight(value: ir.Value | None, weights: Mapping[ir.Value, int]) -> ir.Value | None:
    for _ in range(len(THROUGH)):
        producer = value.producer() if value is not None and value not in weights else None
        if producer is None or producer.op_type not in THROUGH or not producer.inputs:
            break
        value = producer.inputs[0]
    return value if value in weights else None
