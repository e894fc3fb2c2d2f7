"""Nodes of a file held against their operators' schemas: how many inputs and outputs, attributes of which types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import onnx

from onnxfix.nouns.types import schemas

from . import sparse, tensors, types

_KINDS = onnx.AttributeProto.AttributeType
# The field that holds an attribute's value, by its type: onnx.proto, AttributeProto.
_FIELDS = {"GRAPH": "g", "TENSOR": "t", "SPARSE_TENSOR": "sparse_tensor", "TYPE_PROTO": "tp"}

# Attributes that name an element type, in all operators that have one of these.
_ELEMENT_TYPES = frozenset({"to", "dtype", "output_dtype", "output_datatype"})

_NEWEST = (1 << 31) - 1


def faults(node: Any, schema: schemas.Schema | None, references: frozenset[str] | None) -> Iterator[str]:
    """Clauses about a NodeProto. `references`: the attributes of the function that it is in, None outside of one."""
    for given in node.attribute:
        yield from attribute(given, references)
    if schema is not None:
        yield from _arguments(node, schema)
        yield from _declared(node, schema)


def attribute(given: Any, references: frozenset[str] | None) -> Iterator[str]:
    """Clauses about an AttributeProto."""
    if given.ref_attr_name:
        if references is None:
            yield f"takes its attribute '{given.name}' from a function, and is in none"
        elif given.ref_attr_name not in references:
            yield f"takes its attribute '{given.name}' from '{given.ref_attr_name}', which its function does not have"
    if given.type not in _KINDS.values() or (given.type == _KINDS.UNDEFINED):
        yield f"has the attribute '{given.name}' of no known type"
        return
    name = _KINDS.Name(given.type)
    if given.ref_attr_name:
        return
    if name == "INT" and given.name in _ELEMENT_TYPES and given.i and not tensors.known(given.i):
        yield f"has the unknown element type {given.i} as its attribute '{given.name}'"
    if name in _FIELDS and not given.HasField(_FIELDS[name]):
        yield f"has the attribute '{given.name}' without a value"
        return
    if name == "SPARSE_TENSORS" or (name == "SPARSE_TENSOR" and given.name != "sparse_value"):
        yield f"has sparse tensors as its attribute '{given.name}', which no operator takes"
    elif name == "SPARSE_TENSOR":
        for clause in sparse.faults(given.sparse_tensor):
            yield f"has the attribute '{given.name}', which {clause}"
    for tensor in (given.t,) if name == "TENSOR" else given.tensors if name == "TENSORS" else ():
        for clause in tensors.faults(tensor):
            yield f"has the attribute '{given.name}', which {clause}"
    for declared in (given.tp,) if name == "TYPE_PROTO" else given.type_protos if name == "TYPE_PROTOS" else ():
        if clause := types.fault(declared):
            yield f"has the attribute '{given.name}', which {clause}"


def _arguments(node: Any, schema: schemas.Schema) -> Iterator[str]:
    for what, names, formals, (least, most) in (
        ("input", node.input, schema.inputs, schema.takes),
        ("output", node.output, schema.outputs, schema.makes),
    ):
        if not least <= len(names) <= most:
            bounds = f"{least}" if least == most else f"{least} or more" if most > 1 << 16 else f"{least} to {most}"
            yield f"has {len(names)} {what}s, and {schema.op_type} (opset version {schema.since}) has {bounds}"
        for formal, name in zip(formals, names, strict=False):
            if formal.option == "single" and not name:
                yield f"leaves out {formal.name}, which {schema.op_type} needs"
        # ONNX Runtime reads each of a list without asking: Einsum ends the process by it
        if what == "input" and formals and formals[-1].option == "variadic" and "" in names[len(formals) - 1 :]:
            yield f"leaves out one of {formals[-1].name}, all of which {schema.op_type} needs"


def _declared(node: Any, schema: schemas.Schema) -> Iterator[str]:
    given = {each.name: each for each in node.attribute}
    for name, (kind, required) in schema.attributes.items():
        found = given.get(name)
        if found is None:
            if required:
                yield f"has no attribute '{name}', which {schema.op_type} needs"
        elif found.type in _KINDS.values() and _KINDS.Name(found.type) != kind:
            yield f"has the attribute '{name}' as {_KINDS.Name(found.type)}, and {schema.op_type} takes {kind}"
    if schema.domain in ("", "ai.onnx.ml"):
        yield from (
            f"has the attribute '{name}', which {schema.op_type} (opset version {schema.since}) does not know"
            for name in given
            if name not in schema.attributes
        )


def schema_of(node: Any, imports: Mapping[str, int]) -> schemas.Schema | None:
    """What a node's operator is there, the newest one in a domain that is not imported; None for a custom one."""
    domain = schemas.canonical_domain(node.domain)
    found = schemas.find(node.op_type, domain, imports.get(domain, _NEWEST))
    # one that the operator set does not have yet is not known to it, and looked at all the same
    return found or schemas.find(node.op_type, domain, _NEWEST)
