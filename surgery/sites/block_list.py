"""Which nodes a user's block list catches: by operator, or by a pattern in the node's name or torch scope."""

from __future__ import annotations

import re
from collections.abc import Sequence

import onnx_ir as ir

from onnxfix.errors import OnnxfixError
from onnxfix.model import Model
from onnxfix.site import scope_of


def caught(model: Model, op_types: Sequence[str], patterns: Sequence[str]) -> dict[str, list[ir.Node]]:
    """Each entry as typed (`--block-op Softmax`) → the nodes it catches.

    Raises OnnxfixError for a pattern that is no regular expression and for an entry that catches nothing.
    """
    found: dict[str, list[ir.Node]] = {}
    for op_type in op_types:
        found[f"--block-op {op_type}"] = [n for n in model.nodes() if n.op_type == op_type]
    for pattern in patterns:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise OnnxfixError(
                f"--block-node {pattern!r} is not a regular expression: {error}", "correct it"
            ) from error
        hit = [n for n in model.nodes() if compiled.search(n.name or "") or compiled.search(scope_of(n))]
        found[f"--block-node {pattern}"] = hit
    for entry, nodes in found.items():
        if not nodes:
            raise OnnxfixError(
                f"{entry} catches no node of {model.path.name}", "list node names with 'onnxfix diagnose --format json'"
            )
    return found
