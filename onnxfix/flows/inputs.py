"""Real inputs that a caller gives: an .npz of arrays, feeds in memory, or a table of texts, which the checkpoint's
tokenizer turns into inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from onnxfix.eval.inputs.feeds import Feed

    Arrays: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
    Feeds: TypeAlias = str | Path | Arrays | Sequence[Arrays]
    Inputs: TypeAlias = Feeds | pl.DataFrame
    Shapes: TypeAlias = str | Sequence[str] | Mapping[str, Sequence[int]]


def feeds_of(
    given: Inputs, model: Path, *, libraries: tuple[Path, ...] = (), checkpoint: Path | None, text: str, rows: int
) -> list[Feed]:
    """Feeds for a model. Of a table, the first `rows` texts, eight at a time. Raises OnnxfixError."""
    if not _is_table(given):
        return feeds_of_arrays(given, model, libraries)
    from onnxfix.eval.inputs.feeds import required_inputs
    from onnxfix.eval.inputs.text_workload import load_workload, text_feeds
    from onnxfix.nouns.errors import OnnxfixError, arg
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.provenance import Provenance

    opened = Model.open(model, libraries)
    recorded = Provenance.read(opened.ir)
    folder = checkpoint or (Path(recorded.checkpoint) if recorded and recorded.checkpoint else None)
    if folder is None:
        raise OnnxfixError("texts need the checkpoint's tokenizer", f"name its folder with {arg('checkpoint', 'DIR')}")
    table = Path(given) if isinstance(given, str) else given
    workload = load_workload(table, checkpoint=folder, text_column=text, limit=rows)
    return text_feeds(workload, {str(v.name): v.dtype for v in required_inputs(opened)})


def feeds_of_arrays(given: Any, model: Path, libraries: tuple[Path, ...] = ()) -> list[Feed]:
    """Feeds of an .npz file or of arrays in memory, checked against the model's inputs; none where none are given."""
    if given is None:
        return []
    from onnxfix.eval.inputs.feed_files import check_feed, load_feeds
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.nouns.model import Model

    opened = Model.open(model, libraries)
    if isinstance(given, str | Path):
        feeds = load_feeds(given, [str(value.name) for value in opened.graph.inputs])
    else:
        several = [given] if isinstance(given, Mapping) else given
        feeds = [Feed(f"feed {i + 1}", dict(arrays)) for i, arrays in enumerate(several)]
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


def _is_table(given: Inputs) -> TypeGuard[str | Path | pl.DataFrame]:
    if isinstance(given, str | Path):
        return Path(given).suffix != ".npz"
    return type(given).__module__.partition(".")[0] == "polars"
