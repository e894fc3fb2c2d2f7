"""Where rotary angles meet queries and keys, however that is written: told from what comes out, not from operators.

A sum of two products is where a rotation ends or, joined to its other half, nearly ends. What is turned and the tables
of cosines and sines are looked for behind it, and the part between is tried on numbers: it is a rotation if every
element agrees with the formula, x · cos ± pair · sin (Su et al., RoFormer, 2021), at two sets of sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.layouts.ground import Ground, grounds
from onnxfix.surgery.sites.layouts.layout import Layout
from onnxfix.surgery.sites.layouts.trial import UntriedError
from onnxfix.surgery.sites.layouts.views import stages

from .refusal import Refusal, UnreadableError
from .written_out.operands import Read, placed
from .written_out.rotation_parts import Parts, parts
from .written_out.rotations import Rotation, rotation


@dataclass(frozen=True)
class RotaryProduct:
    """`output` is `value` turned, of the same axes, by `rotation`; `source` holds the value as [batch, sequence, heads,
    size] times a factor; `order` are the axes of the value in that order, `heads` the sizes of those of heads."""

    output: ir.Value
    value: ir.Value
    rotation: Rotation
    source: Read
    order: tuple[int, ...]
    heads: tuple[int, ...]
    batch: int = field(compare=False)
    """Its size in one trial: rotations of one table share their positions only where it is the same."""


def find(model: Model) -> Iterator[RotaryProduct]:
    """All that can be read, in graph order."""
    return (site for site in sites(model) if isinstance(site, RotaryProduct))


def sites(model: Model) -> Iterator[RotaryProduct | Refusal]:
    """A rotation, or the reason against it, for each sum of the main graph and of bodies in it that may be one, in
    graph order."""
    sums = [node for node in model.graph.all_nodes() if node.op_type == "Add" and is_standard(node)]
    known: tuple[Ground, Ground] | None = None
    done = set[ir.Value]()
    for node in sums:
        if not _of_products(node):
            continue
        known = known or grounds(model)
        found = _site(node, known)
        if isinstance(found, Refusal) or (found is not None and found.output not in done):
            done |= {found.output} if isinstance(found, RotaryProduct) else set()
            yield found


def in_fp32(found: Iterable[RotaryProduct | Refusal], types: ElementTypes) -> list[RotaryProduct]:
    """Those that the operator takes as they are: its kernel for a CPU has no other type."""
    return [
        site for site in found
        if isinstance(site, RotaryProduct)
        and all(types.is_float32(value) for value in (site.value, site.rotation.cos, site.rotation.sin))
    ]  # fmt: skip


def _of_products(node: ir.Node) -> bool:
    made = [v.producer() if v is not None else None for v in node.inputs]
    return all(n is not None and n.op_type in ("Mul", "Cast", "Identity") for n in made)


def _site(node: ir.Node, known: tuple[Ground, Ground]) -> RotaryProduct | Refusal | None:
    first, second = known
    for candidate in parts(node, first):
        try:
            found = _product(candidate, first)
            if found is not None and (second is first or found == _product(candidate, second)):
                return found
        except UntriedError:
            return Refusal(node, node, "cannot be tried: a size is not known, or too large")
        except UnreadableError as error:
            return Refusal(node, error.node, error.reason)
    return None


def _product(candidate: Parts, ground: Ground) -> RotaryProduct | None:
    turned = rotation(candidate, ground)
    shape = ground.shape(candidate.value)
    if turned is None or shape is None:
        return None
    node = candidate.output.producer()
    assert node is not None
    order = _order(turned.places, len(shape), node)
    heads = tuple(shape[i] for i in order[2:-1])

    def laid(layout: Layout) -> Layout | None:
        sizes = [shape[i] for i in order]
        joined = 1
        for size in heads:
            joined *= size
        return layout.transposed(order).reshaped((*sizes[:2], joined, sizes[-1]))

    source = placed(stages(candidate.value, ground), laid, ground, node)
    if source is None:
        raise UnreadableError(node, "turns what is not made of batch, positions, heads and features")
    return RotaryProduct(candidate.output, candidate.value, turned, source, order, heads, shape[order[0]])


def _order(places: tuple[int, ...], rank: int, node: ir.Node) -> tuple[int, ...]:
    """The axes as batch, sequence, heads, features; `places`: those along which the tables change, features apart."""
    if not places or len(places) > 2 or rank < 3:
        raise UnreadableError(node, "turns by angles that do not go by position")
    sequence = places[-1]
    batch = places[0] if len(places) > 1 else next(i for i in range(rank) if i != sequence)
    return (batch, sequence, *(i for i in range(rank - 1) if i not in (batch, sequence)), rank - 1)
