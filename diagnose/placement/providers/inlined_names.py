"""The names of values that ONNX Runtime gives when it inlines: which operator's body a node comes from.

A key is the prefix of one inlined call, `_inlfunc_<Op>_` or `_inlfunc_<Op>_token_<n>_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxfix.diagnose.placement.region import PlannedNode
from onnxfix.nouns.runtime.kernels import KernelTable

# the nodes of an If whose condition is constant are inlined too, under names of their own before the others
_BRANCH = r"(?:_if_(?:then|else)_branch(?:_token_\d+)?_)*"
_PREFIX = re.compile(_BRANCH + r"_inlfunc_([A-Za-z0-9]+)(?:_token_\d+)?_")


def operator_of(key: str) -> str:
    """The operator in a key, or in any name that begins with one; empty for other names."""
    found = _PREFIX.match(key)
    return found.group(1) if found else ""


def _key(value: ir.Value | None) -> str:
    found = _PREFIX.match(value.name or "") if value is not None else None
    return found.group(0) if found else ""


def keys(values: Iterable[ir.Value | None]) -> set[str]:
    """The inlined calls that values belong to by their names."""
    return {key for value in values if (key := _key(value))}


def known(key: str, table: KernelTable) -> bool:
    """Whether a group is an operator's and not a local function's, which stays inlined."""
    return table.knows(operator_of(key), "") or table.knows(operator_of(key), "com.microsoft")


def shared_keys(node: PlannedNode, originals: Mapping[str, ir.Node], table: KernelTable) -> set[str]:
    """Groups that a node only reads a constant of, though what it computes places it in another group or in none."""
    read = keys(v for v in node.inputs if v is not None and not v.is_initializer())
    computed = {key for key in read if known(key, table)}
    original = next((n for v in node.outputs_named() if (n := originals.get(v.name or ""))), None)
    placed = computed or keys(node.outputs) or (original is not None and original.op_type == node.op_type)
    return keys(node.inputs) - computed if placed else set()
