"""Versions that the runtime does not know → the newest ones that it does, where that says the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.newest import TooNew, canonical, too_new
from onnxfix.nouns.site import Site
from onnxfix.nouns.types import schemas
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.opset import convert_opset

# The IR version that an element type came with: onnx.proto, Version.
SINCE = {"FLOAT8E8M0": 12, "UINT2": 13, "INT2": 13, "FLOAT6E2M3": 14, "FLOAT6E3M2": 14}


@dataclass(frozen=True)
class LowerVersions:
    """State an IR version and operator sets that the installed ONNX Runtime loads.

    A number alone is changed where every operator of the model has the same definition in the older set. Else onnx's
    own version converter writes the nodes anew, and `onnxfix repair` compares both with onnx's reference evaluator, as
    no runtime can run the original. An element type of the newer format keeps its IR version. The figure is the number
    of versions that are too new.
    """

    name: ClassVar[str] = "lower-versions"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ("K008",)

    def apply(self, editor: Editor) -> None:
        for found in list(too_new(editor.model.ir)):
            if not found.is_defined:
                editor.notes.append(f"{found} is unknown to onnx as well: left as it is")
            elif found.domain is None:
                _lower_format(editor, found)
            elif differing(editor.model, found):
                convert_opset(editor, found.known, "this ONNX Runtime")
            else:
                _lower_opset(editor, found)

    def measure(self, model: Model) -> float:
        return float(len(list(too_new(model.ir))))


def differing(model: Model, found: TooNew) -> list[str]:
    """Operators of a domain that have another definition in the version that the runtime knows."""
    domain = found.domain or ""
    nodes = [*model.nodes(), *(n for function in model.ir.functions.values() for n in function.all_nodes())]
    used = {n.op_type for n in nodes if schemas.canonical_domain(n.domain) == domain} - {
        name for owner, name, _ in model.ir.functions if schemas.canonical_domain(owner) == domain
    }
    pairs = {op_type: [schemas.find(op_type, domain, v) for v in (found.stated, found.known)] for op_type in used}
    return sorted(name for name, (new, old) in pairs.items() if new is None or old is None or new.since != old.since)


def _lower_format(editor: Editor, found: TooNew) -> None:
    needed = max((SINCE.get(kind, 0) for kind in _element_types(editor.model)), default=0)
    if needed > found.known:
        raise OnnxfixError(
            f"{found} is newer than this ONNX Runtime, which knows {found.known}, and an element type needs it",
            "install a newer ONNX Runtime",
        )
    editor.model.ir.ir_version = found.known
    editor.record("lower", Site(), f"IR version {found.stated} → {found.known}")


def _element_types(model: Model) -> set[str]:
    values = [v for g in model.graphs() for v in (*g.inputs, *g.initializers.values())]
    found = {v.const_value.dtype.name for v in values if v.const_value is not None}
    for value in (*values, *(v for node in model.nodes() for v in node.outputs)):
        if value.dtype is not None:
            found.add(value.dtype.name)
    return found


def _lower_opset(editor: Editor, found: TooNew) -> None:
    model = editor.model.ir
    for imports in (model.opset_imports, *(function.opset_imports for function in model.functions.values())):
        for name in list(imports):
            if canonical({name: 0}) == {found.domain: 0} and imports[name] > found.known:
                imports[name] = found.known
    editor.record("lower", Site(), f"operator set {found.domain or 'ai.onnx'} {found.stated} → {found.known}")
