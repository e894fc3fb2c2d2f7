"""The torch module of every node, in words that are the same for two exporters.

An exporter that records none, a fusion, and arithmetic that belongs to no module: such a node is of the modules that
read it, as far as these have a path in common. `rotary_emb_1` is the second call of `rotary_emb`. A module that one
exporter calls otherwise is found by its nodes: most of them are paired with those of one module of the other side.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxfix.diagnose.report.places import NO_MODULE
from onnxfix.nouns.site import scope_of
from onnxfix.nouns.types.operators import bodies

Scopes = dict[ir.Node, str]


def scopes(graph: ir.Graph) -> Scopes:
    """The module of each node, bodies included; empty for one that is of all."""
    found: Scopes = {}
    _stated(graph, found)
    calls = set(found.values())
    found = {node: _first_call(scope, calls) for node, scope in found.items()}
    _inherit(graph, "", found)
    return found


def aligned(one: Scopes, other: Scopes, pairs: Mapping[ir.Node, ir.Node]) -> Scopes:
    """The second side's modules by the names that the first has for them."""
    ours, theirs = set(one.values()), set(other.values())
    votes: dict[str, Counter[str]] = {}
    for node, beside in pairs.items():
        if other[beside] not in ours and one[node] not in theirs and other[beside] and one[node]:
            votes.setdefault(other[beside], Counter())[one[node]] += 1
    names = {scope: counted.most_common(1)[0][0] for scope, counted in votes.items()}
    taken = Counter(names.values())
    names = {scope: name for scope, name in names.items() if taken[name] == 1}
    names = {**_by_prefix(names, theirs - ours), **names}
    return {node: names.get(scope, scope) for node, scope in other.items()}


def _by_prefix(names: Mapping[str, str], scopes: Iterable[str]) -> dict[str, str]:
    """Modules whose nodes are in no pair, where most others differ in how they begin: `backbone` → `model.backbone`."""
    begins = Counter(_begins(scope, name) for scope, name in names.items())
    (begin, wanted), count = begins.most_common(1)[0] if begins else (("", ""), 0)
    if 2 * count <= len(names):
        return {}
    head, new = ".".join(begin), ".".join(wanted)
    fitting = (scope for scope in scopes if not head or scope == head or scope.startswith(f"{head}."))
    return {scope: f"{new}{scope.removeprefix(head)}" if head else f"{new}.{scope}".strip(".") for scope in fitting}


def _begins(scope: str, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stands in front of the parts that two paths end in."""
    one, other = scope.split("."), name.split(".")
    while one and other and one[-1] == other[-1]:
        one.pop()
        other.pop()
    return tuple(one), tuple(other)


def _stated(graph: ir.Graph, found: Scopes) -> None:
    for node in graph:
        scope = scope_of(node)
        found[node] = "" if scope == NO_MODULE else scope
        for body in bodies(node):
            _stated(body, found)


def _first_call(scope: str, known: Iterable[str]) -> str:
    """A module without the number of its call, where the module is there as well."""
    plain = re.sub(r"_\d+$", "", scope)
    return plain if plain != scope and plain in known else scope


def _inherit(graph: ir.Graph, around: str, found: Scopes) -> None:
    """From readers, last node first; in a body, from the node that it is of where nothing else tells."""
    for node in reversed(list(graph)):
        if not found[node]:
            readers = [found[reader] for value in node.outputs for reader, _ in value.uses() if reader in found]
            found[node] = _common([scope for scope in readers if scope]) or around
        for body in bodies(node):
            _inherit(body, found[node], found)
    for node in graph:
        if not found[node]:
            makers = [found[m] for v in node.inputs if v is not None and (m := v.producer()) in found and m is not None]
            found[node] = _common([scope for scope in makers if scope])


def _common(paths: list[str]) -> str:
    """The path that modules have in common, by whole parts: `layers.0.attn` and `layers.1.attn` are of `layers`."""
    parts = [path.split(".") for path in dict.fromkeys(paths)]
    levels = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))
    return ".".join(level[0] for level in levels)
