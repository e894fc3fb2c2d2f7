"""Models that draw random numbers, run so that they draw the same ones each time: with a seed at each node that draws.

ONNX Runtime seeds a kernel when it is made and goes on from there, so that each run has a session of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

from onnxfix.nouns.model import Model
from onnxfix.nouns.site import first_output
from onnxfix.surgery.sites import random_numbers

from .runners import Array, OrtRunner
from .session import on_disk

# Seeds are floats in the specification: up to here each is exact.
_SEEDS = 1 << 20


def seeded(model: Model) -> Model:
    """A copy in which what draws has a seed, its own or one made of the name of what it draws: two versions of a model
    draw alike."""
    import onnx_ir as ir

    copy = model.clone()
    for node in random_numbers.drawing(copy):
        if "seed" in node.attributes:
            continue
        seed = zlib.crc32(first_output(node).encode()) % _SEEDS
        node.attributes.add(ir.AttrFloat32("seed", float(seed)))
    return copy


class SeededRunner:
    """Runs a model with seeds in a session a run. `options`: those of OrtRunner."""

    def __init__(self, model: Model, **options: Any) -> None:
        self._model, self._options = model, options
        self.name = str(options.get("name") or model.path.name)
        self.output_names = [str(value.name) for value in model.graph.outputs]

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Output name → array. Raises LoadFailure and RunFailure."""
        with on_disk(self._model) as path:
            runner = OrtRunner(path, **self._options)
            try:
                return runner.run(feed)
            finally:
                runner.close()

    def prepared(self, feed: Mapping[str, Array]) -> Callable[[], object]:
        return lambda: self.run(feed)

    def close(self) -> None:
        """Nothing is held between runs."""
