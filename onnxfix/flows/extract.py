"""Extract: a part of a model as a file of its own, with the inputs it had inside the model and what it answered."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model, staged
from onnxfix.nouns.process.deadline import limited
from onnxfix.nouns.provenance import KEY as PROVENANCE
from onnxfix.nouns.weights.placing import place
from onnxfix.render.shown import Shown, Summary
from onnxfix.surgery.graphsurgeon.extraction import Border, border_of_names, border_of_scope, cut

from .inputs import feeds_of_arrays
from .outputs import keep_inputs, path_of
from .source import on_disk
from .values import at_least, several

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed

    from .inputs import Feeds
    from .source import ModelLike

SCHEMA = "onnxfix.extract/1"
KEY = "onnxfix.extract"
"""Metadata entry of a part, which says what it was cut from."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, repr=False)
class Extracted(Shown):
    """A part. `inputs` and `outputs` have the names they have in `source`; `feeds` is the file of their values."""

    source: Path
    output: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: int
    feeds: Path

    def __repr__(self) -> str:
        return f"<Extracted {self.output}: {self.nodes} nodes of {self.source}>"

    def in_short(self) -> Summary:
        return Summary.of(f"{self.output}: {self.nodes} nodes of {self.source}, inputs and answers in {self.feeds}")

    def as_dict(self) -> dict[str, object]:
        return {
            "schema": SCHEMA,
            "source": str(self.source),
            "output": str(self.output),
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "nodes": self.nodes,
            "feeds": str(self.feeds),
        }


@dataclass(frozen=True)
class _Run:
    """What the part's interface held on one feed of the model."""

    feed: Feed
    inputs: dict[str, Array]
    outputs: dict[str, Array]


def extract(
    model: ModelLike,
    *,
    output: str | Path,
    scope: str = "",
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    feeds: Feeds | None = None,
    force: bool = False,
    custom_op_library: Sequence[str | Path] = (),
    timeout: float | None = None,
) -> Extracted:
    """Cut a part by torch scope, or between named values, run it on its recorded inputs, and write it.

    `feeds`: inputs of the whole model, made up where none are given. Beside `output` goes an `.npz` of the same name:
    arrays `FEED/INPUT`, as `feeds` reads them, and `expected:FEED/OUTPUT`. `timeout`: seconds after which it gives up;
    where it is not given, a single run of the model has a minute, and more with large weights.

    Raises OnnxfixError, with nothing written, for unknown names and for a part that does not answer bit for bit as it
    does inside the model.
    """
    if bool(scope) == bool(inputs or outputs):
        said = f"a part is cut by {arg('scope')}, or by {arg('inputs')} and {arg('outputs')}"
        raise OnnxfixError(said, "give one of the two")
    destination, libraries = path_of("output", output) or Path(), tuple(map(Path, several(custom_op_library)))
    inputs, outputs = several(inputs), several(outputs)
    if destination.suffix == ".npz" or not destination.name:
        raise OnnxfixError(f"{destination} is no name of a model", f"give another {arg('output')}, as in part.onnx")
    read = {"model": model, "feeds": feeds, "custom_op_library": custom_op_library}
    for file in (destination, destination.with_suffix(".npz")):
        keep_inputs({"output": file}, read)
    for file in (destination, destination.with_suffix(".npz")):
        if file.is_dir():
            raise OnnxfixError(f"{file} is a folder", f"name another file with {arg('output')}")
        if file.exists() and not force:
            raise OnnxfixError(f"{file} exists", f"use {arg('force', True)}, or name another with {arg('output')}")
    at_least("timeout", timeout, 0)
    with on_disk(model) as source, limited("extract", timeout, source.bytes, lambda step: None):
        opened = Model.open(source.path, libraries)
        opened.refuse_overwrite(destination)
        opened.refuse_foreign(destination, force)
        given = feeds_of_arrays(feeds, source.path, libraries)
        border = border_of_scope(opened, scope) if scope else border_of_names(opened, inputs, outputs)
        return replace(_cut(opened, border, given, destination, scope, force), source=source.shown)


def _cut(model: Model, border: Border, feeds: Sequence[Feed], output: Path, scope: str, force: bool) -> Extracted:
    recorded = output.with_suffix(".npz")
    runs = _runs(model, border, feeds)
    part = cut(model, border, _declared(model, runs))
    part.ir.metadata_props.pop(PROVENANCE, None)  # no checkpoint answers what a part does
    part.ir.metadata_props[KEY] = json.dumps({"source": model.path.name, "scope": scope}, sort_keys=True)
    if not output.parent.is_dir():
        raise OnnxfixError(f"folder {output.parent} does not exist", f"create it or name another with {arg('output')}")
    with staged(output.parent) as stage:
        written = Model.open(part.write(stage / output.name), model.custom_op_libraries)
        _require_same(written, runs)
        arrays: dict[str, Any] = dict(_arrays(runs))
        np.savez(stage / recorded.name, **arrays)
        with _gone(recorded, stage):
            place(written.path, written.external_files, output, force=force)
        (stage / recorded.name).replace(recorded)
    return Extracted(model.path, output, border.inputs, border.outputs, sum(1 for _ in part.nodes()), recorded)


