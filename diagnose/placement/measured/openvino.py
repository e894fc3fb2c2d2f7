"""query: which nodes of a file OpenVINO takes, by its own answer; without the openvino package nothing is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import NodePlacement, Plan, Sizes
from onnxfix.nouns.process.children import Child, CrashedError, RefusedError
from onnxfix.nouns.site import first_output, label, scope_of
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer

TIMEOUT_S = 600.0

_WORKER = "onnxfix.diagnose.placement.measured.openvino_worker"

# Why the CPU gets a node, by the worker's verdict.
_REASONS = {
    "unread": "OpenVINO's ONNX front end does not convert this {op}",
    "body": "OpenVINO's ONNX front end does not convert every node in the bodies of this {op}",
    "refused": "OpenVINO's CPU device does not take this {op}",
    "behind": "this {op} reads what a node makes that OpenVINO does not convert",
}


def query(model: Model, target: Target, sizes: Sizes) -> Plan:
    """The plan for OpenVINO. Raises OnnxfixError when the target says `measured` and OpenVINO does not answer."""
    if target.engine in ("unknown", "forecast"):
        note = "OpenVINO has no table to forecast from: it is asked itself (--engine auto) when it is installed, "
        return Plan("unknown", note=note + "which pip install 'onnxfix[openvino]' does", sizes=sizes)
    answer = _ask(model)
    if answer["error"] and target.engine == "measured":
        raise OnnxfixError(f"cannot measure: {answer['error']}", f"use {arg('engine', 'auto')}")
    if answer["error"]:
        return Plan("unknown", note=f"not measured: {answer['error']}", sizes=sizes)
    note = (
        f"OpenVINO {answer['version']} was asked which nodes of the file its CPU device takes; "
        "ONNX Runtime's OpenVINO provider may leave more to the CPU"
    )
    nodes = tuple(_placements(model.graph, answer["verdicts"], target.ep_names()))
    return Plan("measured", nodes=nodes, note=note, sizes=sizes)


def _ask(model: Model) -> dict[str, Any]:
    with Child(_WORKER) as child:
        try:
            found: dict[str, Any] = child.ask((str(model.path.resolve()), _values(model)), TIMEOUT_S)
        except RefusedError as error:
            return {"error": f"OpenVINO does not read the model: {error}"}
        except (CrashedError, TimeoutError) as error:
            return {"error": f"OpenVINO {error}"}
    return {"error": ""} | found


def _values(model: Model) -> dict[str, tuple[str, int | None]]:
    """Element type (`sequence` for what is no tensor, empty if unknown) and rank of the main graph's values."""
    types = infer(model.ir)
    found = {}
    for value in (v for node in model.graph for v in node.outputs if v.name):
        text = types.get(value) or ""
        kind = text[len("tensor(") : -1] if text.startswith("tensor(") else text and "sequence"
        found[value.name or ""] = (kind, None if value.shape is None else len(value.shape))
    return found


def _placements(
    graph: ir.Graph, verdicts: dict[str, str], names: list[str], owner: str = ""
) -> Iterator[NodePlacement]:
    """Every node in graph order. `names`: of OpenVINO's provider and of the CPU's. `owner`: why the control-flow node
    around these is on the CPU, if it is: bodies go with it. A value that OpenVINO no longer has was folded or fused
    into what it takes."""
    for node in graph:
        outputs = [v.name for v in node.outputs if v.name]
        verdict = next((verdicts[name] for name in outputs if verdicts.get(name, "taken") != "taken"), "")
        reason = owner or (_REASONS[verdict].format(op=node.op_type) if verdict else "")
        yield NodePlacement(
            name=label(node),
            op_type=node.op_type,
            provider=names[1 if reason else 0],
            reason=reason,
            scope=scope_of(node),
            output=first_output(node),
            source=(label(node),),
            lacks_kernel=verdict in ("unread", "refused"),
        )
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                yield from _placements(attribute.as_graph(), {}, names, reason)
