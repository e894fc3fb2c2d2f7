"""What tensors hold, as short texts that are equal where the bytes are: read once, a piece at a time.

A model of 2 GB takes one piece of 1 MB of memory. Only what another tensor could equal is read whole: one of the same
type, number of elements, and bytes at its beginning, middle and end.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import onnx_ir as ir

from onnxfix.nouns.weights import weight_data

SMALL = 4096
"""Bytes up to which a tensor is read whole at once."""
SAMPLE = 64
"""Bytes that are compared at each of three places first."""


class Contents:
    """Of the tensors of both models together."""

    def __init__(self, tensors: Iterable[ir.TensorProtocol]) -> None:
        every = list({id(t): t for t in tensors}.values())
        self._short = {id(t): _short(t) for t in every}
        self._kept = every  # an id is of a tensor that lives
        self._many = {key for key, count in Counter(self._short.values()).items() if count > 1}
        self._whole: dict[int, str] = {}
        self._ranges: dict[tuple[object, ...], str] = {}

    def of(self, tensor: ir.TensorProtocol) -> str:
        """Equal for two tensors if and only if type and bytes are, whatever their shapes."""
        known = self._whole.get(id(tensor))
        if known is None:
            known = self._whole[id(tensor)] = self._read(tensor)
        return known

    def _read(self, tensor: ir.TensorProtocol) -> str:
        short = self._short.get(id(tensor))
        if short is None:  # made by somebody who reads an attribute
            short = self._short[id(tensor)] = _short(tensor)
            self._kept.append(tensor)
            self._many.add(short)
        if short not in self._many or tensor.nbytes <= SMALL:
            return short
        where = weight_data.file_range(tensor)
        if where is None:
            return _digest(tensor)
        place = (where.file.path.resolve(), where.offset, where.length, tensor.dtype)
        if place not in self._ranges:
            self._ranges[place] = _digest(tensor)
        return self._ranges[place]


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
