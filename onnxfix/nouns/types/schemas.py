"""Operator schemas of every domain ONNX Runtime knows, in one form: formal parameters and allowed type strings.

ai.onnx comes from `onnx.defs`; com.microsoft, the other contributed domains and the 28 ai.onnx schemas that only ONNX
Runtime defines (SimplifiedLayerNormalization and others that its optimiser and older exporters write) from the
installed ONNX Runtime (`get_all_operator_schema`, which needs no GPU).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Option = Literal["single", "optional", "variadic"]


@dataclass(frozen=True)
class Formal:
    """A formal parameter. `type_str` is a type variable's name or a concrete type such as `tensor(int64)`."""

    name: str
    type_str: str
    option: Option
    homogeneous: bool = True


@dataclass(frozen=True)
class Schema:
    """One version of one operator. `allowed` maps each type variable to its permitted type strings."""

    domain: str
    op_type: str
    since: int
    inputs: tuple[Formal, ...]
    outputs: tuple[Formal, ...]
    allowed: dict[str, frozenset[str]]
    deprecated: bool = False
    takes: tuple[int, int] = field(default=(0, 1 << 31), compare=False)
    """Least and most inputs."""
    makes: tuple[int, int] = field(default=(0, 1 << 31), compare=False)
    attributes: Mapping[str, tuple[str, bool]] = field(default_factory=dict, compare=False)
    """Type (`INT`, `TENSOR`) of each attribute, and whether a node must have it. Kernel tables hold none."""

    def input_formal(self, index: int) -> Formal | None:
        return _formal_at(self.inputs, index)

    def output_formal(self, index: int) -> Formal | None:
        return _formal_at(self.outputs, index)


def _formal_at(formals: tuple[Formal, ...], index: int) -> Formal | None:
    if index < len(formals):
        return formals[index]
    if formals and formals[-1].option == "variadic":
        return formals[-1]
    return None


def canonical_domain(domain: str) -> str:
    """`ai.onnx` and the empty string name the same operator set."""
    return "" if domain == "ai.onnx" else domain


@functools.cache
def find(op_type: str, domain: str, opset: int) -> Schema | None:
    """The newest schema at or below `opset`, None when no installed library defines the operator."""
    domain = canonical_domain(domain)
    known = _from_onnx(op_type, domain, opset) if domain in ("", "ai.onnx.ml") else None
    return known or newest(_from_runtime().get((domain, op_type), ()), opset)


def newest(versions: Iterable[Schema], opset: int) -> Schema | None:
    """The version that an operator-set import selects: the newest at or below it."""
    return max((s for s in versions if s.since <= max(opset, 1)), key=lambda s: s.since, default=None)


def _from_onnx(op_type: str, domain: str, opset: int) -> Schema | None:
    import onnx

    try:
        raw = onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None
    return Schema(
        domain=domain,
        op_type=op_type,
        since=raw.since_version,
        inputs=tuple(_onnx_formal(p) for p in raw.inputs),
        outputs=tuple(_onnx_formal(p) for p in raw.outputs),
        allowed={c.type_param_str: frozenset(c.allowed_type_strs) for c in raw.type_constraints},
        deprecated=raw.deprecated,
        **_interface(raw),
    )


def _interface(raw: Any) -> dict[str, Any]:
    attributes = {name: (str(a.type).rsplit(".", 1)[-1], bool(a.required)) for name, a in raw.attributes.items()}
    bounds = {"takes": (raw.min_input, raw.max_input), "makes": (raw.min_output, raw.max_output)}
    return {**bounds, "attributes": attributes}


def _formal(parameter: Any, type_str: str, homogeneous: bool) -> Formal:
    kinds: dict[str, Option] = {"optional": "optional", "variadic": "variadic"}
    option = str(parameter.option).rsplit(".", 1)[-1].lower()
    return Formal(parameter.name, type_str, kinds.get(option, "single"), homogeneous)


def _onnx_formal(parameter: Any) -> Formal:
    return _formal(parameter, parameter.type_str, bool(parameter.is_homogeneous))


@functools.cache
def _from_runtime() -> dict[tuple[str, str], tuple[Schema, ...]]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found: dict[tuple[str, str], list[Schema]] = {}
    for raw in state.get_all_operator_schema():
        domain = canonical_domain(raw.domain)
        found.setdefault((domain, raw.name), []).append(
            Schema(
                domain=domain,
                op_type=raw.name,
                since=raw.since_version,
                inputs=tuple(_runtime_formal(p) for p in raw.inputs),
                outputs=tuple(_runtime_formal(p) for p in raw.outputs),
                allowed={c.type_param_str: frozenset(c.allowed_type_strs) for c in raw.type_constraints},
                deprecated=bool(raw.deprecated),
                **_interface(raw),
            )
        )
    return {key: tuple(schemas) for key, schemas in found.items()}


def _runtime_formal(parameter: Any) -> Formal:
    return _formal(parameter, parameter.typeStr, bool(parameter.isHomogeneous))
