"""Real inputs from a file the user names: an .npz of arrays, or a table of texts that the checkpoint tokenises."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed


def feeds_of(
    file: Path, model: Path, *, libraries: tuple[Path, ...] = (), checkpoint: Path | None, text: str, rows: int
) -> list[Feed]:
    """Feeds for a model. Of a table, the first `rows` texts, eight at a time. Raises OnnxfixError."""
    if file.suffix == ".npz":
        return feeds_of_arrays(file, model, libraries)
    from onnxfix.eval.inputs.feeds import required_inputs
    from onnxfix.eval.inputs.text_workload import load_workload, text_feeds
    from onnxfix.nouns.errors import OnnxfixError
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.provenance import Provenance

    opened = Model.open(model, libraries)
    recorded = Provenance.read(opened.ir)
    folder = checkpoint or (Path(recorded.checkpoint) if recorded and recorded.checkpoint else None)
    if folder is None:
        raise OnnxfixError("texts need the checkpoint's tokenizer", "name its folder with --checkpoint DIR")
    workload = load_workload(file, checkpoint=folder, text_column=text, limit=rows)
    return text_feeds(workload, {str(v.name): v.dtype for v in required_inputs(opened)})


def feeds_of_arrays(file: Path | None, model: Path, libraries: tuple[Path, ...] = ()) -> list[Feed]:
    """Feeds of an .npz file, checked against the model's inputs; none without a file."""
    if file is None:
        return []
    from onnxfix.eval.inputs.feed_files import check_feed, load_feeds
    from onnxfix.nouns.model import Model

    opened = Model.open(model, libraries)
    feeds = load_feeds(file, [str(value.name) for value in opened.graph.inputs])
    for feed in feeds:
        check_feed(opened, feed)
    return feeds
