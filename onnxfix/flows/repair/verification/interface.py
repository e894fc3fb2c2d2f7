"""Interface: what a script made of the inputs and outputs of a model, without which it cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import listed
from onnxfix.surgery.recipes import Wish


def require_same(source: Model, result: Model, wish: Wish) -> None:
    """Raise OnnxfixError for inputs and outputs that have other names, types or sizes than before the scripts of a
    wish; new outputs harm no comparison."""
    types = wish.half.io_types == "keep"
    changes = [
        *_changes("input", source.graph.inputs, result.graph.inputs, types),
        *_changes("output", source.graph.outputs, result.graph.outputs, types),
    ]
    if changes:
        scripts = [script.name for script in (*wish.scripts, *wish.scripts_last)]
        raise OnnxfixError(
            f"{listed(scripts)} changed the interface, so that the result cannot be compared with the source: "
            f"{'; '.join(changes)}",
            f"leave it as it is, or write the result unverified with {arg('verify', False)}; nothing was written",
        )


def _changes(kind: str, before: Sequence[ir.Value], after: Sequence[ir.Value], types: bool) -> Iterator[str]:
    old, new = {str(v.name): v for v in before}, {str(v.name): v for v in after}
    gone, added = [name for name in old if name not in new], [name for name in new if name not in old]
    renamed = len(before) == len(after)
    for name in gone:
        place = list(old).index(name)
        now = str(after[place].name) if renamed else ""
        yield f"{kind} {name} is {f'now {now}' if now in added else 'gone'}"
    if kind == "input" and not renamed:
        yield from (f"input {name} is new" for name in added)
    for name in old:
        if name in new and (other := _other(kind, old[name], new[name], types)):
            yield f"{kind} {name} {other}"


def _other(kind: str, was: ir.Value, now: ir.Value, types: bool) -> str:
    if types and was.dtype != now.dtype and None not in (was.dtype, now.dtype):
        return f"was {was.dtype} and is {now.dtype}"
    if was.shape is None or now.shape is None:
        return ""
    differs = len(was.shape) != len(now.shape) or any(
        isinstance(new, int) and new != old and (kind == "input" or isinstance(old, int))
        for old, new in zip(was.shape, now.shape, strict=True)
    )
    return f"was {was.shape} and is {now.shape}" if differs else ""
