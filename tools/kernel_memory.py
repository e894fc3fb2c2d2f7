"""Which arguments a kernel keeps in host memory: read from ONNX Runtime's C++ kernel definitions in this process.

Python shows a definition's names, versions and types, and not its two maps from argument to memory type. Their place in
the object is not taken on trust but found: a field that Python also shows must read the same there in every definition,
and a `std::map` is recognised by its red-black tree (libstdc++: a header that points to itself when empty, else a root
that points back). All definitions must have exactly two maps at the same two places, inputs before outputs, or
LayoutError is raised; a layout that is not understood never becomes a table.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# 1.31.1 has 336 bytes of fields; the margin lets a later build add some
_EXTENT = 448
_MAP_BYTES = 48
_LARGEST_MAP = 256


class LayoutError(RuntimeError):
    """The kernel definitions of this build do not look as expected; the message says what differs."""


@dataclass(frozen=True)
class Layout:
    """Offsets in bytes inside a kernel definition."""

    op_name: int
    domain: int
    provider: int
    versions: int
    input_memory: int
    output_memory: int


@dataclass(frozen=True)
class HostArguments:
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Memory:
    """Reads this process's own memory; an address that is not mapped is None and not the end of the process."""

    def __init__(self) -> None:
        self._file = os.open("/proc/self/mem", os.O_RDONLY)

    def read(self, address: int, size: int) -> bytes | None:
        if not 4096 <= address < 1 << 47:
            return None
        try:
            data = os.pread(self._file, size, address)
        except OSError:
            return None
        return data if len(data) == size else None

    def string(self, block: bytes, offset: int) -> bytes | None:
        """The std::string at an offset of a block."""
        address, length = struct.unpack_from("<QQ", block, offset)
        return self.read(address, length) if length < 256 else None


def host_arguments(definitions: Sequence[Any]) -> tuple[Layout, list[HostArguments]]:
    """The layout of this build and, in the order given, the host arguments of each `KernelDef` of
    `get_all_opkernel_def`. Raises LayoutError."""
    memory = Memory()
    blocks = [_block(memory, definition) for definition in definitions]
    places = _map_offsets(memory, blocks)
    if len(places) != 2:
        raise LayoutError(f"{len(places)} std::map fields found in the kernel definitions (at {places}), expected 2")
    layout = Layout(
        op_name=_text_offset(memory, blocks, [d.op_name for d in definitions], "op_name"),
        domain=_text_offset(memory, blocks, [d.domain for d in definitions], "domain"),
        provider=_text_offset(memory, blocks, [d.provider for d in definitions], "provider"),
        versions=_versions_offset(blocks, [tuple(d.version_range) for d in definitions]),
        input_memory=places[0],
        output_memory=places[1],
    )
    _no_default_memory(blocks, layout)
    return layout, [HostArguments(_host(memory, b, places[0]), _host(memory, b, places[1])) for b in blocks]


def _block(memory: Memory, definition: Any) -> tuple[int, bytes]:
    """Address and first bytes of the C++ object behind a pybind11 instance, whose pointer follows the object header."""
    (address,) = struct.unpack("<Q", memory.read(id(definition) + 16, 8) or b"\0" * 8)
    data = memory.read(address, _EXTENT)
    if data is None:
        raise LayoutError(f"no C++ object behind the kernel definition of {definition.op_name}")
    return address, data


def _text_offset(memory: Memory, blocks: list[tuple[int, bytes]], expected: list[str], field: str) -> int:
    for offset in range(0, _EXTENT - 16, 8):
        if all(memory.string(b, offset) == text.encode() for (_, b), text in zip(blocks, expected, strict=True)):
            return offset
    raise LayoutError(f"the kernel definitions hold no field that reads as {field} does in Python")


def _versions_offset(blocks: list[tuple[int, bytes]], expected: list[tuple[int, ...]]) -> int:
    for offset in range(0, _EXTENT - 8, 4):
        if all(struct.unpack_from("<ii", b, offset) == pair for (_, b), pair in zip(blocks, expected, strict=True)):
            return offset
    raise LayoutError("the kernel definitions hold no field that reads as version_range does in Python")


def _map_offsets(memory: Memory, blocks: list[tuple[int, bytes]]) -> list[int]:
    offsets = range(0, _EXTENT - _MAP_BYTES, 8)
    return [o for o in offsets if all(_map(memory, address, b, o) is not None for address, b in blocks)]


def _map(memory: Memory, address: int, block: bytes, offset: int) -> list[tuple[int, int]] | None:
    """The (key, value) pairs of the std::map<size_t, int> at an offset, None when there is none."""
    header = address + offset + 8
    root, left, right, count = struct.unpack_from("<QQQQ", block, offset + 16)
    if not root:
        return [] if (left, right, count) == (header, header, 0) else None
    if not 0 < count <= _LARGEST_MAP:
        return None
    pairs = list(_walk(memory, root, header, count))
    keys = [key for key, _ in pairs]
    return pairs if len(pairs) == count and keys == sorted(set(keys)) else None


def _walk(memory: Memory, node: int, parent: int, left_over: int) -> Iterator[tuple[int, int]]:
    data = memory.read(node, 48)
    if data is None or left_over <= 0:
        return
    above, left, right, key, value = struct.unpack_from("<QQQQi", data, 8)
    if above != parent:
        return
    if left:
        yield from _walk(memory, left, node, left_over - 1)
    yield key, value
    if right:
        yield from _walk(memory, right, node, left_over - 1)


def _host(memory: Memory, block: tuple[int, bytes], offset: int) -> tuple[int, ...]:
    """Keys whose memory type is the CPU's: OrtMemTypeCPUInput (-2) or OrtMemTypeCPUOutput (-1); 0 is the device."""
    pairs = _map(memory, *block, offset) or []
    strange = {value for _, value in pairs} - {-2, -1, 0}
    if strange:
        raise LayoutError(f"memory types {sorted(strange)} are none of ONNX Runtime's (-2, -1, 0)")
    return tuple(key for key, value in pairs if value)


def _no_default_memory(blocks: list[tuple[int, bytes]], layout: Layout) -> None:
    """After the maps come a queue and the memory types of arguments in neither map: device in all releases so far."""
    rest = layout.output_memory + _MAP_BYTES
    others = {struct.unpack_from("<iii", b, rest) for _, b in blocks} - {(0, 0, 0)}
    if others:
        raise LayoutError(f"kernels with a queue or default memory type of their own: {sorted(others)[:3]}")
