"""Real inputs that a caller gives: an .npz of arrays, feeds in memory, or a table of texts, which the checkpoint's
tokenizer turns into inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from onnxfix.nouns.errors import OnnxfixError, arg

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.nouns.process.progress import Advance

    Arrays: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
    Feeds: TypeAlias = str | Path | Arrays | Sequence[Arrays]
    Inputs: TypeAlias = Feeds | pl.DataFrame
    Shapes: TypeAlias = str | Sequence[str] | Mapping[str, Sequence[int]]


def checkpoint_of(given: Any, *, weights: bool = False, progress: Advance = lambda step: None) -> Path | None:
    """The folder that `checkpoint` names: that folder, or the snapshot of a checkpoint on the Hub (`org/name`, with
    `@revision` behind it for another than main), without its weights unless asked for. Raises OnnxfixError."""
    from onnxfix.export.hub.snapshot import HubId, folder_of
    from onnxfix.flows.outputs import path_of

    named = path_of("checkpoint", given, "a folder")
    wanted = HubId.of(named) if named is not None else None
    return named if wanted is None else folder_of(wanted, weights=weights, progress=progress)


def feeds_of(
    given: Inputs,
    model: Path,
    *,
    libraries: tuple[Path, ...] = (),
    checkpoint: Path | None,
    text: str,
    rows: int,
    given_as: str = "calibrate",
    labels: Mapping[str, str] | None = None,
) -> list[Feed]:
    """Feeds for a model. Of a table, the first `rows` texts, eight at a time, with their `labels`: output → column.
    `given_as`: the parameter that errors speak of. Raises OnnxfixError."""
    table = table_of(given, given_as)
    if table is None:
        if labels:
            raise OnnxfixError(f"{arg('label')} names a column of a table", f"give the table with {arg(given_as)}")
        return feeds_of_arrays(given, model, libraries, given_as)
    from onnxfix.eval.inputs.feeds import required_inputs
    from onnxfix.eval.inputs.graph_limits import longest_sequence
    from onnxfix.eval.inputs.text_workload import load_workload, text_feeds
    from onnxfix.flows.bench.labels import classes_of, labels_of_outputs
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.provenance import Provenance

    opened = Model.open(model, libraries)
    recorded = Provenance.read(opened.ir)
    folder = checkpoint or (Path(recorded.checkpoint) if recorded and recorded.checkpoint else None)
    if folder is None:
        raise OnnxfixError("texts need the checkpoint's tokenizer", f"name its folder with {arg('checkpoint', 'DIR')}")
    most = longest_sequence(opened)
    classes = classes_of(recorded, folder)
    gold = labels_of_outputs(dict(labels or {}), [str(value.name) for value in opened.graph.outputs], classes)
    workload = load_workload(
        table,
        checkpoint=folder,
        text_column=text,
        labels=gold,
        classes=classes if gold else {},
        limit=rows,
        positions=most,
        given_as=given_as,
    )
    return text_feeds(workload, {str(v.name): v.dtype for v in required_inputs(opened)})


def feeds_of_arrays(given: Any, model: Path, libraries: tuple[Path, ...] = (), given_as: str = "feeds") -> list[Feed]:
    """Feeds of an .npz file or of arrays in memory, checked against the model's inputs; none where None is given.

    Raises OnnxfixError, also for an empty list: what is made up instead is nothing that somebody gave.
    """
    if given is None:
        return []
    from onnxfix.eval.inputs.feed_files import check_feed, load_feeds
    from onnxfix.nouns.model import Model

    opened = Model.open(model, libraries)
    if isinstance(given, str | Path):
        feeds = load_feeds(given, [str(value.name) for value in opened.graph.inputs], given_as)
    else:
        feeds = _in_memory(given, given_as)
    for feed in feeds:
        check_feed(opened, feed)
    return feeds


def shapes_of(given: Shapes) -> dict[str, tuple[int, ...]]:
    """Shapes of inputs by name, of texts such as `ids=1x128` or of a mapping. Raises OnnxfixError."""
    from onnxfix.flows.values import several
    from onnxfix.nouns.errors import OnnxfixError, arg

    if isinstance(given, Mapping):
        texts = {f"{name}={'x'.join(map(str, shape))}": (str(name), tuple(shape)) for name, shape in given.items()}
    else:
        texts = {str(each): _stated(str(each)) for each in several(given)}
    for text, (name, shape) in texts.items():
        if not name or not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape):
            raise OnnxfixError(f"{arg('input', text)} is no shape", "write it as in " + arg("input", "ids=1x128"))
    return dict(texts.values())


def _stated(text: str) -> tuple[str, tuple[int, ...]]:
    """`ids=1x128` in parts; -1 for a size that is no number, and nothing behind `=` is a single number."""
    name, _, sizes = text.rpartition("=")
    return name, tuple(int(size) if size.isdecimal() else -1 for size in sizes.split("x") if sizes)


def table_of(given: Any, given_as: str) -> Path | pl.DataFrame | None:
    """A table of texts, in a file or in memory; None for anything else. Raises OnnxfixError for what is nearly one."""
    if isinstance(given, str | Path):
        return Path(given) if Path(given).suffix != ".npz" else None
    if type(given).__module__.partition(".")[0] != "polars":
        return None
    if type(given).__name__ != "DataFrame":
        way = "collect() it" if hasattr(given, "collect") else "give the whole table"
        raise OnnxfixError(f"{arg(given_as)} is a polars {type(given).__name__}, not a DataFrame", way)
    frame: pl.DataFrame = given
    return frame


def _in_memory(given: Any, given_as: str) -> list[Feed]:
    import numpy as np

    from onnxfix.eval.inputs.feeds import Feed

    several = [given] if isinstance(given, Mapping) else given
    if not isinstance(several, Sequence) or not all(isinstance(arrays, Mapping) for arrays in several):
        kind = next((type(each).__name__ for each in _items(several) if not isinstance(each, Mapping)), "")
        of = f"of type {type(given).__name__}{f' of {kind}' if kind else ''}"
        raise OnnxfixError(
            f"{arg(given_as)} is {of}, which is no feed", f"a feed is {_FEED}, several are a list of such"
        )
    if not several:
        raise OnnxfixError(f"{arg(given_as)} is empty", f"give {_FEED}, or leave it out")
    for number, arrays in enumerate(several, start=1):
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                where = f"input '{name}' of feed {number} in {arg(given_as)}"
                what = f"{where} is of type {type(array).__name__}, not an array"
                raise OnnxfixError(what, "make it one with numpy.asarray, in the type that the model takes")
    return [Feed(f"feed {i + 1}", dict(arrays)) for i, arrays in enumerate(several)]


_FEED = "a dict of the model's inputs by name, numpy arrays"


def _items(given: Any) -> Sequence[Any]:
    return given if isinstance(given, Sequence) and not isinstance(given, str | bytes) else ()
