"""Names of a graph's axes, where a library goes by them."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfix.nouns.model import Model

CACHE = "past_key_values"
BATCH = "batch_size"


def named_batch(model: Model) -> bool:
    """Call the first axis of a cache `batch_size` wherever the graph names it; whether anything changed.

    transformers.js 4 makes an empty cache by the names of axes: that one is the batch, all others are 0 long.
    """
    caches = [value for value in model.graph.inputs if str(value.name).startswith(CACHE) and value.shape]
    old = {str(value.shape[0]) for value in caches if value.shape and isinstance(value.shape[0], ir.SymbolicDim)}
    taken = any(BATCH in map(str, value.shape or ()) for value in _values(model))
    if len(old) != 1 or taken:
        return False
    name = old.pop()
    for value in _values(model):
        if value.shape is not None and name in map(str, value.shape):
            value.shape = ir.Shape([ir.SymbolicDim(BATCH) if str(size) == name else size for size in value.shape])
    return True


def _values(model: Model) -> Iterator[ir.Value]:
    yield from (*model.graph.inputs, *model.graph.outputs)
    yield from (value for node in model.graph for value in node.outputs)
