"""Script: a user's own function over an `onnx_graphsurgeon.Graph`, as one pass among ours.

A script runs because the user named its file; it is loaded by path, and nothing beside it takes precedence over what
is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, one_line
from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.site import Site
from onnxfix.surgery.adoption import adopt
from onnxfix.surgery.editor import Editor

DEFAULT = "surgery"
"""The function that a script file is asked for by default."""


@dataclass(frozen=True)
class Script:
    """`function` takes an `onnx_graphsurgeon.Graph` and returns one, or None for the same one, changed in place.

    Weights are read when their `values` are, and stay in the source's files when they are left alone. Metadata, doc
    strings and functions that onnx_graphsurgeon drops are carried across. A new node takes over the torch scope of the
    node whose output it took. Raises OnnxfixError, naming file and line, when the function raises, and when what it
    leaves is no graph. What it prints goes to standard error.
    """

    name: str
    function: Callable[[Any], Any] = field(repr=False)
    digest: str = ""
    """Of the file's content, so that a search is not resumed with another script of the same name."""

    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def of(function: Callable[[Any], Any]) -> Script:
        """A callable under its own name."""
        return Script(f"script {getattr(function, '__name__', type(function).__name__)}", function)

    @staticmethod
    def load(text: str) -> Script:
        """The script that `FILE.py[:FUNCTION]` names: `surgery` by default, or the one function of a graph in it.

        Raises OnnxfixError for a file that is missing or fails when it is loaded, and for a function that is not in it.
        """
        file, colon, wanted = text.rpartition(":")
        if not colon or not wanted.isidentifier():
            file, wanted = text, ""
        path = Path(file)
        if not path.is_file():
            raise OnnxfixError(f"script {path} does not exist", "name it as FILE.py or FILE.py:FUNCTION")
        content = path.read_bytes()
        name, function = _chosen(_module(path, content), path, wanted)
        return Script(f"script {path.name}:{name}", function, hashlib.sha256(content).hexdigest())

    def apply(self, editor: Editor) -> None:
        from .exchange import Exchange

        for node in editor.model.nodes():
            editor.named(node)
        try:
            exchange = Exchange(editor.model)
        except Exception as error:  # the library raises anything on what it does not know
            raise OnnxfixError(
                f"onnx_graphsurgeon cannot read the model: {one_line(error)}", f"leave {self.name} out"
            ) from error
        result = self._result(exchange)
        if result is None:
            editor.notes.append(f"{self.name} changed nothing")
            return
        self._require_whole(result)
        _name_nodes(editor, result)
        before, count = editor.model.ir, len(editor.changes)
        adopt(editor, result, "")
        _record(editor, before, result)
        if len(editor.changes) == count:
            editor.record("rewrite", Site(), "order of nodes, types or names of dimensions")

    def _result(self, exchange: Any) -> ir.Model | None:
        from .exchange import quiet

        self._require_one_parameter(exchange.graph)
        # the library's own log is kept out: what matters of it is in the errors that it raises
        with contextlib.redirect_stdout(sys.stderr), quiet():
            try:
                returned = self.function(exchange.graph)
            except (Exception, SystemExit) as error:
                raise self._failed(error) from error
            graph = exchange.graph if returned is None else returned
            if not isinstance(graph, type(exchange.graph)):
                kind = type(returned).__name__
                raise OnnxfixError(f"{self.name} returned {kind}, not an onnx_graphsurgeon.Graph or None", _NOTHING)
            try:
                model: ir.Model | None = exchange.result(graph)
                if model is not None:
                    model.graph.sort()
            except Exception as error:
                raise OnnxfixError(
                    f"{self.name} leaves an invalid graph: {one_line(_root(error))}", _NOTHING
                ) from error
        return model

    def _require_one_parameter(self, graph: Any) -> None:
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):  # of a function in C
            return
        try:
            signature.bind(graph)
        except TypeError as error:
            raise OnnxfixError(
                f"{self.name} takes {signature}, and is called with one onnx_graphsurgeon.Graph",
                "give it one parameter, and all others a default",
            ) from error

    def _failed(self, error: BaseException) -> OnnxfixError:
        """The innermost line of the script's own file, or of whatever file raised."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if code is not None and f.filename == code.co_filename] or frames
        where = f"{Path(own[-1].filename).name}, line {own[-1].lineno}"
        return OnnxfixError(f"{self.name} fails in {where}: {type(error).__name__}: {one_line(error)}", _NOTHING)

    def _require_whole(self, model: ir.Model) -> None:
        if not model.graph.outputs:
            raise OnnxfixError(f"{self.name} leaves a graph without outputs", _NOTHING)
        reads = ((v, str(Site.of_node(n))) for n in model.graph.all_nodes() for v in n.inputs if v is not None)
        for value, reader in (*reads, *((v, "an output of the model") for v in model.graph.outputs)):
            if value.producer() is None and not value.is_graph_input() and not value.is_initializer():
                raise OnnxfixError(f"{self.name} leaves {reader} without its value {value.name}", _NOTHING)


_NOTHING = "correct it; nothing was written"


def _root(error: BaseException) -> BaseException:
    """What onnx-ir wraps in the names of its own functions."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _module(path: Path, content: bytes) -> ModuleType:
    """Run a file. Modules beside it can be imported meanwhile, behind everything installed."""
    spec = importlib.util.spec_from_file_location(f"onnxfix_script_{path.stem}", path)
    if spec is None:
        raise OnnxfixError(f"script {path} is no Python file", "give it the ending .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses of the script look themselves up
    folder = str(path.resolve().parent)
    sys.path.append(folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            exec(compile(content, str(path), "exec"), module.__dict__)  # so that no __pycache__ is left beside it
    except (Exception, SystemExit) as error:
        own = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else own[-1] if own else 0
        raise OnnxfixError(
            f"script {path}, line {line}: {type(error).__name__}: {one_line(error)}", "correct it"
        ) from error
    finally:
        sys.path.remove(folder)
    return module


def _chosen(module: ModuleType, path: Path, wanted: str) -> tuple[str, Callable[[Any], Any]]:
    own = {n: f for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__}
    if wanted and callable(vars(module).get(wanted)):
        return wanted, vars(module)[wanted]
    candidates = [n for n, f in own.items() if _takes_graph(f)]
    found = DEFAULT if DEFAULT in own else candidates[0] if len(candidates) == 1 else ""
    if wanted or not found:
        known = ", ".join(own) or "none"
        asked = f"function {wanted}" if wanted else f"function {DEFAULT}, nor one function alone that takes a graph"
        raise OnnxfixError(f"script {path} has no {asked}; its functions: {known}", f"name one as {path}:FUNCTION")
    return found, own[found]


def _takes_graph(function: Callable[[Any], Any]) -> bool:
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and ("graph" in first.name.lower() or "Graph" in str(first.annotation))


def _name_nodes(editor: Editor, model: ir.Model) -> None:
    """A name of its own for each node that has none: passes and reports address nodes by name."""
    seen: set[str] = set()
    for node in model.graph.all_nodes():
        if not node.name or node.name in seen:
            node.name = editor.unique(node.name or f"{node.op_type}_{node.outputs[0].name}")
        seen.add(node.name)


def _record(editor: Editor, before: ir.Model, after: ir.Model) -> None:
    """What a comparison of names cannot see: nodes that read or hold something else, weights, the interface."""
    old = {node.name: node for node in before.graph.all_nodes()}
    for node in after.graph.all_nodes():
        was = old.get(node.name)
        if was is not None and was.op_type == node.op_type:
            for verb, detail in _differences(was, node):
                editor.record(verb, Site.of_node(node), detail)
    weights, now = before.graph.initializers, after.graph.initializers
    for name in dict.fromkeys([*weights, *now]):
        verb = "add" if name not in weights else "drop" if name not in now else "replace"
        if verb != "replace" or weights[name].const_value is not now[name].const_value:
            editor.record(f"{verb} initializer", Site(value=name))
    for kind, one, other in (
        ("inputs", before.graph.inputs, after.graph.inputs),
        ("outputs", before.graph.outputs, after.graph.outputs),
    ):
        if [v.name for v in one] != [v.name for v in other]:
            editor.record("interface", Site(), f"{kind} are now {', '.join(str(v.name) for v in other)}")
    for key in {*before.functions, *after.functions}:
        if (key in before.functions) != (key in after.functions):
            editor.record("add function" if key in after.functions else "drop function", Site(), ".".join(key[:2]))


def _differences(was: ir.Node, node: ir.Node) -> Iterator[tuple[str, str]]:
    reads, makes = ([_names(n.inputs) for n in (was, node)], [_names(n.outputs) for n in (was, node)])
    for what, (one, other) in (("input", reads), ("output", makes)):
        for index in range(max(len(one), len(other))):
            before, after = ((names[index] if index < len(names) else "") for names in (one, other))
            if before != after:
                yield "rewire", f"{what} {index} is now {after or 'absent'}"
    for name in dict.fromkeys([*was.attributes, *node.attributes]):
        if not _equal(was.attributes.get(name), node.attributes.get(name)):
            yield "set attribute", name


def _names(values: Any) -> list[str]:
    return [(value.name or "") if value is not None else "" for value in values]


def _equal(one: ir.Attr | None, other: ir.Attr | None) -> bool:
    if one is None or other is None or one.type != other.type or one.is_ref() != other.is_ref():
        return False
    if one.is_ref():
        return one.ref_attr_name == other.ref_attr_name
    if one.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return True  # nodes of bodies speak for themselves
    if one.type == ir.AttributeType.TENSOR:
        return one.value is other.value
    return bool(one.value == other.value)
