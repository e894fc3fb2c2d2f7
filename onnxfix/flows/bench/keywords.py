"""Keywords of bench: what those that may be given in several ways become."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from onnxfix.nouns.errors import OnnxfixError, arg

if TYPE_CHECKING:
    import polars as pl
    import torch as pytorch

    from onnxfix.eval.inputs.point import Batching, Point
    from onnxfix.flows.source import ModelLike

    Benched: TypeAlias = ModelLike | pytorch.nn.Module

Batchings: TypeAlias = Literal["padded", "sorted", "both"]


def given(
    models: Benched | Sequence[Benched] | Mapping[str, Benched], stack: contextlib.ExitStack
) -> tuple[tuple[Path, ...], dict[Path, str], dict[str, pytorch.nn.Module]]:
    """Files, the names that some have in the report, and torch modules; models in memory are laid on disk."""
    from onnxfix.flows.source import on_disk

    files, names, modules = [], {}, {}
    for name, model in _named(models):
        if type(model).__module__.partition(".")[0] != "onnx" and hasattr(model, "state_dict"):
            modules[name or type(model).__name__] = cast("pytorch.nn.Module", model)
            continue
        source = stack.enter_context(on_disk(cast("ModelLike", model)))
        files.append(source.path)
        if name or source.given is not None:
            names[source.path] = name or f"model {len(files)}"
    return tuple(files), names, modules


def _named(models: Benched | Sequence[Benched] | Mapping[str, Benched]) -> Iterator[tuple[str, Benched]]:
    if isinstance(models, Mapping):
        yield from models.items()
    elif isinstance(models, Sequence) and not isinstance(models, str):
        yield from (("", model) for model in models)
    else:
        yield "", models


def data_of(data: Any) -> Path | pl.DataFrame | None:
    from onnxfix.flows.inputs import table_of

    if data is None or isinstance(data, str | Path):
        return Path(data) if data is not None else None
    table = table_of(data, "data")
    if table is None:
        what = f"{arg('data')} is of type {type(data).__name__}, not a table"
        raise OnnxfixError(what, "give a polars DataFrame, or the path of a .parquet, .csv, .tsv or .jsonl file")
    return table


def batching_of(batching: str, bucket: bool, seq: int | Sequence[int]) -> tuple[Batching, ...]:
    """The ways of batching that are asked for; `bucket` is short for one of them. Raises OnnxfixError."""
    from onnxfix.eval.inputs.point import BATCHINGS
    from onnxfix.flows.values import one_of

    one_of("batching", batching, Batchings)
    if bucket and batching == "both":
        raise OnnxfixError(f"{arg('bucket', True)} is short for {arg('batching', 'sorted')}", "leave one of both out")
    if batching == "both" and seq:
        raise OnnxfixError(
            f"{arg('seq')} makes rows of one length, which no sorting changes", f"leave {arg('batching')} out"
        )
    if batching == "both":
        return BATCHINGS
    return ("sorted",) if bucket or batching == "sorted" else ("padded",)


def grid_of(
    batch: int | Sequence[int], seq: int | Sequence[int], batchings: Sequence[Batching] = ("padded",)
) -> tuple[Point, ...]:
    from onnxfix.eval.inputs.point import grid

    return grid([batch] if isinstance(batch, int) else batch, [seq] if isinstance(seq, int) else seq, batchings)


def provider_of(name: str) -> Literal["cpu", "cuda"]:
    from onnxfix.eval.run.machine import has_cuda

    if name == "auto":
        return "cuda" if has_cuda() else "cpu"
    return cast(Literal["cpu", "cuda"], name)
