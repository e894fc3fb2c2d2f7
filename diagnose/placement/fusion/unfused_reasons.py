"""Why a unit of a QDQ graph computes in float, in one sentence for who made it; that it does, the runtime has said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from onnxfix.nouns.runtime.provider import Provider
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.type_strings import HALVES
from onnxfix.surgery.sites.constants import constant_tensor

from .quantized_units import CLIPS, DEQUANTIZE, QUANTIZE, Unit

WIDE, NARROW = ("tensor(int16)", "tensor(uint16)"), ("tensor(int4)", "tensor(uint4)", "tensor(int2)", "tensor(uint2)")


@dataclass(frozen=True)
class Reason:
    text: str
    harm: Literal["fails", "slow", "rounds"] = "slow"


def reason_for(provider: Provider, unit: Unit, answer: str, types: ElementTypes) -> Reason | None:
    """`answer`: what the CPU provider fuses the unit into, empty for nothing, or `refused: ` and its message.

    None where the provider runs it so too: one that does not multiply integers shares the fusion into MatMulNBits with
    the CPU, and no other.
    """
    if "static" in provider.refuses:
        if answer == "MatMulNBits":
            return None
        if unit.is_product and unit.dequantizes(0) and unit.dequantizes(1):
            return Reason(f"ONNX Runtime's {provider.label} provider fuses no product of a quantized activation")
        return _left(unit, types)
    if answer.startswith("refused: "):
        return Reason(f"ONNX Runtime does not load what it fuses it into: {answer.removeprefix('refused: ')}", "fails")
    if answer and unit.is_product and _per_channel_activation(unit):
        return Reason(f"its activation has a scale a channel, which {answer} refuses when it runs", "fails")
    return None if answer else _left(unit, types)


def _left(unit: Unit, types: ElementTypes) -> Reason:
    if unit.is_product:
        return Reason(_of_product(unit, types))
    if unit.node.op_type == "Gather":
        return Reason("the whole table is dequantized at every run")
    return Reason("it has no integer kernel as it stands: its input and its result are rounded for nothing", "rounds")


def _of_product(unit: Unit, types: ElementTypes) -> str:
    operands = [unit.before[i] for i in (0, 1)]
    read = [types.get(path[0].inputs[0]) for path in operands if path]
    if all(operands):
        return next(_of_quantized(unit, types, read), "ONNX Runtime has no integer kernel for it as it stands")
    if unit.is_constant(0 if operands[0] else 1):
        return f"its weight is quantized, its activation is not{_but(unit)}"
    return "its activation is quantized, its weight is not"


def _but(unit: Unit) -> str:
    """What keeps a quantized weight alone from becoming MatMulNBits."""
    if unit.node.op_type in ("MatMul", "Gemm") and any(n.op_type == QUANTIZE for n in unit.after):
        return ", and its result is"
    return ""


def _of_quantized(unit: Unit, types: ElementTypes, read: list[str | None]) -> Iterator[str]:
    paths = [path for path in unit.before[:2] if path]
    if any(types.get(path[-1].outputs[0]) in HALVES for path in paths):
        yield "it computes in half precision, and ONNX Runtime fuses float32"
    if any(kind in WIDE for kind in read):
        yield "an operand has 16 bits"
    if any(kind in NARROW for kind in read):
        yield "its weight has 4 bits, and its activation is quantized too"
    moved = next((path[-1].op_type for path in paths if path[-1].op_type != DEQUANTIZE), "")
    if moved:
        yield f"a {moved} stands between DequantizeLinear and it"
    if any(kind == "tensor(int8)" and _shared(path) for kind, path in zip(read, paths, strict=True)):
        yield (
            "its activation is int8 and has other readers: on this processor ONNX Runtime fuses uint8, and turns int8 "
            "into it for one reader only"
        )
    yield from _of_bias(unit, types)
    yield from _of_result(unit)
    if unit.node.op_type == "Gemm" and _per_channel_activation(unit):
        yield "its activation has a scale a channel"


def _shared(path: tuple[ir.Node, ...]) -> bool:
    """Whether what is dequantized here is dequantized elsewhere too."""
    quantized = path[0].inputs[0]
    made = quantized is not None and quantized.producer() is not None
    return made and quantized is not None and len(quantized.uses()) > 1


def _of_bias(unit: Unit, types: ElementTypes) -> Iterator[str]:
    if len(unit.node.inputs) < 3 or unit.node.inputs[2] is None:
        return
    path = unit.before[2]
    if not path:
        yield "its bias is in float"  # quantized by the runtime itself where a QuantizeLinear reads the result
    elif types.get(path[0].inputs[0]) != "tensor(int32)":
        yield "its bias is not int32"


def _of_result(unit: Unit) -> Iterator[str]:
    quantizers = [n for n in unit.after if n.op_type == QUANTIZE]
    if unit.node.op_type == "Conv" and not quantizers:
        yield "no QuantizeLinear reads its result"
    readers = sum(len(v.uses()) + v.is_graph_output() for v in unit.node.outputs)
    if quantizers and readers > 1:
        yield "its result is read quantized and in float"
    if any(n.op_type in CLIPS for n in unit.after):
        yield "an activation function stands between it and QuantizeLinear"


def _per_channel_activation(unit: Unit) -> bool:
    for index in (0, 1):
        path = unit.before[index]
        scale = constant_tensor(path[0].inputs[1]) if path else None
        if scale is not None and scale.size > 1 and not unit.is_constant(index):
            return True
    return False
