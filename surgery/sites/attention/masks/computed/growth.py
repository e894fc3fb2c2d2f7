"""Whether a mask may limit distances that no length reached, by numbers that no constant of its says.

An integer that is compared with a distance is a limit that can be tried, or said to be untried. A distance that is
divided, multiplied or taken a logarithm of first, as in `distance / 1024 > 1.5`, is limited at another number, and no
row of a million keys can be computed to see it. So what grows with places is followed to where it is compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.input_roles import role
from onnxfix.nouns.types.operators import bodies, integer
from onnxfix.surgery.sites.constants import constant_tensor, small_array

from ..dependence import reads
from .cone import Cone
from .observing import HIDDEN

_STEADY, _PLACE, _SCALED = 0, 1, 2
"""Does not grow with places; is a place, or one less another; is made of places otherwise."""
_BOOLS = frozenset("Greater GreaterOrEqual Less LessOrEqual Equal And Or Not Xor IsNaN IsInf".split())
_COMPARED = frozenset("Greater GreaterOrEqual Less LessOrEqual Equal Min Max Clip".split())
_STEPS = frozenset("Floor Ceil Round Sign Mod".split())
_BENT = frozenset("Relu HardSigmoid ThresholdedRelu HardSwish".split())
_STEADIES = _BOOLS | frozenset("Shape Size ConstantOfShape EyeLike".split())
_OF_FIRST = frozenset(
    "Reshape Expand Unsqueeze Squeeze Transpose Slice Tile Identity Cast CastLike Trilu Flatten Gather GatherElements "
    "GatherND Neg Abs Split".split()
)
_OF_ALL = frozenset("Add Sub Min Max Clip Where Concat ScatterND ScatterElements".split()) | _STEPS
_ARITHMETIC = frozenset("Add Sub Mul Div Pow Sqrt Exp".split())
_ENDLESS = 1e30
"""The lowest numbers of types, and infinity: no places."""


def may_limit(cone: Cone, longest: int) -> bool:
    """Whether distances beyond `longest` may be hidden where those within are seen."""
    grown = _Growth(cone)
    return any(grown.limits(node, longest) for node in _towards(cone))


def _towards(cone: Cone) -> Iterator[ir.Node]:
    """The nodes whose numbers count: what is looked up in a table of numbers that hide nothing does not."""
    within, pending, seen = set(cone.nodes), [cone.target], {cone.target}
    for value in pending:  # grows
        node = value.producer()
        if node is None or node not in within:
            continue
        yield node
        behind = node.inputs[:1] if node.op_type == "Gather" and _is_harmless(node.inputs[0]) else reads(node)
        more = [v for v in behind if v is not None and v not in seen]
        seen.update(more)
        pending.extend(more)


def _is_harmless(table: ir.Value | None) -> bool:
    tensor = constant_tensor(table)
    if tensor is None or not tensor.dtype.is_floating_point() or not tensor.size:
        return False
    return float(tensor.numpy().astype(np.float32).min()) > HIDDEN


class _Growth:
    """How the values of a cone grow with places, and which are no integers."""

    def __init__(self, cone: Cone) -> None:
        self._levels: dict[ir.Value, int] = {v: _PLACE for v in cone.sources if role(v) == "position"}
        self._floats = {v for v in (*cone.sources, *cone.leaves, *cone.constants) if _is_float(v)}
        for node in cone.nodes:
            level, is_float = self._level(node), self._is_float(node)
            self._levels.update(dict.fromkeys(node.outputs, level))
            self._floats.update(node.outputs if is_float else ())

    def limits(self, node: ir.Node, longest: int) -> bool:
        """Whether a node takes places apart at a number that was not tried."""
        if bodies(node):
            return any(self._of(value) for value in reads(node))
        top = max(map(self._of, node.inputs), default=_STEADY)
        if node.op_type in _STEPS or (node.op_type == "Cast" and not self._is_float(node)):
            return top == _SCALED
        if node.op_type in _COMPARED and top == _PLACE:
            return any(_is_far(value, longest) for value in node.inputs)
        return (node.op_type in _COMPARED or node.op_type in _BENT) and top > _STEADY

    def _of(self, value: ir.Value | None) -> int:
        return self._levels.get(value, _STEADY) if value is not None else _STEADY

    def _level(self, node: ir.Node) -> int:
        levels = [self._of(value) for value in node.inputs]
        if node.op_type in _STEADIES or (node.op_type == "Cast" and integer(node, "to", 0) == ir.DataType.BOOL):
            return _STEADY
        if node.op_type == "Range":
            return _SCALED if self._is_float(node) and not _is_one(node.inputs[2]) else _PLACE
        if node.op_type == "CumSum":
            return _SCALED if self._is_float(node) or levels[0] else _PLACE
        if node.op_type in ("NonZero", "ArgMax"):
            return _PLACE
        if node.op_type in _OF_FIRST:
            return levels[0]
        if node.op_type == "Where":
            return max(levels[1:])
        top = max((self._of(value) for value in reads(node)), default=_STEADY)
        if node.op_type in _OF_ALL or not top:
            return top
        return top if node.op_type in ("Mul", "Div") and self._is_scaled_by_one(node) else _SCALED

    def _is_scaled_by_one(self, node: ir.Node) -> bool:
        """Or by what does not grow and is no constant: whether tokens are padding."""
        steady = [value for value in node.inputs if not self._of(value)]
        return bool(steady) and all(
            _is_one(v) or (constant_tensor(_uncast(v)) is None and not _is_made(v)) for v in steady
        )

    def _is_float(self, node: ir.Node) -> bool:
        if node.op_type == "Cast":
            return ir.DataType(integer(node, "to", 0)).is_floating_point()
        if node.op_type == "CastLike":
            return node.inputs[1] in self._floats
        return node.op_type not in _STEADIES and any(value in self._floats for value in node.inputs)


def _is_float(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    dtype = value.dtype if tensor is None else tensor.dtype
    return dtype is not None and dtype.is_floating_point()


def _is_one(value: ir.Value | None) -> bool:
    array = small_array(_uncast(value), limit=1)
    return array is not None and array.size == 1 and bool((np.abs(array) == 1).all())


def _is_far(value: ir.Value | None, longest: int) -> bool:
    """A constant beyond what was tried, or one that is computed; whole numbers alone are limits that are known."""
    tensor = constant_tensor(_uncast(value))
    if tensor is None or (tensor.size == 1 and tensor.dtype.is_integer()):
        return tensor is None and _is_made(value)
    numbers = np.abs(tensor.numpy().astype(np.float64)) if tensor.dtype != ir.DataType.BOOL else np.zeros(1)
    return bool(((numbers > longest) & (numbers < _ENDLESS)).any())


def _is_made(value: ir.Value | None) -> bool:
    """Of constants alone, by arithmetic."""
    node = value.producer() if value is not None else None
    return (
        node is not None
        and node.op_type in _ARITHMETIC
        and all(constant_tensor(_uncast(v)) is not None for v in node.inputs)
    )


def _uncast(value: ir.Value | None) -> ir.Value | None:
    """What is cast to the type of another, as exporters write numbers."""
    node = value.producer() if value is not None else None
    return _uncast(node.inputs[0]) if node is not None and node.op_type in ("CastLike", "Cast", "Identity") else value
