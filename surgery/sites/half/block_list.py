"""Which nodes a user's block list catches: by operator, by a pattern in the node's name or scope, by torch scope."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg, either
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
        scopes = {arg("block_scope", pattern): pattern for pattern in self.scopes}
        for entry, pattern in scopes.items():
            found[entry] = [n for n in model.nodes() if in_scope(scope_of(n), pattern)]
        for entry, nodes in found.items():
            if not nodes:
                advice = near_scopes(scopes[entry], model, f"use {arg('block_node')}") if entry in scopes else _NAMES
                raise OnnxfixError(f"{entry} catches no node of {model.path.name}", advice)
        return found


_NAMES = either(
    "onnxfix.diagnose(model).plan.nodes has the names of nodes", "list node names with 'onnxfix diagnose --format json'"
)


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


def near_scopes(pattern: str, model: Model, instead: str) -> str:
    """What to name for a pattern that catches no module: those nearest to it, or something else (`instead`) where the
    file names none."""
    own = list(dict.fromkeys(scope for n in model.nodes() if (scope := scope_of(n))))
    scopes = list(dict.fromkeys(parent for scope in own for parent in _parents(scope)))
    ends = [scope for scope in scopes if scope.endswith(f".{pattern}")][:3]
    near = ends or difflib.get_close_matches(pattern, scopes, n=3, cutoff=0.4) or own[len(own) // 2 :][:1]
    return f"near it are {', '.join(near)}" if near else f"this file names no torch modules; {instead}"
