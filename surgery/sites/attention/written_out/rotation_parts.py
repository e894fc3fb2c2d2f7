"""The parts that a rotation may be made of: what is turned, what it is multiplied by, and where the result stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.layouts.ground import Ground
from onnxfix.surgery.sites.layouts.scalars import number
from onnxfix.surgery.sites.layouts.trial import MOVES
from onnxfix.surgery.sites.layouts.views import unchanged
from onnxfix.surgery.sites.sizes.pieces import piece

from .inner_shapes import readers

# Behind the sum: joined to the other half, side by side or one by one, and to features that stay as they are.
_JOINING = frozenset("Concat Unsqueeze Reshape Flatten Identity Cast".split())
_STEPS = 5
_MOST_PRODUCTS = 4
_LINEAR = frozenset((*MOVES, "Add", "Sub", "Neg"))


@dataclass(frozen=True)
class Parts:
    """`value` may be turned into `output` by `tables`: what it is multiplied by on the way."""

    output: ir.Value
    value: ir.Value
    tables: tuple[ir.Value, ...]


def parts(node: ir.Node, ground: Ground) -> Iterator[Parts]:
    """All that may be one rotation with the sum `node`, the largest first."""
    outputs, value = [node.outputs[0]], node.outputs[0]
    for _ in range(_STEPS):
        found = readers(value)
        if len(found) != 1 or value.is_graph_output() or found[0].op_type not in _JOINING:
            break
        value = found[0].outputs[0]
        outputs.append(value)
    for output in reversed(outputs):
        yield from _parts(output, ground)


def _parts(output: ir.Value, ground: Ground) -> Iterator[Parts]:
    shape = ground.shape(output)
    reached = _reached(output, ground)
    if shape is None or len(shape) < 3 or reached is None:
        return
    products, kept = reached
    if len(products) not in (2, _MOST_PRODUCTS):
        return
    for swap in (False, True):
        pairs = [_apart(product, ground, swap=swap) for product in products]
        data = [_behind(value, ground) for value in (*(pair[0] for pair in pairs), *kept)]
        shared = [value for value in data[0] if all(value in other for other in data[1:])]
        tables = tuple(dict.fromkeys(pair[1] for pair in pairs))
        for value in [v for v in shared if ground.shape(v) == shape][:2]:
            yield Parts(output, value, tables)


def _reached(output: ir.Value, ground: Ground) -> tuple[list[ir.Node], list[ir.Value]] | None:
    """The products that an output is a sum and a rearrangement of, and what it takes without one."""
    products: dict[ir.Node, None] = {}
    kept: dict[ir.Value, None] = {}
    pending, seen = [output], set[ir.Value]()
    while pending:
        value = pending.pop()
        node = value.producer()
        if value in seen:
            continue
        seen.add(value)
        if node is not None and node.op_type == "Mul" and is_standard(node) and not _by_number(node, ground):
            products[node] = None
        elif node is not None and _sums(node, ground):
            pending.extend(_inputs(node, ground))
        elif products or value is not output:
            kept[value] = None
        if len(products) > _MOST_PRODUCTS or len(kept) > 1:
            return None
    found = list(products)
    # what is kept stands behind slices; those are looked through again from the value itself
    return found, list(kept)


def _by_number(node: ir.Node, ground: Ground) -> bool:
    return any(number(value, ground) is not None for value in node.inputs)


def _sums(node: ir.Node, ground: Ground) -> bool:
    if not is_standard(node):
        return False
    return unchanged(node, ground) or (node.op_type in _LINEAR and node.op_type not in ("Slice", "Split", "Gather"))


def _inputs(node: ir.Node, ground: Ground) -> list[ir.Value]:
    """What a node takes data from: all of it for sums and joins, else the first."""
    part = piece(node, ground.probe.shapes, ground.probe.numbers)
    if part is not None:
        return [part.whole]
    some = node.inputs if node.op_type in ("Add", "Sub", "Concat") else node.inputs[:1]
    return [value for value in some if value is not None]


def _apart(product: ir.Node, ground: Ground, *, swap: bool) -> tuple[ir.Value, ir.Value]:
    """Data and table of a product: the table is the smaller, or the second where both are of one size."""
    left, right = product.inputs
    assert left is not None and right is not None
    sizes = [_elements(value, ground) for value in (left, right)]
    first = sizes[0] > sizes[1] if sizes[0] != sizes[1] else not swap
    return (left, right) if first else (right, left)


def _elements(value: ir.Value, ground: Ground) -> int:
    count = 1
    for size in ground.shape(value) or ():
        count *= size
    return count


def _behind(value: ir.Value, ground: Ground) -> list[ir.Value]:
    """A value and all that it is a rearrangement of, the nearest first."""
    found: dict[ir.Value, None] = {}
    pending = [value]
    while pending:
        current = pending.pop(0)
        if current in found:
            continue
        found[current] = None
        node = current.producer()
        if node is not None and is_standard(node) and (node.op_type in MOVES or node.op_type == "Neg"
                                                       or unchanged(node, ground)):  # fmt: skip
            pending.extend(_inputs(node, ground))
    return list(found)
