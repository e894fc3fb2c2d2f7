"""The dynamic symbols that a shared library (ELF, 64 bit, little-endian) leaves for others to define.

`objdump -T` says the same; reading the four tables here spares everyone but the C compiler. Source of the layouts:
the System V ABI (gABI, chapters 4 and 5) and the GNU symbol-versioning extension (LSB core, section 10.7).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_DYNAMIC, _DYNSYM, _VERNEED, _VERSYM = 6, 11, 0x6FFFFFFE, 0x6FFFFFFF
_DT_NEEDED = 1
_WEAK = 2


@dataclass(frozen=True)
class Needs:
    """`libraries` are the sonames asked for; `symbols` are (name, library, version), the latter two empty for a symbol
    without a version, which any library may define. Weak symbols, which may stay undefined, are left out."""

    libraries: tuple[str, ...]
    symbols: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class _Section:
    kind: int
    offset: int
    size: int
    link: int


def needs(path: Path) -> Needs:
    """What a shared library needs from others. Raises ValueError for any other file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path.name} is not a 64-bit little-endian ELF file")
        sections = list(_sections(data))
        return Needs(tuple(_libraries(data, sections)), tuple(_symbols(data, sections)))


def _sections(data: mmap.mmap) -> Iterator[_Section]:
    (start,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    for index in range(count):
        _, kind, _, _, offset, length, link = struct.unpack_from("<IIQQQQI", data, start + index * size)
        yield _Section(kind, offset, length, link)


def _of_kind(sections: list[_Section], kind: int) -> _Section:
    found = next((s for s in sections if s.kind == kind), None)
    if found is None:
        raise ValueError(f"the library has no section of type {kind:#x}")
    return found


def _text(data: mmap.mmap, strings: _Section, offset: int) -> str:
    start = strings.offset + offset
    return data[start : data.find(b"\0", start)].decode()


def _libraries(data: mmap.mmap, sections: list[_Section]) -> Iterator[str]:
    dynamic = _of_kind(sections, _DYNAMIC)
    strings = sections[dynamic.link]
    for tag, value in struct.iter_unpack("<QQ", data[dynamic.offset : dynamic.offset + dynamic.size]):
        if tag == _DT_NEEDED:
            yield _text(data, strings, value)


def _symbols(data: mmap.mmap, sections: list[_Section]) -> Iterator[tuple[str, str, str]]:
    table, numbers = _of_kind(sections, _DYNSYM), _of_kind(sections, _VERSYM)
    strings, versions = sections[table.link], _versions(data, sections)
    entries = struct.iter_unpack("<IBBHQQ", data[table.offset : table.offset + table.size])
    indices = struct.iter_unpack("<H", data[numbers.offset : numbers.offset + numbers.size])
    for (name, info, _, section, _, _), (index,) in zip(entries, indices, strict=True):
        if section == 0 and name and info >> 4 != _WEAK:
            library, version = versions.get(index & 0x7FFF, ("", ""))
            yield _text(data, strings, name), library, version


def _versions(data: mmap.mmap, sections: list[_Section]) -> dict[int, tuple[str, str]]:
    """(library, version) by the number that the symbol table refers to."""
    table = _of_kind(sections, _VERNEED)
    strings = sections[table.link]
    found: dict[int, tuple[str, str]] = {}
    at = table.offset
    while True:
        _, count, file, auxiliary, following = struct.unpack_from("<HHIII", data, at)
        entry = at + auxiliary
        for _ in range(count):
            _, _, number, name, step = struct.unpack_from("<IHHII", data, entry)
            found[number] = _text(data, strings, file), _text(data, strings, name)
            entry += step
        if not following:
            return found
        at += following
