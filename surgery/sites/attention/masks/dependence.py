"""Which inputs a value is computed from, by their numbers: reading a shape is no dependence."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfix.nouns.types.input_roles import role
from onnxfix.nouns.types.operators import bodies, is_standard
from onnxfix.surgery.sites.constants import constant_tensor

from .mask import Refusal

SIZES = ("Shape", "Size")
_RANDOM = ("Random", "Bernoulli", "Multinomial")
_PRODUCTS = frozenset(
    "MatMul Gemm Conv Einsum FusedMatMul MatMulInteger MatMulIntegerToFloat QLinearMatMul DynamicQuantizeLinear "
    "LayerNormalization RMSNormalization".split()
)
_MOVES = frozenset("Cast Identity Reshape Unsqueeze Squeeze Flatten Slice Expand Transpose".split())


class Dependence:
    """Of the values of one graph, which must not change meanwhile. A source is an input of the graph or of a body, or
    what a node draws at random."""

    def __init__(self, graph: ir.Graph) -> None:
        self._inputs = frozenset(graph.inputs)
        self._found: dict[ir.Value, frozenset[ir.Value]] = {}
        self._obstacles: dict[ir.Value, str] = {}

    def sources(self, value: ir.Value) -> frozenset[ir.Value]:
        """All whose numbers count."""
        pending = [value]
        while pending:  # without recursion: graphs are thousands of nodes deep
            last = pending[-1]
            missing = [v for v in _behind(last) if v not in self._found] if last not in self._found else []
            pending.extend(missing)
            if not missing:
                self._found[pending.pop()] = self._of(last)
        return self._found[value]

    def _of(self, value: ir.Value) -> frozenset[ir.Value]:
        if value in self._found:
            return self._found[value]
        node = value.producer()
        if constant_tensor(value) is not None:
            return frozenset()
        if node is None or node.op_type.startswith(_RANDOM):
            return frozenset({value})
        return frozenset().union(*(self._found[v] for v in _behind(value)))

    def is_activation(self, value: ir.Value) -> bool:
        """Whether it depends on anything but padding and positions."""
        return any(self.obstacle(source) for source in self.sources(value))

    def obstacle(self, source: ir.Value) -> str:
        """Why nothing that reads a source is a mask as kernels know them, in words; empty for padding and positions."""
        if source not in self._obstacles:
            self._obstacles[source] = self._obstacle(source)
        return self._obstacles[source]

    def _obstacle(self, source: ir.Value) -> str:
        name, rank = source.name, None if source.shape is None else len(source.shape)
        if source.producer() is not None:
            return f"draws random numbers ({name})"
        if source not in self._inputs:
            return f"reads {name}, which the node around its body gives it"
        if source.is_initializer():
            return f"reads {name}, a constant that a caller can replace"
        what = role(source)
        if what == "position" and (rank or 9) <= 2:
            return ""
        if what == "mask":
            return "" if rank == 2 else f"reads {name}, a mask that the caller makes for each query"
        whole = source.dtype is not None and (source.dtype.is_integer() or source.dtype == ir.DataType.BOOL)
        if not what and whole and rank == 2 and not is_looked_up(source):
            return ""
        kinds = {"ids": "token ids", "segment": "segments"}
        return f"reads the numbers of {kinds.get(what, 'an input')} ({name})"

    def product(self, value: ir.Value) -> ir.Node | None:
        """The nearest node that makes it an activation: a product, a norm, a row of a table. None where there is no
        such node: then inputs are read as they are."""
        return next((node for node in self._behind(value) if is_product(node)), None)

    def refusal(self, value: ir.Value) -> Refusal:
        """Why an activation is no mask."""
        product = self.product(value)
        if product is not None:
            return Refusal(product, f"depends on activations: {product.op_type} {product.outputs[0].name}")
        *_, farthest = (value.producer(), *self._behind(value))
        reasons = [self.obstacle(source) for source in sorted(self.sources(value), key=lambda v: v.name or "")]
        return Refusal(farthest, next((reason for reason in reasons if reason), ""))

    def _behind(self, value: ir.Value) -> Iterator[ir.Node]:
        """The nodes that make an activation of a value, nearest first."""
        pending, seen = [value], {value}
        for current in pending:  # grows
            node = current.producer()
            if node is not None:
                yield node
            behind = [v for v in _behind(current) if v not in seen and self.is_activation(v)]
            seen.update(behind)
            pending.extend(behind)


def is_product(node: ir.Node) -> bool:
    """Whether it makes activations: a product, a norm, a row of a table."""
    return node.op_type in _PRODUCTS or _is_lookup(node)


def is_looked_up(value: ir.Value) -> bool:
    """Whether the numbers of an input are rows of a table of embeddings."""
    pending = [value]
    for current in pending:
        for node, index in current.uses():
            if index == 1 and _is_lookup(node):
                return True
            if node.op_type in _MOVES and index == 0:
                pending.extend(node.outputs)
    return False


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, its bodies included: values from outside them."""
    yield from (v for v in node.inputs if v is not None)
    for body in bodies(node):
        inner = list(body.all_nodes())
        within = {v for n in inner for v in n.outputs} | set(body.inputs) | set(body.initializers.values())
        nested = {v for n in inner for b in bodies(n) for v in (*b.inputs, *b.initializers.values())}
        read = [v for n in inner for v in n.inputs] + [v for n in (body, *(b for m in inner for b in bodies(m)))
                                                       for v in n.outputs]  # fmt: skip
        yield from (v for v in read if v is not None and v not in within and v not in nested)


def _behind(value: ir.Value) -> list[ir.Value]:
    """What the numbers of a value are computed from."""
    node = value.producer()
    if node is None or constant_tensor(value) is not None or (node.op_type in SIZES and is_standard(node)):
        return []
    return list(reads(node))


def _is_lookup(node: ir.Node) -> bool:
    table = constant_tensor(node.inputs[0]) if node.op_type == "Gather" and is_standard(node) else None
    floats = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    return table is not None and table.dtype in floats and len(table.shape) >= 2
