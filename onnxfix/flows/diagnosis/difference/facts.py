"""What two files say of themselves: versions, operator sets, metadata, functions; and which of it counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onnxfix.nouns.model import Model
from onnxfix.nouns.site import NAME_SCOPES
from onnxfix.nouns.types import schemas
from onnxfix.nouns.types.operators import STANDARD

LONGEST = 60
"""Characters of a metadata entry that are shown; some hold a whole record."""


@dataclass(frozen=True)
class Fact:
    """Something of a file as text, empty where it has none. `counts`: whether two models that differ in it do."""

    name: str
    before: str
    after: str
    counts: bool = False

    def as_dict(self) -> dict[str, object]:
        return {"name": self.name, "before": self.before, "after": self.after, "counts": self.counts}


def facts(before: Model, after: Model, inside: tuple[Model, Model]) -> Iterator[Fact]:
    """All that differ. `inside`: the same models with their functions inlined."""
    yield from _different(_versions(before), _versions(after))
    yield from _operator_sets(before, after, inside)
    given = before.ir.metadata_props, after.ir.metadata_props
    for key in sorted({*given[0], *given[1]}):
        if given[0].get(key) != given[1].get(key):
            yield Fact(f"metadata {key}", _cut(given[0].get(key)), _cut(given[1].get(key)))
    yield from _different(_insides(before), _insides(after))
    one, other = (sum(value.const_value is not None for value in model.graph.inputs) for model in (before, after))
    if one != other:
        yield Fact("weights that are inputs as well", f"{one:,}", f"{other:,}", counts=True)


def _different(before: dict[str, str], after: dict[str, str]) -> Iterator[Fact]:
    for name, value in before.items():
        if value != after[name]:
            yield Fact(name, value, after[name])


def _versions(model: Model) -> dict[str, str]:
    ir = model.ir
    producer = " ".join(filter(None, (ir.producer_name, ir.producer_version)))
    return {
        "IR version": str(ir.ir_version),
        "producer": producer,
        "model version": str(ir.model_version or ""),
        "domain": ir.domain or "",
        "doc string": _cut(ir.doc_string),
        "name of the graph": model.graph.name or "",
    }


def _insides(model: Model) -> dict[str, str]:
    nodes = list(model.nodes())
    scoped = sum(1 for node in nodes if NAME_SCOPES in node.metadata_props)
    typed = sum(
        1 for node in nodes for value in node.outputs if value.shape is not None and not value.is_graph_output()
    )
    return {
        "local functions": f"{len(model.ir.functions):,}",
        "nodes with a torch module in their metadata": f"{scoped:,}",
        "inner values with a declared shape": f"{typed:,}",
        "Constant nodes": f"{sum(node.op_type == 'Constant' for node in nodes):,}",
        "weights in data files": "yes" if model.external_files else "no",
    }


def _operator_sets(before: Model, after: Model, inside: tuple[Model, Model]) -> Iterator[Fact]:
    ours, theirs = _imports(before), _imports(after)
    for domain in sorted({*ours, *theirs}):
        one, other = ours.get(domain), theirs.get(domain)
        if one != other:
            counts = one is not None and other is not None and _means_another(domain, one, other, inside)
            name = f"operator set {domain or 'ai.onnx'}"
            yield Fact(name, str(one or ""), str(other or ""), counts)


def _imports(model: Model) -> dict[str, int]:
    imports = model.ir.opset_imports
    return {"" if domain in STANDARD else domain: version for domain, version in imports.items()}


def _means_another(domain: str, one: int, other: int, inside: Iterable[Model]) -> bool:
    """Whether an operator that stands in one of the models is defined anew between two versions."""
    used = {n.op_type for model in inside for n in model.nodes() if schemas.canonical_domain(n.domain) == domain}
    return any(_since(name, domain, one) != _since(name, domain, other) for name in used)


def _since(op_type: str, domain: str, version: int) -> int:
    """The version an operator is defined in; that of its set where nobody here knows the operator."""
    found = schemas.find(op_type, domain, version)
    return found.since if found is not None else version


def _cut(text: str | None) -> str:
    shown = " ".join((text or "").split())
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
