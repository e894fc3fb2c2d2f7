"""Rows of activations inside a model on real inputs, to compute with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from onnxfix.eval.inputs.feeds import Feed
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.eval.run.session import on_disk
from onnxfix.nouns.model import Model

Array = np.ndarray[Any, Any]


def activation_rows(model: Model, names: Collection[str], feeds: Sequence[Feed], most: int = 512) -> dict[str, Array]:
    """Value name → float32 [rows, channels]: at most `most` rows, evenly taken from all feeds.

    Values of the main graph only. Raises what a runner raises.
    """
    probe = model.clone()
    values = {v.name: v for v in (*probe.graph.inputs, *(v for node in probe.graph for v in node.outputs))}
    probe.graph.outputs.clear()
    probe.graph.outputs.extend(values[name] for name in names)
    found: dict[str, list[Array]] = {name: [] for name in names}
    with on_disk(probe) as path:
        runner = OrtRunner(path, level="none", custom_op_libraries=model.custom_op_libraries)
        for feed in feeds:
            for name, array in runner.run(feed.arrays).items():
                rows = array.reshape(-1, array.shape[-1]).astype(np.float32)
                found[name].append(rows[:: max(1, len(feeds) * len(rows) // most)])
        runner.close()
    return {name: np.concatenate(parts)[:most] for name, parts in found.items()}
