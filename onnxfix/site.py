"""Where something is in a graph, as text that survives a reload: torch scope, op type, node name, first output."""

from __future__ import annotations

import ast
from dataclasses import asdict, dataclass

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

    @staticmethod
    def of_node(node: ir.Node) -> Site:
        """The site of a node, named by its first existing output."""
        value = next((v.name for v in node.outputs if v.name), "")
        return Site(scope=scope_of(node), op_type=node.op_type, node=node.name or "", value=value or "")

    @staticmethod
    def of_value(value: ir.Value) -> Site:
        """The site of a value: that of its producer, or the bare name for an input or initializer."""
        producer = value.producer()
        if producer is None:
            return Site(value=value.name or "")
        site = Site.of_node(producer)
        return Site(site.scope, site.op_type, site.node, value.name or "")

    def as_dict(self) -> dict[str, str]:
        return asdict(self)

    def __str__(self) -> str:
        what = self.node or self.value
        text = f"{self.op_type} {what}".strip()
        return f"{text} in {self.scope}" if self.scope else text


def scope_of(node: ir.Node) -> str:
    """The torch module path of a node, from the dynamo exporter's metadata or a TorchScript node name.

    Legacy exports name nodes `/backbone/layers.0/attn/Wo/MatMul`: everything but the last part is the scope.
    """
    recorded = node.metadata_props.get(NAME_SCOPES)
    if recorded:
        try:
            parts = ast.literal_eval(recorded)
        except (ValueError, SyntaxError):
            parts = []
        if isinstance(parts, list) and len(parts) >= 2:
            return str(parts[-2])
    name = node.name or ""
    if name.startswith("/"):
        return ".".join(name.split("/")[1:-1])
    return ""
