"""Reads the bytes of weights: from where they lie, piece by piece, and never through a map of the file.

A mapped file counts as resident memory page by page, and looking at every weight of a 1.6 GB model makes all of it
resident. Read with `pread`, a conversion holds one piece at a time.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

Array = np.ndarray[Any, Any]

# Elements of one piece: 1 MB of fp32 stays in a core's cache between reading, rounding and writing (measured on 1.6 GB:
# 0.7 s of system time with pieces of 1 or 2 MB, 1.9 s with 8 MB).
PIECE = 1 << 18
# Rows and columns that are moved at once.
BLOCK = 64

_RANGE = "onnxfix.file_range"


class OpenFile:
    """A file kept open, as a map of it is, so that it can be read after somebody moved or removed it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self.descriptor)


@dataclass(frozen=True)
class FileRange:
    """Where the bytes of a tensor lie: `length` bytes from `offset` in a file."""

    file: OpenFile
    offset: int
    length: int

    def read(self, start: int, length: int) -> Array:
        """The bytes from `start` on, as uint8 of shape (length,). Raises OSError where the file is too short."""
        buffer = np.empty(length, dtype=np.uint8)
        view, got = memoryview(buffer.data), 0
        while got < length:
            count = os.preadv(self.file.descriptor, [view[got:]], self.offset + start + got)
            if count == 0:
                raise OSError(f"{self.file.path} ends before the weight does")
            got += count
        return buffer


def file_range(tensor: ir.TensorProtocol) -> FileRange | None:
    """Where a tensor lies on disk, None for one in memory or one still to be computed."""
    if isinstance(tensor, ir.ExternalTensor):
        status = Path(tensor.path).stat()
        file = _opened(tensor.path, status.st_ino, status.st_mtime_ns)
        return FileRange(file, tensor.offset or 0, tensor.nbytes)
    found = tensor.meta.get(_RANGE) if isinstance(tensor, ir.Tensor) else None
    return found if isinstance(found, FileRange) else None


@functools.lru_cache(maxsize=4)
def _opened(path: str, inode: int, changed: int) -> OpenFile:
    """One descriptor a data file, not one a weight: a process may hold 1,024."""
    return OpenFile(Path(path))


def keep_range(tensor: ir.Tensor[Any], where: FileRange) -> ir.Tensor[Any]:
    """Remember where the bytes of an array over a mapped file lie."""
    tensor.meta[_RANGE] = where
    return tensor


class Elementwise(ir.LazyTensor):
    """A weight whose every element is computed from the same element of another, when somebody reads it."""

    def __init__(
        self, source: ir.TensorProtocol, dtype: ir.DataType, function: Callable[[Array], Array], name: str
    ) -> None:
        self.source = source
        self.function = function

        def make() -> ir.TensorProtocol:
            return ir.Tensor(function(array(source)), dtype=dtype, name=name)

        super().__init__(make, dtype, source.shape, name=name)  # type: ignore[arg-type]


class Moved(ir.LazyTensor):
    """A weight with the elements of another in another order or shape, put there when somebody reads it."""

    def __init__(
        self, source: ir.TensorProtocol, shape: Sequence[int], move: Callable[[Array], Array], name: str
    ) -> None:
        self.source = source
        self.move = move

        def make() -> ir.TensorProtocol:
            return ir.Tensor(contiguous(move(array(source))), dtype=source.dtype, name=name)

        super().__init__(make, source.dtype, ir.Shape(shape), name=name)


def contiguous(array: Array) -> Array:
    """The array in C order, block by block: 1.5 ns an element of a transposed matrix where numpy takes 5 to 7."""
    if array.ndim != 2 or array.flags.c_contiguous or array.dtype.hasobject:
        return np.ascontiguousarray(array)
    made = np.empty(array.shape, dtype=array.dtype)
    for row, column in itertools.product(range(0, array.shape[0], BLOCK), range(0, array.shape[1], BLOCK)):
        part = slice(row, row + BLOCK), slice(column, column + BLOCK)
        made[part] = array[part]
    return made


def array(tensor: ir.TensorProtocol) -> Array:
    """The whole tensor in memory of its own where it lies in a file, else as the tensor gives it."""
    if isinstance(tensor, Moved):
        return contiguous(tensor.move(array(tensor.source)))
    if isinstance(tensor, Elementwise) and not isinstance(tensor.source, Moved) and tensor.dtype.itemsize >= 1:
        return _together(tensor)
    where = file_range(tensor)
    if where is None or tensor.dtype.itemsize < 1:
        return tensor.numpy()
    return where.read(0, where.length).view(tensor.dtype.numpy()).reshape(tensor.shape.numpy())


def pieces(tensor: ir.TensorProtocol) -> Iterator[tuple[int, Callable[[], Any]]]:
    """(offset in bytes, function that gives the bytes from there) for each piece of a tensor, in order.

    Pieces are independent of each other, so that several can be made at once. One that lies in no file, or is not
    computed element by element, is one piece.
    """
    source = tensor.source if isinstance(tensor, Elementwise) else tensor
    if isinstance(tensor, Elementwise) and isinstance(source, Moved):
        move, inner = source.move, Elementwise(source.source, tensor.dtype, tensor.function, tensor.name or "")
        yield 0, lambda: _bytes(move(array(inner)))  # half as much to move, once it is half precision
        return
    where = file_range(source)
    if where is None or tensor.dtype.itemsize < 1 or source.dtype.itemsize < 1:
        yield 0, lambda: _whole(tensor)
        return
    function = tensor.function if isinstance(tensor, Elementwise) else None
    for first in range(0, tensor.size, PIECE):
        count = min(PIECE, tensor.size - first)
        yield first * int(tensor.dtype.itemsize), _reader(where, source.dtype, first, count, function)


def _whole(tensor: ir.TensorProtocol) -> Any:
    if tensor.dtype.itemsize < 1:
        return tensor.tobytes()
    return _bytes(tensor.function(array(tensor.source)) if isinstance(tensor, Elementwise) else array(tensor))


def _together(tensor: ir.TensorProtocol) -> Array:
    made = np.empty(tensor.shape.numpy(), dtype=tensor.dtype.numpy())
    content = made.reshape(-1).view(np.uint8)
    for offset, make in pieces(tensor):
        piece = make()
        content[offset : offset + len(piece)] = piece
    return made


def _reader(
    where: FileRange, dtype: ir.DataType, first: int, count: int, function: Callable[[Array], Array] | None
) -> Callable[[], Any]:
    size = int(dtype.itemsize)

    def read() -> Any:
        buffer = where.read(first * size, count * size)
        return buffer if function is None else _bytes(function(buffer.view(dtype.numpy())))

    return read


def _bytes(made: Array) -> Any:
    return contiguous(made).reshape(-1).view(np.uint8)
