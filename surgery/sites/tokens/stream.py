"""The stream: the nodes that can run on one row of all real tokens, and the values at its borders.

A node is among them where it is per token and its slices lie one behind the other, and where it is connected through
such nodes to a product with weights: that is what costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.sites import disjoint_sets, reach
from onnxfix.surgery.sites.attention.rotary import FLOATS

from .axes import Layout
from .masked import is_filled, is_masked
from .mixers import made_of, makers, reader_of_padding
from .padding import Padding
from .per_token import is_per_token, is_read_whole

PRODUCTS = frozenset({"MatMul", "Gemm"})
"""What has weights, in a stream: attention's own are of pairs of tokens."""


@dataclass(frozen=True)
class Stream:
    """`nodes` in their order; `entries` are read by them and made elsewhere, by token or by position; `exits` are made
    by them and read elsewhere, or are outputs of the model. `told`: who reads what stands at tokens of padding, and
    keeps what is computed before it out."""

    nodes: tuple[ir.Node, ...]
    entries: tuple[ir.Value, ...]
    exits: tuple[ir.Value, ...]
    layout: Layout
    told: tuple[ir.Node, ...] = ()


def find(model: Model, padding: Padding) -> Stream:
    """The largest stream of the main graph; one without nodes where there is none.

    What is computed before a node that needs to know of padding stays outside, as its padding must be what it was.
    """
    layout = padding.layout
    types = infer(model.ir)
    able = {node for node in model.graph if is_per_token(node, layout) and not _hides(node, padding)} - padding.others
    nodes = _fitting(able, layout, types)
    readers: dict[ir.Node, None] = {}
    while told := _told(nodes, padding):
        before = set(reach.reached(makers(told), lambda node: _shown(node, padding)))
        if any(node.op_type in PRODUCTS for node in before & nodes):
            readers |= dict.fromkeys(told.values())
        nodes = _fitting(nodes - before, layout, types)
    ordered = tuple(node for node in model.graph if node in nodes)
    entries = dict.fromkeys(v for node in ordered for v in _entries(node, nodes, layout))
    exits = tuple(v for node in ordered for v in node.outputs if _leaves(v, nodes))
    return Stream(ordered, tuple(entries), exits, layout, tuple(readers))


def _hides(node: ir.Node, padding: Padding) -> bool:
    """Whether a node makes what hides padding, or other numbers of the mask alone, which have to be there for all
    tokens: what is put in the place of padding behind a stream, zeros, would hide nothing."""
    return node in padding.hiding or all(padding.numbers.is_of_mask(value) for value in node.outputs if value.name)


def products(found: Stream) -> list[ir.Node]:
    """Those with weights: what costs."""
    return [node for node in found.nodes if node.op_type in PRODUCTS]


def _told(nodes: set[ir.Node], padding: Padding) -> dict[ir.Value, ir.Node]:
    """Values that somebody outside reads at tokens of padding, and who; an output that says itself where padding is, is
    read by whoever gets it."""
    values = [value for node in nodes for value in node.outputs]
    read = {value: reader_of_padding(value, nodes, padding) for value in values}
    told = {value: reader for value, reader in read.items() if reader is not None}
    filled = (v for v in values if v.is_graph_output() and is_filled(v, padding))
    return told | {value: node for value in filled if (node := value.producer()) is not None}


def _shown(node: ir.Node, padding: Padding) -> list[ir.Node]:
    """What made the numbers that a node reads, but for those that it masks."""
    masked = {value for index, value in enumerate(node.inputs) if value is not None and is_masked(node, index, padding)}
    return [maker for maker in made_of(node) if not masked & set(maker.outputs)]


def _fitting(nodes: set[ir.Node], layout: Layout, types: ElementTypes) -> set[ir.Node]:
    while misfits := {node for node in nodes if not _fits(node, nodes, layout, types)}:
        nodes = nodes - misfits
    return _worthwhile(nodes)


def _entries(node: ir.Node, nodes: set[ir.Node], layout: Layout) -> Iterator[ir.Value]:
    for index, value in enumerate(node.inputs):
        if value is None or value.producer() in nodes or is_read_whole(node, index, layout):
            continue
        if layout.depends(value):
            yield value


def _leaves(value: ir.Value, nodes: set[ir.Node]) -> bool:
    return value.is_graph_output() or any(reader not in nodes for reader in value.consumers())


def _fits(node: ir.Node, nodes: set[ir.Node], layout: Layout, types: ElementTypes) -> bool:
    """Whether what crosses the border at a node lies token behind token, or is of positions; and leaves it as numbers
    with a fraction: what counts or compares tokens, such as positions behind padding, counts those of padding too. What
    is an output and nothing else, as the class of each token is, may be any number."""
    whole = [value for index, value in enumerate(node.inputs) if value and is_read_whole(node, index, layout)]
    if any(value.producer() in nodes for value in whole):
        return False  # rows of a table that is of tokens itself
    for value in _entries(node, nodes, layout):
        axes = layout.axes(value)
        if axes is None or not (axes.leading or axes.batch is None):
            return False
    exits = [value for value in node.outputs if _leaves(value, nodes)]
    return all(
        layout.features(value) is not None and (types.get(value) in FLOATS or _is_output_alone(value))
        for value in exits
    )


def _is_output_alone(value: ir.Value) -> bool:
    return value.is_graph_output() and not value.consumers()


def _worthwhile(nodes: set[ir.Node]) -> set[ir.Node]:
    """Those in one piece with a product with weights."""
    above = {node: node for node in nodes}
    for node in nodes:
        for reader in (reader for value in node.outputs for reader in value.consumers() if reader in nodes):
            above[disjoint_sets.root(above, reader)] = disjoint_sets.root(above, node)
    costly = {disjoint_sets.root(above, node) for node in nodes if node.op_type in PRODUCTS}
    return {node for node in nodes if disjoint_sets.root(above, node) in costly}
