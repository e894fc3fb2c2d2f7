"""Where something is in a graph, as text that survives a reload: torch scope, op type, node name, first output.

A name is what a node is called, and not what it is: ONNX lets nodes have none.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

# Written by torch.onnx's dynamo exporter on every node: the module path, one entry a level, the FX node last.
NAME_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True, order=True)
class Site:
    """One place in a graph. `scope` is the dotted torch module path, empty where the exporter recorded none."""

    scope: str = ""
    op_type: str = ""
    node: str = ""
    value: str = ""
    call: str = ""
    """What the torch code calls there, without its running number: chunk, arange; an operator in legacy exports."""

    @staticmethod
    def of_node(node: ir.Node) -> Site:
        """The site of a node, named by its first existing output."""
        return Site(scope_of(node), node.op_type, label(node), first_output(node), call_of(node))

    @staticmethod
    def of_value(value: ir.Value) -> Site:
        """The site of a value: that of its producer, or the bare name for an input or initializer."""
        producer = value.producer()
        if producer is None:
            return Site(value=value.name or "")
        site = Site.of_node(producer)
        return Site(site.scope, site.op_type, site.node, value.name or "", site.call)

    def as_dict(self) -> dict[str, str]:
        """The four keys that the report's schema fixes."""
        return {"scope": self.scope, "op_type": self.op_type, "node": self.node, "value": self.value}

    def __str__(self) -> str:
        what = self.node or self.value
        text = f"{self.op_type} {what}".strip()
        return f"{text} in {self.scope}" if self.scope else text


def first_output(node: ir.Node) -> str:
    """The name of a node's first output that there is, which no other node of its graph makes: what identifies it."""
    return next((v.name for v in node.outputs if v.name), None) or ""


def label(node: ir.Node) -> str:
    """What a node is called: its name or, as ONNX lets nodes have none, its first output."""
    return node.name or first_output(node)


class Labelled:
    """Nodes found again by what a plan, or a user, calls them. Different graphs may use one name: outputs tell then."""

    def __init__(self, nodes: Iterable[ir.Node]) -> None:
        self._by_label: dict[str, list[ir.Node]] = {}
        self._unnamed: dict[tuple[str, str], ir.Node] = {}
        for node in nodes:
            self._by_label.setdefault(label(node), []).append(node)
            if not node.name:
                self._unnamed[node.op_type, first_output(node)] = node

    def find(self, called: str, output: str, op_type: str) -> ir.Node | None:
        """ONNX Runtime gives names to some nodes without one, so that these are looked up by what they make too."""
        alike = self._by_label.get(called, []) if called else []
        if len(alike) > 1:
            alike = [node for node in alike if first_output(node) == output] or alike[-1:]
        return alike[0] if alike else self._unnamed.get((op_type, output))


def scope_of(node: ir.Node) -> str:
    """The torch module path of a node, from the dynamo exporter's metadata or a TorchScript node name.

    Legacy exports name nodes `/backbone/layers.0/attn/Wo/MatMul`: everything but the last part is the scope.
    """
    return ".".join(_path(node)[0])


def call_of(node: ir.Node) -> str:
    """The last part of the same path without its running number: `chunk_3` is the call of chunk."""
    return re.sub(r"_\d+$", "", _path(node)[1])


def layers_as_one(scope: str) -> str:
    """A scope with its layer numbers left out, to count like places: `model.layers.3.mlp` is `model.layers.*.mlp`."""
    return ".".join("*" if part.isdigit() else part for part in scope.split("."))


def layer_of(scope: str) -> str:
    """`model.layers.3.mlp.Wi` → `model.layers.3`: up to the first number; the whole scope where there is none."""
    parts = scope.split(".")
    end = next((i for i, part in enumerate(parts, start=1) if part.isdigit()), len(parts))
    return ".".join(parts[:end])


def _path(node: ir.Node) -> tuple[list[str], str]:
    """Module path and call of a node, empty where the exporter recorded none."""
    parts = _recorded(node.metadata_props.get(NAME_SCOPES) or "")
    if len(parts) >= 2:
        return parts[-2].split("."), parts[-1]
    name = node.name or ""
    if name.startswith("/"):
        *modules, call = name[1:].split("/")
        return modules, call
    return [], ""


@functools.lru_cache(maxsize=1 << 14)
def _recorded(text: str) -> tuple[str, ...]:
    """The exporter's list of module paths, which it writes as a Python list."""
    try:
        parts = ast.literal_eval(text) if text else []
    except (ValueError, SyntaxError):
        return ()
    return tuple(str(part) for part in parts) if isinstance(parts, list) else ()
