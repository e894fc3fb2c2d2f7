"""Verify an export against torch on batches of different shapes, so that an axis the exporter froze is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxfix.eval.inputs.feeds import STEPS, Feed, make_feeds
from onnxfix.eval.numerics.compare import cached, difference, valid
from onnxfix.eval.run.engines.pytorch import TorchRunner
from onnxfix.eval.run.runners import LoadFailure, OrtRunner, RunFailure
from onnxfix.export.models.torch_model import TorchModel
from onnxfix.nouns.comparison import Comparison, OutputDifference
from onnxfix.nouns.errors import arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.weights.weight_data import Array
from onnxfix.surgery.sites.sizes import baked_sizes

from .spec import ExportFailure

# Measured: twelve architectures of up to 28 layers agree with torch within 2e-6, by either exporter.
TOLERANCE = 1e-4
# Beyond the 512 tokens of many position tables and, padded, beyond any local attention window. At the 8,192 that
# ModernBERT allows attention takes 64 times as long, and gigabytes; at Llama's 131,072 no machine has the memory.
LONGEST = 1024
HOW = "ONNX Runtime and torch, CPU, fp32"


def verify(path: Path, model: Model, torch_model: TorchModel, name: str, progress: Callable[[str], None]) -> Comparison:
    """Compare every output with torch on an unpadded, a padded and a long batch (1,024 tokens or what it takes), and on
    the steps of a decoder with a cache.

    `model` is the opened `path`, `name` what the comparison calls it. Raises ExportFailure when an axis is frozen,
    either side fails on a feed, or the relative L2 error of an output exceeds 1e-4.
    """
    _check_interface(model, torch_model)
    reference = TorchRunner(torch_model.module, torch_model.output_names, name="torch")
    for baked in baked_sizes.find(model.graph):  # it names the node; a run at another size would name one behind it
        feed = _one_more(make_feeds(model)[0], baked)
        _expected(reference, feed)  # what the module itself does not take is no fault of the exporter
        raise _frozen(baked)
    try:
        candidate = OrtRunner(path, name="the exported model")
    except LoadFailure as error:
        raise ExportFailure(error.message, "try the other exporter") from error
    found: list[OutputDifference] = []
    try:
        for feed in verification_feeds(model, torch_model):
            progress(f"verifying on {feed.name}")
            found.extend(_compare(reference, candidate, feed))
    finally:
        candidate.close()
    result = Comparison("torch", name, tuple(found), HOW)
    if not result.within(TOLERANCE):
        raise ExportFailure(
            _describe(result), f"try the other {arg('exporter')}, or {arg('verify', False)} to look at it"
        )
    return result


def verification_feeds(model: Model, torch_model: TorchModel) -> list[Feed]:
    """Made-up feeds, after the example when the user gave one."""
    longest = torch_model.longest and min(torch_model.longest, LONGEST)
    if torch_model.shapes:
        made = [make_feeds(model, longest=longest, shapes=each)[0] for each in torch_model.shapes]
        feeds = [replace(feed, name=_shapes(feed)) for feed in made]
    else:
        feeds = [*make_feeds(model, longest=longest), *make_feeds(model, longest=longest, steps=STEPS)]
    if torch_model.example_is_given:
        feeds.insert(0, Feed("example", {name: t.numpy() for name, t in torch_model.example.items()}))
    return feeds


def _one_more(feed: Feed, baked: baked_sizes.Baked) -> Feed:
    """A feed whose baked axis is one longer, in every input that has it."""
    arrays = dict(feed.arrays)
    for value, axis in baked.axis.places:
        name = str(value.name)
        if name in arrays:
            arrays[name] = np.concatenate([arrays[name], arrays[name].take([-1], axis)], axis)
    return Feed(f"{feed.name}, {baked.axis.name} of {baked.size + 1}", arrays)


def _expected(reference: TorchRunner, feed: Feed) -> dict[str, Array]:
    try:
        return reference.run(feed.arrays)
    except RunFailure as error:
        raise ExportFailure(
            f"torch itself fails on feed '{feed.name}' ({_shapes(feed)}): {error.message.marked}",
            f"make the module take any batch and length, or use {arg('verify', False)}",
        ) from error


def _compare(reference: TorchRunner, candidate: OrtRunner, feed: Feed) -> tuple[OutputDifference, ...]:
    expected = _expected(reference, feed)
    try:
        actual = candidate.run(feed.arrays)
    except RunFailure as error:
        raise ExportFailure(
            f"the export does not run on feed '{feed.name}' ({_shapes(feed)}), which torch accepts: "
            f"{error.message.marked}",
            "an axis was frozen: make the module compute sizes with tensor operations, or try the other exporter",
        ) from error
    # where sliding attention leaves a token of padding no key to see, torch's own kernels answer this and that
    valid_only = {name: valid(feed, value) if cached(feed) is not None else None for name, value in expected.items()}
    return tuple(
        difference(feed.name, name, value, actual.get(name), valid_only[name]) for name, value in expected.items()
    )


def _frozen(found: baked_sizes.Baked) -> ExportFailure:
    (value, axis), node = found.axis.places[0], found.misfit.node
    return ExportFailure(
        f"the exporter froze axis {axis} ('{found.axis.name}') of {value.name} to {found.size}: {node.op_type} "
        f"{label(node)} takes no other ({found.misfit.why})",
        "make the module compute sizes with tensor operations, or try the other exporter",
    )


def _check_interface(model: Model, torch_model: TorchModel) -> None:
    declared = {str(value.name): value for value in model.graph.inputs}
    if set(declared) != set(torch_model.input_names):
        missing = sorted(set(torch_model.input_names) - set(declared))
        raise ExportFailure(  # the tracer drops what does not reach an output
            f"the exporter dropped input {', '.join(missing)}: the module does not use it",
            f"use {arg('exporter', 'dynamo')}, or leave it out of the factory's example",
        )
    for name, axes in torch_model.dynamic.items():
        shape = declared[name].shape
        for axis, dimension in axes.items():
            size = shape[axis] if shape is not None else None
            if isinstance(size, int):
                raise ExportFailure(f"the exporter froze axis '{dimension}' of {name} to {size}", "try the other one")


def _describe(result: Comparison) -> str:
    """The worst output: a mismatch of shapes first, then lost values, then the largest error."""
    worst = max(
        result.differences,
        key=lambda d: (bool(d.shape_mismatch), d.new_nonfinite, d.rel_l2 if d.rel_l2 == d.rel_l2 else 0),
    )
    where = f"output '{worst.output}' on feed '{worst.feed}'"
    if worst.shape_mismatch:
        return f"the export disagrees with torch: {where} has another shape ({worst.shape_mismatch}): an axis is frozen"
    if worst.new_nonfinite:
        return (
            f"the export disagrees with torch: {where} has {worst.new_nonfinite} NaN or infinite values torch has not"
        )
    return (
        f"the export disagrees with torch: {where} differs by {worst.rel_l2:.2g} (relative L2, at most {TOLERANCE:g})"
    )


def _shapes(feed: Feed) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, array.shape))}" for name, array in feed.arrays.items())
