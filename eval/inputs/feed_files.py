"""Feeds from files: `feeds`, checked against the model before anything runs."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model

from .feeds import Feed, required_inputs

EXPECTED = "expected:"
"""What stands in front of the names of arrays that are answers, in the file beside an extracted part."""


def load_feeds(path: Path | str, inputs: Collection[str] = (), given_as: str = "feeds") -> list[Feed]:
    """Read one feed (arrays named as the inputs) or several (arrays named `FEED/INPUT`) from an .npz file.

    `inputs`: the model's own, for names that hold a slash. Arrays of expected answers are left out. `given_as`: the
    parameter that names the file.
    Raises OnnxfixError when the file is missing, no .npz, or holds pickled objects.
    """
    source = Path(path)
    if not source.is_file():
        raise OnnxfixError(
            f"{arg(given_as, str(source))} does not exist", "write one with numpy.savez(FILE, input_name=array)"
        )
    try:
        with np.load(source, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            arrays = {name: archive[name] for name in archive.files if not name.startswith(EXPECTED)}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        # without numpy's words: for any unknown file it suggests loading pickles
        message = f"{source} is not an .npz file of plain arrays"
        raise OnnxfixError(message, "write one with numpy.savez(FILE, input_name=array)") from error
    if not arrays:
        raise OnnxfixError(f"{source} holds no arrays", "write one with numpy.savez(FILE, input_name=array)")
    grouped: dict[str, Feed] = {}
    for key, array in arrays.items():
        known = max((i for i in inputs if key == i or key.endswith(f"/{i}")), key=len, default=key.rpartition("/")[2])
        name, input_name = key.removesuffix(known).removesuffix("/"), known
        grouped.setdefault(name, Feed(name or source.stem, {})).arrays[input_name] = array
    return list(grouped.values())


def check_feed(model: Model, feed: Feed) -> None:
    """Raise OnnxfixError unless the feed's names, dtypes and shapes fit the model's inputs. Arrays of text become those
    of Python strings, which the runtime takes."""
    inputs = {str(v.name): v for v in required_inputs(model)}
    optional = {str(v.name) for v in model.graph.inputs}
    missing = sorted(set(inputs) - set(feed.arrays))
    unknown = sorted(set(feed.arrays) - optional)
    if missing or unknown:
        what = "lacks" if missing else "has unknown input"
        raise OnnxfixError(
            f"feed '{feed.name}' {what} {', '.join(missing or unknown)}",
            f"the model's inputs are {', '.join(inputs) or 'none'}",
        )
    named: dict[str, int] = {}
    for value in model.graph.inputs:
        if value.name in feed.arrays:
            _check_array(value, feed, named)


def _check_array(value: ir.Value, feed: Feed, named: dict[str, int]) -> None:
    array = feed.arrays[str(value.name)]
    if value.dtype == ir.DataType.STRING and array.dtype.kind in "US":
        array = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
        feed.arrays[str(value.name)] = array = array.astype(object)
    where = f"input '{value.name}' of feed '{feed.name}'"
    if value.dtype is not None and array.dtype != value.dtype.numpy():
        raise OnnxfixError(f"{where} is {array.dtype}, the model takes {value.dtype.numpy()}", "convert it")
    if value.shape is None:
        return
    if array.ndim != len(value.shape):
        raise OnnxfixError(f"{where} has rank {array.ndim}, the model takes rank {len(value.shape)} {value.shape}")
    for axis, (size, dim) in enumerate(zip(array.shape, value.shape, strict=True)):
        expected = dim if isinstance(dim, int) else named.setdefault(str(dim.value), size) if dim.value else size
        if size != expected:
            raise OnnxfixError(f"{where} has size {size} on axis {axis}, the model takes {expected} ({dim})")
