"""What of a QDQ graph stays in float: the runtime installed here is asked, one unit of each kind, on the CPU.

ONNX Runtime 1.31.1's selectors have some forty conditions, and they change with the release and, for int8, with the
processor. On CUDA only products of a dequantized weight and a float activation are fused, into MatMulNBits, by the
selector that the CPU has: what else the CPU fuses CUDA does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxfix.diagnose.placement.copies.inserted_casts import PREFIX
from onnxfix.diagnose.placement.optimised.compiler import shared
from onnxfix.diagnose.placement.origins import Origins
from onnxfix.nouns.plan import Unfused
from onnxfix.nouns.process.children import RefusedError
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.nouns.runtime.provider import Provider
from onnxfix.nouns.site import first_output, label, scope_of
from onnxfix.nouns.types.element_types import ElementTypes

from .quantized_units import DEQUANTIZE, MOVES, QUANTIZE, Unit, units
from .unfused_reasons import Reason, reason_for
from .unit_probe import kinds, probe

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Fusions:
    """`unfused` in the order of the file; `fused`: for each product with a weight the operator that it becomes."""

    unfused: tuple[Unfused, ...] = ()
    fused: tuple[str, ...] = ()


def fusions(model: ir.Model, types: ElementTypes, provider: Provider, origins: Origins) -> Fusions:
    """What the CPU or CUDA provider makes of the QDQ units of a boundary graph.

    Raises CrashedError and TimeoutError where the runtime gives no answer.
    """
    if not any(node.op_type == DEQUANTIZE for node in model.graph.all_nodes()):
        return Fusions()
    groups = list(kinds(units(model), types).values())
    if not groups:
        return Fusions()
    answers = _ask([group[0] for group in groups], types, model)
    left: list[Unfused] = []
    fused: list[str] = []
    for group, answer in zip(groups, answers, strict=True):
        reason = reason_for(provider, group[0], answer, types)
        if reason is not None:
            left.extend(_placed(unit.node, reason, origins) for unit in group)
        elif group[0].has_weight:
            fused.extend(answer for _ in group)
    order = {name: index for index, name in enumerate(origins.by_output)}
    return Fusions(tuple(sorted(left, key=lambda x: order.get(x.output, len(order)))), tuple(fused))


def _ask(chosen: Sequence[Unit], types: ElementTypes, model: ir.Model) -> list[str]:
    """For each unit the operator that it is fused into, empty where it is not, or the runtime's message."""
    import onnx

    with Scratch() as folder:
        source, result = folder / "units.onnx", folder / "fused.onnx"
        probe(chosen, types, model, source)
        try:
            shared().compile(source, result, (), TIMEOUT_S, fused=True)
        except RefusedError as error:  # by one of them, which its neighbours cannot help
            if len(chosen) == 1:
                return [f"refused: {error}"]
            return [answer for unit in chosen for answer in _ask([unit], types, model)]
        graph = onnx.load_model(result, load_external_data=False).graph
    left = set(_unit_names(graph))
    names = {node.name: node.op_type for node in graph.node}
    return ["" if f"u{i}" in left else names.get(f"u{i}", "a fused operator") for i in range(len(chosen))]


def _unit_names(graph: Any) -> Iterator[str]:
    """Units of which an operator still reads what a DequantizeLinear makes: values keep their names, nodes may not."""
    producers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in (QUANTIZE, DEQUANTIZE) or node.op_type in MOVES:
            continue
        for name in node.input:
            producer = producers.get(name)
            while producer is not None and producer.op_type in MOVES:
                producer = producers.get(producer.input[0])
            if producer is not None and producer.op_type == DEQUANTIZE:
                yield node.output[0].removeprefix(PREFIX).partition("_")[0]


def _placed(node: ir.Node, reason: Reason, origins: Origins) -> Unfused:
    made = first_output(node)
    original = origins.find(node.name or "", [made])
    return Unfused(
        node=label(node),
        op_type=node.op_type,
        reason=reason.text,
        scope=scope_of(original) if original is not None else "",
        output=made,
        harm=reason.harm,
    )
