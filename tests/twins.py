"""Twins of a graph under other node names, and what must not differ between them: names are not what nodes are.

ONNX lets nodes have no names, and lets nodes of different graphs (a main graph, the bodies of control flow, functions)
have the same one. Two nodes of one name in one graph are against its specification; ONNX Runtime refuses them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest

import onnx_ir as ir

from onnxfix.nouns.finding import Finding
from onnxfix.nouns.model import Model
from onnxfix.surgery.graph_pass import Outcome

SAME = "same_name"
BODIES = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def unnamed(index: int) -> str:
    """No node has a name."""
    return ""


def counted(index: int) -> str:
    """Every graph counts its nodes by itself, so that nodes of different graphs have the same names."""
    return f"n{index}"


def alike(index: int) -> str:
    """All nodes have the same name."""
    return SAME


TWINS: dict[str, Callable[[int], str]] = {"unnamed": unnamed, "counted": counted, "alike": alike}


def twin(source: Model, name: Callable[[int], str]) -> Model:
    """A copy whose nodes have the names that their places in their graphs give them, at every depth."""
    made = source.clone()
    for graph in _graphs(made):
        for index, node in enumerate(graph):
            node.name = name(index)
    return made


def difference(one: list[str], other: list[str]) -> str:
    """The first lines that differ: pytest's own comparison of two long graphs takes minutes."""
    pairs = zip_longest(one, other, fillvalue="nothing")
    return next((f"{a}\n{b}" for a, b in pairs if a != b), "")


def is_valid(model: Model) -> bool:
    """Whether the nodes of each graph have different names, or none."""
    names = ([n.name for n in graph if n.name] for graph in _graphs(model))
    return all(len(set(some)) == len(some) for some in names)


def told(found: list[Finding], models: tuple[Model, ...]) -> list[object]:
    """All that rules say of one of the twins, each node by its first output, or all alike where names are ambiguous."""
    vague = any(_is_ambiguous(model) for model in models)
    names = {name: shown for model in models for name, shown in _names(model, vague).items()}
    return [_told(each, names) for each in found]


def _is_ambiguous(model: Model) -> bool:
    """Whether a name alone does not tell which node is meant."""
    names = Counter(n.name for graph in _graphs(model) for n in graph if n.name)
    return max(names.values(), default=1) > 1


def _told(found: Finding, names: Mapping[str, str]) -> object:
    site, evidence = found.site, {k: _replaced(v, names) for k, v in found.evidence.items()}
    where = (site.op_type, _replaced(site.node or site.value, names), site.value)
    message = re.sub(r"\bnode \([^)]*\)", "node ()", found.message)  # the runtime's own words, which quote a name
    what = (found.code, found.name, found.severity, where, _replaced(message, names))
    return *what, evidence, found.repair, found.applicability


def _names(model: Model, vague: bool) -> dict[str, str]:
    """What to write instead of each name of a node; of its output as well where it shall be vague."""
    pairs = [(n.name or "", _output(n)) for graph in _graphs(model) for n in graph]
    if not vague:
        return {name: output for name, output in pairs if name and output}
    return {text: "·" for pair in pairs for text in pair if text}


def _output(node: ir.Node) -> str:
    return next((v.name for v in node.outputs if v.name), "") or ""


def _replaced(said: object, names: Mapping[str, str]) -> object:
    if isinstance(said, list):
        return [_replaced(each, names) for each in said]
    if not isinstance(said, str) or not names:
        return said
    longest = sorted(names, key=len, reverse=True)
    return re.sub(rf"(?<!\w)({'|'.join(map(re.escape, longest))})(?!\w)", lambda hit: names[hit.group()], said)


def done(outcome: Outcome) -> list[tuple[str, str]]:
    """What a pass did, in order, without names; engines address nodes by name, so that nodes may be given some."""
    return [(change.verb, change.site.op_type) for change in outcome.changes if change.verb != "name"]


def form(model: Model) -> list[str]:
    """The graph without names of nodes and inner values: what reads what, with all contents."""
    known: dict[ir.Value, str] = {}
    for value in (*model.graph.inputs, *model.graph.outputs):
        known[value] = value.name or ""
    lines = [line for graph in _roots(model) for line in _lines(graph, known)]
    return [*lines, str(sorted(model.ir.opset_imports.items())), str([v.name for v in model.graph.outputs])]


def _lines(graph: ir.Graph | ir.Function, known: dict[ir.Value, str]) -> Iterator[str]:
    for node in graph:
        read = [_value(v, known) if v is not None else "" for v in node.inputs]
        made = [_value(v, known) if v.name else "" for v in node.outputs]
        attributes = sorted(f"{a.name}={_content(a)}" for a in node.attributes.values() if a.type not in BODIES)
        yield f"{node.domain} {node.op_type} {read} {made} {attributes} {sorted(node.metadata_props.items())}"
        for attribute in node.attributes.values():
            for body in _bodies(attribute):
                yield from _lines(body, known)
    yield str([_value(v, known) for v in graph.outputs])


def _value(value: ir.Value, known: dict[ir.Value, str]) -> str:
    if value not in known:
        tensor = value.const_value if value.is_initializer() else None
        held = f" {tensor.dtype} {tensor.shape} {_digest(tensor)}" if tensor is not None else ""
        known[value] = f"{len(known)}{held}"
    return f"{known[value]}: {value.type} {value.shape}"


def _content(attribute: ir.Attr) -> str:
    if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
        return f"{attribute.value.dtype} {attribute.value.shape} {_digest(attribute.value)}"
    return str(attribute.value)


def _digest(tensor: ir.TensorProtocol) -> str:
    data = repr(tensor.numpy()).encode() if tensor.dtype == ir.DataType.STRING else tensor.tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def _roots(model: Model) -> list[ir.Graph | ir.Function]:
    return [model.graph, *model.ir.functions.values()]


def _graphs(model: Model) -> Iterator[ir.Graph | ir.Function]:
    for root in _roots(model):
        yield from _within(root)


def _within(graph: ir.Graph | ir.Function) -> Iterator[ir.Graph | ir.Function]:
    yield graph
    for node in graph:
        for attribute in node.attributes.values():
            for body in _bodies(attribute):
                yield from _within(body)


def _bodies(attribute: ir.Attr) -> list[ir.Graph]:
    if attribute.is_ref() or attribute.type not in BODIES:
        return []
    return [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else list(attribute.as_graphs())
