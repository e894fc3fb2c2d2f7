"""Two models held against each other by onnx's reference evaluator: for operator sets that no runtime knows yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.eval.inputs.feeds import Feed
from onnxfix.nouns.errors import one_line
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.opening import plain

LARGEST_BYTES = 1 << 30
"""Weights from here on take the evaluator, which is plain numpy, too long."""
LIMIT = 1e-6


def same_by_definition(model: Model, other: Model, feeds: Sequence[Feed]) -> str:
    """Why two models cannot be shown to say the same on these feeds: relative L2 error up to 1e-6 of every output.
    Empty when they do."""
    from onnx.reference import ReferenceEvaluator

    if model.weights_bytes > LARGEST_BYTES:
        return "it is too large for onnx's reference evaluator"
    for feed in feeds:
        found = []
        for each in (model, other):
            copy = each.clone().ir
            ir.external_data.load_to_model(copy)
            try:
                with np.errstate(all="ignore"):
                    found.append(ReferenceEvaluator(plain.to_proto(copy)).run(None, feed.arrays))
            except Exception as error:  # its operators raise anything
                return f"onnx's reference evaluator fails on it: {one_line(error)}"
        for value, expected, actual in zip(model.graph.outputs, *found, strict=True):
            if not _alike(np.asarray(expected), np.asarray(actual)):
                return f"{value.name} differs on the {feed.name} feed"
    return ""


def _alike(expected: np.ndarray[Any, Any], actual: np.ndarray[Any, Any]) -> bool:
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return False
    if expected.dtype.kind not in "fc":
        return bool(np.array_equal(expected, actual))
    return bool(np.allclose(actual, expected, rtol=LIMIT, atol=0, equal_nan=True))
