"""The way out of inputs that a source does not take: which of them looks wrong, and how another one is given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label

_OF_NUMBERS = re.compile(r"division by zero|Integer overflow|allocat", re.IGNORECASE)
"""Of failures that no other shape does away with: numbers that were made up, or those in the file."""
_LONGER = 16_000
_MANY = 4

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfix.eval.inputs.feeds import Feed


def way_out(
    model: Model, failure: OnnxfixError, feeds: Sequence[Feed], can_state: bool, tried: Sequence[Feed] = ()
) -> str:
    """Which input the failing node is reached from first, as it was fed, and how to give another one; `tried`: all that
    failed, of which many say that it may be no input's fault."""
    value = _blamed(model, str(failure))
    feed = next((feed for feed in feeds if value is not None and str(value.name) in feed.arrays), None)
    out = f"give inputs that the model takes with {arg('feeds', 'FILE.npz')}"
    if value is None or feed is None or _OF_NUMBERS.search(str(failure)):
        return out
    shape = "x".join(map(str, feed.arrays[str(value.name)].shape))
    guess = _another(value, feed.arrays[str(value.name)].shape)
    other = f"state its shape, as in {arg('input', f'{value.name}={guess}')}, or " if can_state and guess else ""
    shapes = {each.arrays[str(value.name)].shape for each in tried if str(value.name) in each.arrays}
    if len(shapes) >= _MANY:
        other = other.replace("state its shape", "if it runs at all, state its shape", 1)
        others = f" and {len(shapes) - 1} other shapes, to no avail"
        return f"input '{value.name}' was fed as {shape}{others}: {other}{out}"
    return f"input '{value.name}', fed as {shape or 'a single number'}, looks wrong: {other}{out}"


def _another(value: ir.Value, fed: Sequence[int]) -> str:
    """A shape that the file allows, longer than what failed and than the sizes that are tried: a second of sound. Empty
    where it leaves no axis open."""
    free = [at for at, dim in enumerate(value.shape if value.shape is not None else fed) if not isinstance(dim, int)]
    if not fed or (value.shape is not None and not free):
        return ""
    last = free[-1] if free else len(fed) - 1
    return "x".join(str(max(_LONGER, 2 * size) if at == last else size) for at, size in enumerate(fed))


def _blamed(model: Model, message: str) -> ir.Value | None:
    """The input that the node named in a message is fewest nodes behind; the only one where no node is named."""
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    node = next((n for n in model.nodes() if f"{n.op_type} '{label(n)}'" in message), None)
    pending: list[Any] = [v for v in node.inputs if v is not None] if node is not None else []
    seen = set(pending)
    while pending:
        value = pending.pop(0)
        if value in inputs:
            return value  # type: ignore[no-any-return]
        producer = value.producer()
        for before in producer.inputs if producer is not None else ():
            if before is not None and before not in seen:
                seen.add(before)
                pending.append(before)
    return inputs[0] if len(inputs) == 1 else None
