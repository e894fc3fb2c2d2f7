"""Other batches than the one that a source takes: a result that was freed of it, held against the source row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.surgery.sites.sizes import baked_sizes
from onnxfix.surgery.sites.sizes.baked_sizes import Baked

if TYPE_CHECKING:
    import numpy as np

    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.eval.run.runners import Runner

    Arrays = dict[str, np.ndarray[Any, Any]]


def freed(source: Model, result: Model) -> tuple[Baked, ...]:
    """The axes that are baked in the source and no more in the result."""
    before = baked_sizes.find(source.graph)
    after = {found.axis.name for found in baked_sizes.find(result.graph)} if before else set()
    return tuple(found for found in before if found.axis.name not in after)


def error(axes: Sequence[Baked], source: Model, result: Model, feeds: Sequence[Feed], reference: Runner) -> float:
    """The largest relative L2 error of any output on one row, and on one row more than the source takes; infinite where
    the result fails, or makes other shapes."""
    import math

    from onnxfix.eval.numerics.compare import difference
    from onnxfix.eval.run.runners import OrtRunner, RunFailure

    runner = OrtRunner(result.path, level="none", threads=1, custom_op_libraries=result.custom_op_libraries,
                       name="repaired", cast_floats=True)  # fmt: skip
    found = [0.0]
    try:
        for feed in feeds:
            for given, expected in _batches(axes, source, feed.arrays, reference.run(feed.arrays)):
                actual = runner.run(given)
                each = [difference(feed.name, name, wanted, actual.get(name)) for name, wanted in expected.items()]
                found.extend(math.inf if d.shape_mismatch or d.new_nonfinite else d.rel_l2 for d in each)
    except RunFailure:
        return math.inf
    finally:
        runner.close()
    return max(found)


def _batches(axes: Sequence[Baked], source: Model, given: Arrays, answers: Arrays) -> Iterator[tuple[Arrays, Arrays]]:
    """Inputs and outputs of the first row alone, and of all in reverse with the last one twice."""
    for found in axes:
        for rows in ([0], [*reversed(range(found.size)), found.size - 1]):
            inputs = {str(value.name): axis for value, axis in found.axis.places}
            outputs = {str(v.name): axis for v in source.graph.outputs if (axis := _axis(v, found)) is not None}
            yield _taken(given, inputs, rows), _taken(answers, outputs, rows)


def _axis(value: ir.Value, found: Baked) -> int | None:
    """Where an output has the axis: by its name, or in front of all others."""
    sizes = list(value.shape) if value.shape is not None else []
    named = [i for i, d in enumerate(sizes) if isinstance(d, ir.SymbolicDim) and d.value == found.axis.name]
    return named[0] if named else 0 if sizes and not isinstance(sizes[0], int) else None


def _taken(arrays: Arrays, axes: dict[str, int], rows: list[int]) -> Arrays:
    return {name: array.take(rows, axis=axes[name]) if name in axes else array for name, array in arrays.items()}
