"""A result beside its source in sessions of ours, on random inputs of ours: `python -m published.own SOURCE RESULT`.

In a process of its own, as a file that is wrong may end it. Prints one JSON object: `error`, the largest relative L2
difference of an output (infinite where shapes or types differ), or `unchecked`, why the CPU does not run it. A RESULT
that ends in .npz is written: inputs that the source runs on, other ones than the comparison takes. A RESULT that is a
kind of ROUNDED is not read: `error` is then how far the source moves when its weights alone are rounded.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from published.pins import VALUES

Array = np.ndarray[Any, Any]
# What a dimension without a size may be, tried in turn until the source runs: rows first, images, windows of sound.
SIZES = (64, 32, 512, 576, 160, 224, 320, 16, 128, 48, 8, 2, 1, 1600, 16000)
ROWS = (1, 2)
TOKENS = (40, 2)
"""Integers are below these: ids, where the table has so many rows, else flags."""
TYPES: dict[str, Any] = {
    "float": np.float32,
    "float16": np.float16,
    "double": np.float64,
    "int64": np.int64,
    "int32": np.int32,
}
TYPES |= {"uint8": np.uint8, "int8": np.int8, "bool": np.bool_}
TINY = 1e-4
"""An output's size per element below which a difference is taken as of that size: what says 0 has no relative error."""
SEEDS, SEEDS_TO_GIVE = (11, 12), (13,)
MOST_FREE = 6


def main() -> None:
    source, result = map(Path, sys.argv[1:3])
    if result.suffix == ".npz":
        feeds, reason = _working(opened(source), source, seeds=SEEDS_TO_GIVE)
        if not feeds:
            raise SystemExit(reason)
        np.savez(result, **feeds[0])  # type: ignore[arg-type]
        return
    kind = str(result)
    found = {"error": moved(source, kind)} if kind in ROUNDED else compared(source, result)
    sys.stdout.write(json.dumps(found))


def compared(source: Path, result: Path) -> dict[str, Any]:
    """`error`, `failed` or `unchecked`, and `inputs`, the shapes that both ran on."""
    try:
        before = opened(source)
    except Exception as error:  # the runtime's own, of many types
        return {"unchecked": f"the source does not load on the CPU: {_line(error)}"}
    feeds, reason = _working(before, source)
    if not feeds:
        return {"unchecked": f"the source ran on none of our inputs: {reason}"}
    said = {"inputs": {name: list(array.shape) for name, array in feeds[0].items()}}
    try:
        after = opened(result)
    except Exception as error:
        word = "unchecked" if "NOT_IMPLEMENTED" in str(error) else "failed"  # half, where the CPU has no kernel
        return {word: f"the result does not load on the CPU: {_line(error)}", **said}
    if [i.name for i in before.get_inputs()] != [i.name for i in after.get_inputs()]:
        return {"failed": "other inputs", **said}
    try:
        return {"error": _furthest(before, after, feeds), **said}
    except Exception as error:
        return {"failed": f"the result does not run: {_line(error)}", **said}


def moved(source: Path, kind: str) -> float:
    """How far the source's own answers move when its weights alone are rounded."""
    before = opened(source)
    with tempfile.TemporaryDirectory() as folder:
        after = _with_weights(source, ROUNDED[kind], Path(folder))
        return _furthest(before, after, _working(before, source)[0])


def _furthest(before: Any, after: Any, feeds: list[dict[str, Array]]) -> float:
    """The largest difference of an output on a feed."""
    pairs = [pair for feed in feeds for pair in zip(before.run(None, feed), after.run(None, feed), strict=True)]
    return max(difference(np.asarray(a), np.asarray(b)) for a, b in pairs)


def _of_a_byte(array: Array) -> Array:
    """A matrix in 8 bits, a scale a column; anything else as it is."""
    if array.ndim != 2:
        return array
    scale = np.maximum(np.abs(array).max(axis=0), 1e-30) / 127
    rounded: Array = (np.round(array / scale) * scale).astype(array.dtype)
    return rounded