@contextlib.contextmanager
def _gone(recorded: Path, stage: Path) -> Iterator[None]:
    """Without what an earlier part answered, so that death leaves no graph beside the numbers of another."""
    earlier = stage / f"earlier-{recorded.name}"
    if recorded.is_file():
        recorded.replace(earlier)
    try:
        yield
    except BaseException:
        if earlier.is_file():
            earlier.replace(recorded)
        raise


def _runs(model: Model, border: Border, feeds: Sequence[Feed]) -> list[_Run]:
    """The model's own numbers at the border, unoptimised and with one thread: what repeats bit for bit."""
    from onnxfix.eval.run.runners import OrtRunner
    from onnxfix.eval.run.session import on_disk

    from .repair.verification.source.answers import answers

    probe = model.clone()
    given = {v.name for v in probe.graph.inputs}
    values = {v.name: v for node in probe.graph for v in node.outputs}
    probe.graph.outputs.clear()
    wanted = dict.fromkeys(name for name in (*border.inputs, *border.outputs) if name not in given)
    probe.graph.outputs.extend(values[name] for name in wanted)
    with on_disk(probe) as path:
        runner = OrtRunner(path, level="none", threads=1, custom_op_libraries=model.custom_op_libraries)
        own = answers(model, runner, feeds)
        runner.close()
    found = []
    for feed in own.feeds:
        held = {**feed.arrays, **own.reference.run(feed.arrays)}
        found.append(_Run(feed, {n: held[n] for n in border.inputs}, {n: held[n] for n in border.outputs}))
    return found


def _declared(model: Model, runs: Sequence[_Run]) -> dict[str, tuple[np.dtype[Any], list[int | str | None]]]:
    """dtype and dimensions of every value at the border: as the model declares them, else as they were seen."""
    sizes: dict[tuple[int, ...], str] = {}
    for value in model.graph.inputs:
        for axis, dim in enumerate(value.shape or ()):
            if not isinstance(dim, int) and dim.value and all(str(value.name) in run.feed.arrays for run in runs):
                seen = tuple(run.feed.arrays[str(value.name)].shape[axis] for run in runs)
                sizes.setdefault(seen, dim.value)
    values = {str(v.name): v for v in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs))}
    declared = {}
    for name in (*runs[0].inputs, *runs[0].outputs):
        arrays = [{**run.inputs, **run.outputs}[name] for run in runs]
        if arrays[0].dtype.kind == "V":
            raise OnnxfixError(f"{name} at the border is {arrays[0].dtype.name}, which no .npz holds", "cut elsewhere")
        declared[name] = arrays[0].dtype, _dims(values[name].shape, arrays, sizes)
    return declared


def _dims(shape: Any, arrays: Sequence[Array], sizes: Mapping[tuple[int, ...], str]) -> list[int | str | None]:
    """One that varied is called what varied with it; one that did not is fixed if others did, else left open."""
    if shape is not None and len(shape) == arrays[0].ndim:
        known = [dim if isinstance(dim, int) else dim.value for dim in shape]
    else:
        known = [None] * arrays[0].ndim
    varied = any(len(set(seen)) > 1 for seen in sizes)
    dims: list[int | str | None] = []
    for axis, dim in enumerate(known):
        seen = tuple(array.shape[axis] for array in arrays)
        same = seen[0] if varied and len(set(seen)) == 1 else None
        dims.append(dim if dim is not None else sizes.get(seen, same))
    return dims


def _require_same(part: Model, runs: Sequence[_Run]) -> None:
    from onnxfix.eval.run.runners import OrtRunner

    runner = OrtRunner(
        part.path, level="none", threads=1, custom_op_libraries=part.custom_op_libraries, name="the part"
    )
    for run in runs:
        for name, answer in runner.run(run.inputs).items():
            expected = run.outputs[name]
            if (
                answer.dtype != expected.dtype
                or answer.shape != expected.shape
                or answer.tobytes() != expected.tobytes()
            ):
                raise OnnxfixError(
                    f"the part does not answer as inside the model: {name} differs on the {run.feed.name} feed",
                    "nothing was written; does the model draw random numbers?",
                )
    runner.close()


def _arrays(runs: Sequence[_Run]) -> Iterator[tuple[str, Array]]:
    from onnxfix.eval.inputs.feed_files import EXPECTED

    for run in runs:
        yield from ((f"{run.feed.name}/{name}", array) for name, array in run.inputs.items())
        yield from ((f"{EXPECTED}{run.feed.name}/{name}", array) for name, array in run.outputs.items())
