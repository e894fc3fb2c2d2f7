"""Casts in a row, which ONNX Runtime removes after partitioning and before it inserts copies.

Source: RemoveDuplicateCastTransformer of ONNX Runtime (insert_cast_transformer.cc), which runs at every optimisation
level. Its nodes have been placed by then; without it the forecast named another copy than the runtime in 1 of 100
random graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxfix.diagnose.placement.lookup import Lookup
from onnxfix.diagnose.placement.region import PlannedNode, Region

from .inserted_casts import PREFIX

_BITS = {
    **{f"tensor(float8{kind})": 8 for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz")},
    **{f"tensor({sign}int{bits})": bits for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "tensor(bool)": 1,
    "tensor(bfloat16)": 16,
    "tensor(float16)": 16,
    "tensor(float)": 32,
    "tensor(double)": 64,
}
_FLOATS = frozenset({"tensor(bfloat16)", "tensor(float16)", "tensor(float)", "tensor(double)"})


def remove_duplicate_casts(region: Region, lookup: Lookup) -> None:
    """Take redundant casts out of a region and those inside it, inner ones first."""
    for inner in reversed(list(region.walk())):
        consumers = inner.consumers()
        present = set(inner.nodes)
        for node in [n for n in inner.nodes if n.op_type == "Cast" and n.domain == ""]:
            if node in present and _shorten(inner, node, lookup, consumers):
                present, consumers = set(inner.nodes), inner.consumers()


def _shorten(
    region: Region, cast: PlannedNode, lookup: Lookup, consumers: Mapping[ir.Value, list[PlannedNode]]
) -> bool:
    """Bypass the casts after this one that undo it, then this one if only casts read it; True when nodes went."""
    source, result = cast.inputs[0], cast.outputs[0]
    if source is None:
        return False
    before, after = lookup.type_of(source), lookup.type_of(result)
    readers = consumers.get(result, [])
    following = [reader for reader in readers if reader.op_type == "Cast" and reader.domain == ""]
    loses = _loses(before, after, cast)
    if loses and any(_loses(lookup.type_of(f.outputs[0]), after, f) for f in following):
        return False
    undone = [f for f in following if lookup.type_of(f.outputs[0]) == before and not _leaves(region, f)]
    kept = [f for f in following if f not in undone]
    for node in undone:
        region.nodes.remove(node)
        _substitute(region, {node.outputs[0]: source})
    to_bool = any(lookup.type_of(f.outputs[0]) == "tensor(bool)" for f in kept)
    same_side = all(f.provider == cast.provider for f in kept)
    if (
        readers
        and len(following) == len(readers)
        and same_side
        and not (loses and to_bool)
        and not _leaves(region, cast)
    ):
        region.nodes.remove(cast)
        _substitute(region, {result: source})
        return True
    return bool(undone)


def _leaves(region: Region, node: PlannedNode) -> bool:
    return any(output is value for output in region.graph.outputs for value in node.outputs)


def _substitute(region: Region, replaced: Mapping[ir.Value, ir.Value]) -> None:
    """Let all readers of a value read another one, in bodies too."""
    for inner in region.walk():
        for node in inner.nodes:
            node.inputs = tuple(_replace(node.inputs, replaced))
            node.captured = tuple(dict.fromkeys(v for v in _replace(node.captured, replaced) if v is not None))


def _replace(values: Iterable[ir.Value | None], replaced: Mapping[ir.Value, ir.Value]) -> Iterable[ir.Value | None]:
    return (replaced.get(v, v) if v is not None else None for v in values)


def _loses(before: str, after: str, cast: PlannedNode) -> bool:
    """Whether a cast may change a value, as ONNX Runtime judges it (more carefully than it would have to)."""
    if _kind(before) == "" or _kind(after) == "":
        return True
    if _kind(before) in ("float", "signed") and _kind(after) == "unsigned":
        return True
    if _kind(before) == "float" and _kind(after) != "float":
        return True
    if (_kind(before), _kind(after)) in {("unsigned", "signed"), ("unsigned", "float"), ("signed", "float")}:
        return _BITS[after] <= _BITS[before]
    if {before, after} == {"tensor(float16)", "tensor(bfloat16)"}:
        return True
    return _BITS[before] > _BITS[after] and not cast.name.startswith(PREFIX)


def _kind(known: str) -> str:
    if known in _FLOATS:
        return "float"
    if known == "tensor(bool)":
        return "bool"
    return {"tensor(i": "signed", "tensor(u": "unsigned"}.get(known[:8], "") if known in _BITS else ""