# How a source's weights are rounded, and nothing else, to see how far it moves by what a precision is: a difference of
# that size is no mistake of a conversion, but what this network on these inputs makes of it.
ROUNDED: dict[str, Callable[[Array], Array]] = {
    "half": lambda array: array.astype(np.float16).astype(array.dtype),
    "8 bits": _of_a_byte,
}


def _with_weights(source: Path, rounded: Callable[[Array], Array], folder: Path) -> Any:
    """A session of the source with its float weights rounded, at every depth."""
    model = onnx.load(source)
    for graph in _graphs(model.graph):
        constants = [a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"]
        for tensor in [*graph.initializer, *constants]:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                array = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(rounded(array), tensor.name))
    onnx.save(model, folder / "rounded.onnx")
    return opened(folder / "rounded.onnx")


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                yield from _graphs(body)


def difference(wanted: Array, found: Array) -> float:
    """Relative L2 difference; of integers and flags the share that differs; infinite for another shape or a new nan."""
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return float("inf")
    if not wanted.size:
        return 0.0
    if wanted.dtype.kind != "f":
        return float(np.mean(wanted != found))
    a, b = wanted.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return float("inf")
    size = max(float(np.linalg.norm(a[finite])), TINY * float(finite.sum()) ** 0.5)
    return float(np.linalg.norm(a[finite] - b[finite])) / size if size else 0.0


def _working(session: Any, source: Path, seeds: tuple[int, ...] = SEEDS) -> tuple[list[dict[str, Array]], str]:
    """Feeds that the source runs on and answers with something, one for each seed; none, and why the last did not."""
    last = "it has no inputs that we can make"
    for bound, shapes in ((bound, shapes) for shapes in _shapes(session) for bound in TOKENS):
        try:
            feeds = [_feed(session, source, shapes, bound, seed) for seed in seeds]
            answers = [np.asarray(a) for feed in feeds for a in session.run(None, feed)]
        except Exception as error:
            last = _line(error)
            continue
        if any(answer.size for answer in answers):
            return feeds, ""
        last = "all answers are empty"
    return [], last


def _shapes(session: Any) -> Iterator[dict[str, list[int]]]:
    """Shapes of all inputs: dimensions of a name alike, each that has no size being of rows or of a size."""
    inputs = session.get_inputs()
    keys = {(i.name, n): d or (i.name, n) for i in inputs for n, d in enumerate(i.shape) if not isinstance(d, int)}
    free = sorted(set(keys.values()), key=str)
    leading = {key for (_, axis), key in keys.items() if axis == 0}
    usual = tuple(key in leading for key in free)
    choices = sorted(itertools.product((True, False), repeat=min(len(free), MOST_FREE)), key=lambda c: c != usual)
    for are_rows, size, rows in itertools.product(choices, SIZES, ROWS):
        sizes = dict(zip(free, (rows if is_rows else size for is_rows in are_rows), strict=False))
        found = {i.name: [sizes.get(keys.get((i.name, n)), rows) for n in range(len(i.shape))] for i in inputs}
        for i in inputs:
            found[i.name] = [d if isinstance(d, int) else f for d, f in zip(i.shape, found[i.name], strict=True)]
        yield found
        if not free:
            return


def _feed(session: Any, source: Path, shapes: dict[str, list[int]], bound: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    stated = {name: v for part, values in VALUES.items() if part in source.name for name, v in values.items()}
    feed: dict[str, Array] = {}
    for i in session.get_inputs():
        dtype = TYPES[i.type.removeprefix("tensor(").removesuffix(")")]
        if i.name in stated:
            feed[i.name] = np.full(shapes[i.name], stated[i.name], dtype)
        elif np.dtype(dtype).kind == "f":
            feed[i.name] = rng.standard_normal(shapes[i.name]).astype(dtype)
        else:
            feed[i.name] = rng.integers(0, 2 if dtype is np.bool_ else bound, shapes[i.name]).astype(dtype)
    return feed


def opened(path: Path) -> Any:
    """A quiet session on the CPU, of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


if __name__ == "__main__":
    main()
