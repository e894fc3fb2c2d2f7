"""What differs between two nodes that are paired: attributes, small constants that they read, the types they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx_ir as ir

from onnxfix.flows.diagnosis.difference.weights.rounded import between, is_float
from onnxfix.flows.diagnosis.difference.weights.stored import LEAST
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import BODIES
from onnxfix.surgery.sites.constants import constant_tensor

from .defaults import stated
from .digests import Digests, commutes, plain

SHOWN = 8
"""Elements of a constant, and of a list, that are written out."""
LONGEST = 60


class Wiring:
    """Which value of the second graph stands for one of the first: inputs that are paired, and outputs of nodes."""

    def __init__(self, inputs: Iterable[tuple[ir.Value, ir.Value]], pairs: Mapping[ir.Node, ir.Node]) -> None:
        self._of = dict(inputs)
        for one, other in pairs.items():
            self._of.update(zip(one.outputs, other.outputs, strict=False))
        self._known = set(self._of.values())

    def changed(self, one: ir.Node, other: ir.Node) -> Iterator[int]:
        """Inputs that two paired nodes read from values which are in both graphs, and not the same."""
        if commutes(one) and {self._of.get(v) for v in one.inputs if v is not None} == set(other.inputs):
            return
        for place, (value, beside) in enumerate(zip(one.inputs, other.inputs, strict=False)):
            if value in self._of and beside in self._known and self._of[value] is not beside:
                yield place


def altered(one: ir.Node, other: ir.Node, sides: tuple[Digests, Digests], wiring: Wiring) -> Iterator[str]:
    """`to FLOAT → FLOAT16`, a text for each attribute and constant; weights are compared elsewhere."""
    yield from (f"input {place} comes from elsewhere" for place in wiring.changed(one, other))
    if sides[0].labels[one] != sides[1].labels[other]:
        yield from _attributes(one, other, sides)
    if commutes(one) and _constants(one, sides[0]) == _constants(other, sides[1]):
        return
    for place in range(max(len(one.inputs), len(other.inputs))):
        yield from _constant(place, _input(one, place), _input(other, place), sides)


def type_change(one: ir.Node, other: ir.Node, types: tuple[ElementTypes, ElementTypes]) -> tuple[str, str] | None:
    """`float`, `float16` of their first outputs, None where these are equal or not known."""
    if not one.outputs or not other.outputs:
        return None
    before, after = types[0].get(one.outputs[0]), types[1].get(other.outputs[0])
    return (_bare(before), _bare(after)) if before and after and before != after else None


def _bare(type_string: str) -> str:
    inside = type_string.startswith("tensor(") and type_string.endswith(")")
    return type_string[len("tensor(") : -1] if inside else type_string


def _attributes(one: ir.Node, other: ir.Node, sides: tuple[Digests, Digests]) -> Iterator[str]:
    ours, theirs = stated(one, sides[0].imports), stated(other, sides[1].imports)
    for name in sorted({*ours, *theirs}):
        before, after = ours.get(name), theirs.get(name)
        if before is not None and after is not None and before.type in BODIES and before.type == after.type:
            continue  # its nodes are paired themselves
        texts = _said(before), _said(after)
        if texts[0] != texts[1]:
            yield f"{name} {texts[0]} → {texts[1]}"
        elif _held(before, sides[0]) != _held(after, sides[1]):
            yield f"{name} holds other numbers"


def _held(given: ir.Attr | None, digests: Digests) -> str:
    if given is None or given.is_ref() or given.type != ir.AttributeType.TENSOR:
        return ""
    return digests.tensor(given.value)


def _said(given: ir.Attr | None) -> str:
    if given is None:
        return "by default"
    if given.is_ref():
        return f"argument {given.ref_attr_name}"
    if given.type == ir.AttributeType.TENSOR:
        return _of_tensor(given.value)
    if given.type == ir.AttributeType.INT and given.name in ("to", "dtype"):
        return _data_type(given.as_int())
    value = plain(given.value)
    if isinstance(value, list) and len(value) > SHOWN:
        return f"{len(value)} elements"
    return str(value)[:LONGEST]


def _data_type(number: int) -> str:
    return ir.DataType(number).name if number in set(ir.DataType) else str(number)


def _constant(
    place: int, before: ir.Value | None, after: ir.Value | None, sides: tuple[Digests, Digests]
) -> Iterator[str]:
    one, other = constant_tensor(before), constant_tensor(after)
    if (before is None) != (after is None):
        yield f"input {place} {'added' if before is None else 'left out'}"
    if one is None or other is None or min(one.size, other.size) >= LEAST:
        return
    if sides[0].constant(before) != sides[1].constant(after) and not _is_rounded(one, other):
        texts = _of_tensor(one), _of_tensor(other)
        yield f"input {place} {' → '.join(texts) if texts[0] != texts[1] else 'holds other numbers'}"


def _constants(node: ir.Node, digests: Digests) -> set[str | None]:
    return {digests.constant(value) for value in node.inputs}


def _is_rounded(one: ir.TensorProtocol, other: ir.TensorProtocol) -> bool:
    """Whether two constants are one in float types of different length."""
    if one.dtype == other.dtype or not (is_float(one.dtype) and is_float(other.dtype)) or one.size != other.size:
        return False
    return between(one, other, turned=False).unlike == 0


def _of_tensor(tensor: ir.TensorProtocol) -> str:
    """`[0, 0, 768]`, or type and shape of a large one."""
    if tensor.size > SHOWN or tensor.dtype == ir.DataType.STRING:
        return f"{tensor.dtype.name}{list(tensor.shape.numpy())}"
    numbers = tensor.numpy()
    if numbers.dtype.kind not in "iub":
        numbers = numbers.astype("float32")
        return str([float(f"{float(n):.6g}") for n in numbers.reshape(-1)]) if numbers.ndim else f"{float(numbers):.6g}"
    return str(numbers.tolist())


def _input(node: ir.Node, place: int) -> ir.Value | None:
    return node.inputs[place] if place < len(node.inputs) else None
