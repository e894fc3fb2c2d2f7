"""What ONNX Runtime says about a session in its log and nowhere else: copies by name, providers that do not load."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from onnxfix.nouns.errors import one_line
from onnxfix.nouns.plan import Direction

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_COPY = re.compile(r"\] Add Memcpy(To|From)Host (?:after|before) (.+?) for \w+ExecutionProvider$", re.MULTILINE)
# one line a graph and sub-graph with copies; the graph's name may hold spaces or be empty
_COUNT = re.compile(r"\] (\d+) Memcpy nodes are added to the graph .*? for \w+ExecutionProvider\.")
_MISSING_LIBRARY = re.compile(r"Failed to load library \S*providers_(?!shared)\S* with error: (.+)$", re.MULTILINE)
_NOT_CREATED = re.compile(r"Failed to create \w+ExecutionProvider\. ?(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class SessionLog:
    """`copies`: direction and value of each Memcpy node; `memcpy`: their number as the runtime's warnings count them;
    `not_loaded`: why the device's provider is not there, empty when it is."""

    copies: tuple[tuple[Direction, str], ...]
    memcpy: int
    not_loaded: str = ""

    @staticmethod
    def parse(text: str) -> SessionLog:
        plain = _COLOUR.sub("", text)
        copies = ((f"{side.lower()}_host", value) for side, value in _COPY.findall(plain))
        missing = _MISSING_LIBRARY.search(plain) or _NOT_CREATED.search(plain)
        return SessionLog(
            copies=tuple((cast(Direction, direction), value) for direction, value in copies),
            memcpy=sum(int(count) for count in _COUNT.findall(plain)),
            not_loaded=one_line(RuntimeError(missing[1])) if missing else "",
        )
