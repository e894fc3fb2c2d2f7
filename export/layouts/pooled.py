"""Graphs that pool their tokens themselves, which libraries do by what stands in 1_Pooling."""

from __future__ import annotations

from onnxfix.nouns.errors import OnnxfixError, arg

from .tasks import FEATURES, POOLED


def refuse(outputs: list[str], library: str) -> None:
    """Raise OnnxfixError for a graph that gives the pooled embedding and not the tokens that it is made of."""
    if POOLED in outputs and not set(FEATURES.outputs) & set(outputs):
        raise OnnxfixError(
            f"the model gives {POOLED} alone, and {library} pools by itself, of {FEATURES.outputs[0]}",
            f"export the checkpoint with {arg('layout')}, which leaves the pooling out of the graph",
        )
