"""query: which nodes of a file OpenVINO takes, by its own answer; without the openvino package nothing is known."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxfix import element_types
from onnxfix.errors import OnnxfixError, one_line
from onnxfix.model import Model
from onnxfix.plan import NodePlacement, Plan, Sizes
from onnxfix.site import first_output, label, scope_of
from onnxfix.target import CPU, OPENVINO, Target

TIMEOUT_S = 600.0

_WORKER = "onnxfix.diagnose.placement.openvino_worker"

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
        raise OnnxfixError(f"cannot measure: {answer['error']}", "use --engine auto")
    if answer["error"]:
        return Plan("unknown", note=f"not measured: {answer['error']}", sizes=sizes)
    note = (
        f"OpenVINO {answer['version']} was asked which nodes of the file its CPU device takes; "
        "ONNX Runtime's OpenVINO provider may leave more to the CPU"
    )
    return Plan("measured", nodes=tuple(_placements(model.graph, answer["verdicts"])), note=note, sizes=sizes)


def _ask(model: Model) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="onnxfix-") as folder:
        result = Path(folder) / "result.json"
        path = str(model.path.resolve())
        request = json.dumps({"model": path, "values": _values(model), "result": str(result)})
        # -P: nothing from the current folder, which may hold anything, shadows a module
        command = [sys.executable, "-P", "-m", _WORKER]
        try:
            data = request.encode("ascii")
            done = subprocess.run(command, input=data, capture_output=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return {"error": f"OpenVINO did not answer within {TIMEOUT_S:.0f} s"}
        if not result.exists():
            return {"error": f"OpenVINO ended without an answer (exit code {done.returncode})"}
        answer: dict[str, Any] = json.loads(result.read_text(encoding="ascii"))
    if answer["error"]:
        answer["error"] = f"OpenVINO does not read the model: {one_line(RuntimeError(answer['error']))}"
    return answer


def _values(model: Model) -> dict[str, tuple[str, int | None]]:
    """Element type (`sequence` for what is no tensor, empty if unknown) and rank of the main graph's values."""
    types = element_types.infer(model.ir)
    found = {}
    for value in (v for node in model.graph for v in node.outputs if v.name):
        text = types.get(value) or ""
        kind = text[len("tensor(") : -1] if text.startswith("tensor(") else text and "sequence"
        found[value.name or ""] = (kind, None if value.shape is None else len(value.shape))
    return found


def _placements(graph: ir.Graph, verdicts: dict[str, str], owner: str = "") -> Iterator[NodePlacement]:
    """Every node in graph order. `owner`: why the control-flow node around these is on the CPU, if it is: bodies go
    with it. A value that OpenVINO no longer has was folded or fused into what it takes."""
    for node in graph:
        outputs = [v.name for v in node.outputs if v.name]
        verdict = next((verdicts[name] for name in outputs if verdicts.get(name, "taken") != "taken"), "")
        reason = owner or (_REASONS[verdict].format(op=node.op_type) if verdict else "")
        yield NodePlacement(
            name=label(node),
            op_type=node.op_type,
            provider=CPU if reason else OPENVINO,
            reason=reason,
            scope=scope_of(node),
            output=first_output(node),
            source=(label(node),),
            lacks_kernel=verdict in ("unread", "refused"),
        )
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                yield from _placements(attribute.as_graph(), {}, reason)
