"""Which recipe this machine runs fastest: each is made, all are timed in turn, in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.process.scratch import Scratch

from .names import Name, shorter

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.flows.inputs import Inputs
    from onnxfix.flows.source import ModelLike
    from onnxfix.nouns.model import Model

ROWS, LENGTH = 8, 512
"""Of a made-up batch, whose rows are a tenth of that to all of it long: 55 % of it are tokens."""
ROUNDS = 5
MOST_FEEDS = 4
_AS_IT_IS = "as it is"


def by_speed(
    model: ModelLike, recipe: Name, wish: Mapping[str, Any], inputs: Inputs | None, progress: Callable[[str], None]
) -> list[tuple[Name, str]]:
    """The recipes that do a part of one, fastest first, each with what was measured in words.

    `wish`: keywords of repair. Raises OnnxfixError where none can be made or timed.
    """
    from onnxfix.flows.repair.asked import repair
    from onnxfix.flows.source import on_disk

    made: dict[Name, Path] = {}
    with on_disk(model) as source, Scratch() as folder:
        feeds = _feeds(source.path, wish, inputs)
        for name in shorter(recipe):
            progress(f"make {name}")
            path = folder / f"{name}.onnx"
            try:
                repair(source.path, output=path, recipe=name, verify=False, **_made(wish, inputs))
            except OnnxfixError as error:
                reason = error
                continue
            if not any(_same(path, other) for other in made.values()):
                made[name] = path
        if not made:
            raise reason
        progress("time what was made")
        times = _times(
            {_AS_IT_IS: source.path, **{str(n): path for n, path in made.items()}}, feeds, str(wish["target"])
        )
    before = times.pop(_AS_IT_IS)
    order = sorted((name for name in made if times[name] == times[name]), key=lambda name: times[name])
    if not order:
        raise OnnxfixError(
            f"nothing that was made ran here for {wish['target']} on batches of {_said(feeds)}",
            f"leave out {arg('measure', True)}, or give rows that the model takes with {arg('calibrate', 'FILE')}",
        )
    ranked = ", ".join(f"{name} {before / times[name]:.2f}" for name in order)
    said = f"measured here on batches of {_said(feeds)}; speed by that of the source, the fastest first: {ranked}"
    return [(name, said) for name in order]


def _said(feeds: Sequence[Feed]) -> str:
    """The size of the first batch, and how much of it is tokens; with a cache, the size of each step."""
    from onnxfix.eval.numerics.compare import cached

    if cached(feeds[0]) is not None:
        sizes = [(*next(iter(feed.arrays.values())).shape, cached(feed)) for feed in feeds]
        return " and ".join(f"{rows} × {new} behind {past}" for rows, new, past in sizes)
    arrays = feeds[0].arrays
    mask = next((a for n, a in arrays.items() if "mask" in n.lower() and a.ndim == 2), None)
    size = " × ".join(map(str, next(iter(arrays.values())).shape))
    return size if mask is None else f"{size}, {np.mean(mask != 0):.0%} full"


def _made(wish: Mapping[str, Any], inputs: Inputs | None) -> dict[str, Any]:
    """Keywords of a candidate: ranges of int8 need inputs, all else does without."""
    return {**wish, "calibrate": inputs} if wish["int8"] == "static" else dict(wish)


def _same(one: Path, other: Path) -> bool:
    """Whether a recipe found no more to do than another: both graphs have the same operators."""
    from onnxfix.nouns.model import Model

    return _operators(Model.look(one)) == _operators(Model.look(other))


def _operators(model: Model) -> list[tuple[str, str]]:
    return [(node.domain, node.op_type) for node in model.nodes()]


def _feeds(path: Path, wish: Mapping[str, Any], inputs: Inputs | None) -> Sequence[Feed]:
    from onnxfix.eval.inputs.feeds import make_feeds, required_inputs
    from onnxfix.eval.inputs.graph_limits import positions
    from onnxfix.flows.inputs import feeds_of
    from onnxfix.nouns.model import Model

    model = Model.open(path, tuple(map(Path, wish["custom_op_library"])))
    if inputs is not None:
        folder = Path(wish["checkpoint"]) if wish["checkpoint"] else None
        held = feeds_of(inputs, path, checkpoint=folder, text=wish["text"], rows=ROWS * MOST_FEEDS)
        return held[:MOST_FEEDS]
    length = min(wish["max_seq"] or LENGTH, positions(model) or LENGTH)
    if steps := make_feeds(model, longest=length, steps=((1, length // 4, 0), (ROWS, 1, length - 1))):
        return steps  # a prompt, and a token of each row behind its cache
    shapes = {
        str(value.name): (ROWS, length)
        for value in required_inputs(model)
        if value.shape is not None and len(value.shape) == 2 and not any(isinstance(n, int) for n in value.shape)
        and value.dtype is not None and not value.dtype.is_floating_point()
    }  # fmt: skip
    feed = make_feeds(model, longest=length, shapes=shapes)[-1]
    lengths = np.linspace(length / 10, length, ROWS).astype(np.int64)
    shown = np.arange(length)[None] < lengths[:, None]
    arrays = {
        name: shown.astype(array.dtype) if "mask" in name.lower() and name in shapes else array
        for name, array in feed.arrays.items()
    }
    return [replace(feed, arrays=arrays)]


def _times(files: Mapping[str, Path], feeds: Sequence[Feed], provider: str) -> dict[str, float]:
    """Milliseconds a row, by name; NaN for what failed."""
    from onnxfix.eval.bench.bench import Course, Variant, run_bench
    from onnxfix.eval.inputs.point import Point
    from onnxfix.eval.inputs.workload import feed_workload
    from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime

    on: Literal["cpu", "cuda"] = "cuda" if provider == "cuda" else "cpu"
    variants = [Variant(name, OnnxRuntime(), path) for name, path in files.items()]
    course = Course(points=(Point(ROWS),), rounds=ROUNDS, provider=on, baseline=_AS_IT_IS)
    report = run_bench(variants, feed_workload(feeds), course)
    return {row.variant: row.ms_per_sample for row in report.rows}
