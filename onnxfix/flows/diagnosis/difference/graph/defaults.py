"""What an operator takes an attribute for where a node does not say it, so that saying it is no difference."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from onnxfix.nouns.types.operators import STANDARD, opset


def stated(node: ir.Node, imports: Mapping[str, int]) -> dict[str, ir.Attr]:
    """Attributes of a node that say something else than the default."""
    usual = _defaults(node.op_type, node.domain, opset(imports, node.domain))
    return {name: given for name, given in node.attributes.items() if not _is(given, usual.get(name))}


def _is(given: ir.Attr, default: Any) -> bool:
    if default is None or given.is_ref():
        return False
    value = list(given.value) if isinstance(given.value, list | tuple) else given.value
    return bool(type(value) is type(default) and value == default)


@functools.cache
def _defaults(op_type: str, domain: str, version: int) -> dict[str, Any]:
    """By name, of ONNX's own operators."""
    import onnx

    try:
        schema = onnx.defs.get_schema(op_type, version, "" if domain in STANDARD else domain)
    except onnx.defs.SchemaError:
        return {}
    found = {
        name: onnx.helper.get_attribute_value(each.default_value)
        for name, each in schema.attributes.items()
        if each.default_value.type
    }
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}
