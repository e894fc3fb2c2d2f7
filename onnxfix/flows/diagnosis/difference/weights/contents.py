"""What tensors hold, as short texts that are equal where the bytes are: read once, a piece at a time.

A model of 2 GB takes one piece of 1 MB of memory. Only what another tensor could equal is read whole: one in another
place of the same type, number of elements, and bytes at its beginning, middle and end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import onnx_ir as ir

from onnxfix.nouns.weights import weight_data

SMALL = 4096
"""Bytes up to which a tensor is read whole at once."""
SAMPLE = 64
"""Bytes that are compared at each of three places first."""


class Contents:
    """Of the tensors of both models together. `progress` is called for each that is read whole."""

    def __init__(
        self, tensors: Iterable[ir.TensorProtocol], progress: Callable[[str], None] = lambda step: None
    ) -> None:
        self._kept = list({id(t): t for t in tensors}.values())  # an id is of a tensor that lives
        self._short: dict[int, str] = {}
        self._places: dict[str, set[object]] = {}
        """Where tensors of one short digest lie: in one place alone they are one."""
        for tensor in self._kept:
            short = self._short[id(tensor)] = _short(tensor)
            self._places.setdefault(short, set()).add(_place(tensor))
        self._whole: dict[object, str] = {}
        self._progress = progress

    def of(self, tensor: ir.TensorProtocol) -> str:
        """Equal for two tensors if and only if type and bytes are, whatever their shapes."""
        short = self._short.get(id(tensor))
        alone = short is not None and len(self._places[short]) == 1
        if short is None:  # of an attribute, so that nobody knows what it could equal
            self._kept.append(tensor)
            short = _short(tensor)
        if alone or tensor.dtype == ir.DataType.STRING or tensor.nbytes <= SMALL:
            return short
        place = _place(tensor)
        if place not in self._whole:
            self._progress("weights")
            self._whole[place] = _digest(tensor)
        return self._whole[place]


def _place(tensor: ir.TensorProtocol) -> object:
    """Bytes of a file, or the tensor itself where it is in memory."""
    where = weight_data.file_range(tensor) if tensor.nbytes > SMALL else None
    return id(tensor) if where is None else (where.file.path.resolve(), where.offset, where.length, tensor.dtype)


def _digest(tensor: ir.TensorProtocol) -> str:
    found = hashlib.blake2b(str(tensor.dtype).encode(), digest_size=16)
    for _, read in weight_data.pieces(tensor):
        found.update(read())
    return found.hexdigest()


def _short(tensor: ir.TensorProtocol) -> str:
    """The whole content where it is small, else type, size and three samples."""
    found = hashlib.blake2b(f"{tensor.dtype} {tensor.size}".encode(), digest_size=16)
    if tensor.dtype == ir.DataType.STRING:
        for text in tensor.string_data():  # type: ignore[attr-defined]
            found.update(len(text).to_bytes(8, "little") + text)
        return found.hexdigest()
    where = weight_data.file_range(tensor) if tensor.nbytes > SMALL else None
    if where is None:
        content = tensor.tobytes()
        ends = [content] if len(content) <= SMALL else [content[i : i + SAMPLE] for i in _places(len(content))]
        found.update(b"".join(ends))
    else:
        for place in _places(where.length):
            found.update(where.read(place, SAMPLE).tobytes())
    return found.hexdigest()


def _places(length: int) -> tuple[int, int, int]:
    return 0, length // 2, length - SAMPLE
