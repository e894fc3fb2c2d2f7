"""Which nodes a user's block list catches: by operator, by a pattern in the node's name or scope, by torch scope."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx_ir as ir

from onnxfix.errors import OnnxfixError
from onnxfix.model import Model
from onnxfix.site import label, scope_of


@dataclass(frozen=True)
class BlockList:
    """`ops`: operator types. `nodes`: regular expressions, searched in the node's name (in that of its first output
    where it has none) and in its torch scope. `scopes`: shell patterns of a torch module (`model.layers.3.*`), which
    catch the nodes of the module and of all modules in it."""

    ops: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ops or self.nodes or self.scopes)

    def caught(self, model: Model) -> dict[str, list[ir.Node]]:
        """Each entry as typed (`--block-op Softmax`) → the nodes it catches.

        Raises OnnxfixError for a pattern that is no regular expression and for an entry that catches nothing.
        """
        found: dict[str, list[ir.Node]] = {}
        for op_type in self.ops:
            found[f"--block-op {op_type}"] = [n for n in model.nodes() if n.op_type == op_type]
        for pattern in self.nodes:
            compiled = _compiled(pattern)
            hit = [n for n in model.nodes() if compiled.search(label(n)) or compiled.search(scope_of(n))]
            found[f"--block-node {pattern}"] = hit
        for pattern in self.scopes:
            found[f"--block-scope {pattern}"] = [n for n in model.nodes() if in_scope(scope_of(n), pattern)]
        for entry, nodes in found.items():
            if not nodes:
                raise OnnxfixError(f"{entry} catches no node of {model.path.name}", _advice(model, entry))
        return found


def in_scope(scope: str, pattern: str) -> bool:
    """Whether a dotted module path, or one it lies in, fits a shell pattern; `*` also stands for dots."""
    return any(fnmatchcase(parent, pattern) for parent in _parents(scope))


def _parents(scope: str) -> Iterator[str]:
    while scope:
        yield scope
        scope = scope.rpartition(".")[0]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise OnnxfixError(f"--block-node {pattern!r} is not a regular expression: {error}", "correct it") from error


def _advice(model: Model, entry: str) -> str:
    scopes = list(dict.fromkeys(s for n in model.nodes() if (s := scope_of(n))))
    if not entry.startswith("--block-scope"):
        return "list node names with 'onnxfix diagnose --format json'"
    if not scopes:
        return "this file names no torch modules; use --block-node"
    return f"a scope of it is {scopes[len(scopes) // 2]}"
