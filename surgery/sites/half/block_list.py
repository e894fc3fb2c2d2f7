"""Which nodes a user's block list catches: by operator, by a pattern in the node's name or scope, by torch scope."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label, scope_of


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
        """Each entry as the parameter that it is → the nodes it catches.

        Raises OnnxfixError for a pattern that is no regular expression and for an entry that catches nothing.
        """
        found: dict[str, list[ir.Node]] = {}
        for op_type in self.ops:
            found[arg("block_op", op_type)] = [n for n in model.nodes() if n.op_type == op_type]
        for pattern in self.nodes:
            compiled = _compiled(pattern)
            hit = [n for n in model.nodes() if compiled.search(label(n)) or compiled.search(scope_of(n))]
            found[arg("block_node", pattern)] = hit
        for pattern in self.scopes:
            inside = [n for n in model.nodes() if in_scope(scope_of(n), pattern)]
            found[_scope(pattern)] = inside
        for entry, nodes in found.items():
            if not nodes:
                raise OnnxfixError(
                    f"{entry} catches no node of {model.path.name}", _advice(model, entry in map(_scope, self.scopes))
                )
        return found


def _scope(pattern: str) -> str:
    return arg("block_scope", pattern)


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
        raise OnnxfixError(
            f"{arg('block_node', pattern)} is not a regular expression: {error}", "correct it"
        ) from error


def _advice(model: Model, scoped: bool) -> str:
    scopes = list(dict.fromkeys(s for n in model.nodes() if (s := scope_of(n))))
    if not scoped:
        return "list node names with 'onnxfix diagnose --format json'"
    if not scopes:
        return f"this file names no torch modules; use {arg('block_node')}"
    return f"a scope of it is {scopes[len(scopes) // 2]}"
