"""Runs in a process of its own: asks OpenVINO which nodes of an ONNX file its CPU device takes.

A process, because OpenVINO brings its own threads and libraries and may crash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What the front end leaves in the graph for a node that it does not convert.
UNREAD = ("NotSupportedONNXNode", "ONNXFrameworkNode")

SEQUENCE = "sequence"

# ONNX's names of element types that OpenVINO calls otherwise; it knows int64, float16 and the like.
NAMES = {"float": "float32", "double": "float64", "bool": "boolean"}


def answer(request: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    """{"version", "verdicts": {value name: verdict}} for a file and {value name: (element type, rank)}: `sequence` for
    what is no tensor, an empty type and None for what is unknown.

    A verdict is `taken`, `refused` (by the device), `unread` (the front end does not convert the node that makes the
    value), `body` (nor one in its bodies) or `behind` (the node comes after an unread one, and nothing tells what it
    reads).
    """
    import openvino

    path, values = request
    front_end = openvino.frontend.FrontEndManager().load_by_framework("onnx")
    model = front_end.convert_partially(front_end.load(path))
    for index, operator in enumerate(model.get_ordered_ops()):  # answers go by name, and a file's may be repeated
        operator.set_friendly_name(f"node {index}")
    verdicts = _cut(model, values)
    taken = set(openvino.Core().query_model(model, "CPU"))
    verdicts |= _queried(model.get_ordered_ops(), taken)
    return {"version": openvino.__version__.split("-")[0], "verdicts": verdicts}


def _cut(model: Any, values: Mapping[str, Any]) -> dict[str, str]:
    """Cut unread nodes out of the graph: what they make comes in as an input of the right type, what they read goes
    out. Behind an unread node nothing has a type, and a query of such a graph fails."""
    import openvino

    verdicts: dict[str, str] = {}
    untyped: dict[tuple[str, int], int | None] = {}
    for operator in model.get_ordered_ops():
        verdict = _unread(operator, untyped)
        if not verdict:
            continue
        read = [value.get_source_output() for value in operator.inputs()]
        first = _first(read[0], untyped) if read else ("", None)
        model.add_results([openvino.opset15.result(source) for source in read if _key(source) not in untyped])
        for output in operator.outputs():
            names = sorted(output.get_names())
            verdicts |= dict.fromkeys(names, verdict)
            kind, rank = next((values[name] for name in names if name in values), ("", None))
            kind, rank = kind or first[0], first[1] if rank is None else rank
            if not kind or kind == SEQUENCE or rank is None:  # its readers are cut out too
                untyped[_key(output)] = rank
                continue
            stand_in = openvino.opset15.parameter([-1] * rank, getattr(openvino.Type, _type_name(kind)))
            model.add_parameters([stand_in])
            output.replace(stand_in.output(0))
    if verdicts:
        model.validate_nodes_and_infer_types()
    return verdicts


def _first(source: Any, untyped: Mapping[tuple[str, int], int | None]) -> tuple[str, int | None]:
    """Element type and rank of what an unread node reads first: most likely those of what it makes."""
    if _key(source) in untyped:
        return "", untyped[_key(source)]
    shape, kind = source.get_partial_shape(), source.get_element_type()
    rank = None if shape.rank.is_dynamic else shape.rank.get_length()
    return "" if kind.is_dynamic() else kind.get_type_name(), rank


def _unread(operator: Any, untyped: Mapping[tuple[str, int], int | None]) -> str:
    if operator.get_type_name() in UNREAD:
        return "unread"
    if any(inner.get_type_name() in UNREAD for inner in _inner(operator)):
        return "body"
    behind = any(_key(value.get_source_output()) in untyped for value in operator.inputs())
    return "behind" if behind and operator.get_type_name() != "Result" else ""


def _key(output: Any) -> tuple[str, int]:
    return output.get_node().get_friendly_name(), output.get_index()


def _inner(operator: Any) -> Iterator[Any]:
    """All operators in the bodies of a control-flow operator."""
    count = {"If": 2, "Loop": 1, "TensorIterator": 1}.get(operator.get_type_name(), 0)
    for index in range(count):
        for inner in operator.get_function(index).get_ordered_ops():
            yield inner
            yield from _inner(inner)


def _type_name(kind: str) -> str:
    """OpenVINO's short name (f32, bf16, i64) of a type named in either way."""
    short = {"float": "f", "int": "i", "uint": "u", "bfloat": "bf"}
    name = NAMES.get(kind, kind)
    letters = name.rstrip("0123456789")
    return short.get(letters, letters) + name[len(letters) :]


def _queried(operators: list[Any], taken: set[str]) -> dict[str, str]:
    """One ONNX node may become several operators, of which the last has its outputs' names: all must be taken."""
    refused: set[str] = set()
    verdicts: dict[str, str] = {}
    for operator in operators:
        if operator.get_type_name() in ("Parameter", "Result", "Constant"):
            continue
        read = [value.get_source_output() for value in operator.inputs()]
        parts = (s.get_node().get_friendly_name() for s in read if not s.get_names())
        name = operator.get_friendly_name()
        if name not in taken or any(part in refused for part in parts):
            refused.add(name)
        verdict = "refused" if name in refused else "taken"
        verdicts |= {name: verdict for output in operator.outputs() for name in output.get_names()}
    return verdicts
