"""Figures and names as people read them: `1 node`, `38.5 GB`, `1.9 s`, and text that no terminal or page obeys."""

from __future__ import annotations

import re

from onnxfix.nouns.types.counts import listed as listed
from onnxfix.nouns.types.counts import plural as plural

# Control characters (a terminal would obey them) and marks that reverse the text after them.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


# What a terminal obeys, but for line ends and tabs.
_CONTROL = re.compile(r"(?![\n\t])[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
# What GitHub's runner obeys in the output of a step: `::error ::…` at the start of a line, `##[error]…` anywhere in it.
_COMMAND = re.compile(r"^([^\S\n]*:)(?=:)|(##)(?=\[)", re.MULTILINE)


# For a stream that cannot write them, as a pipe of code page 1252 cannot.
_SPELLED = {
    "→": "->",
    "×": "x",
    "÷": "/",
    "µ": "u",
    "…": "...",
    "–": "-",
    "·": "*",
    "≤": "<=",
    "≥": ">=",
    "²": "^2",
    "\u200b": "",
}


def spelled(error: UnicodeError) -> tuple[str, int]:
    """What a stream writes for characters that its encoding lacks: a handler of errors (codecs.register_error)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_SPELLED.get(c, "?") for c in error.object[error.start : error.end]), error.end


def harmless(text: str) -> str:
    """Lines that no terminal obeys, and no runner that reads what is printed. Blanks without width part its marks."""
    return commandless(without_control(text))


def commandless(text: str) -> str:
    """Lines that GitHub's runner prints and does not obey."""
    return _COMMAND.sub("\\g<0>\N{ZERO WIDTH SPACE}", text)


def without_control(text: str) -> str:
    """Text of any number of lines without control characters."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def quantity(nbytes: int) -> str:
    """Bytes with three digits: `8 bytes`, `67.1 MB`, `38.5 GB` (powers of ten)."""
    if nbytes < 1000:
        return plural(nbytes, "byte")
    value = float(nbytes)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        # 999.5 rounds to four digits: that is 1.00 of the next unit
        if value < 999.5 or unit == "TB":
            return f"{_three_digits(value)} {unit}"
    raise AssertionError("unreachable")


def duration(milliseconds: float) -> str:
    """`10 µs`, `3.4 ms`, `1.9 s`."""
    if milliseconds < 0.9995:
        return f"{milliseconds * 1000:.0f} µs"
    if milliseconds < 999.5:
        return f"{milliseconds:.1f} ms" if milliseconds < 99.95 else f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:,.1f} s"


def visible(text: str) -> str:
    """One line without control characters. Names in a model are whatever its author wrote."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", re.sub(r"[ \t\r\n]+", " ", text).strip())


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}".rstrip("0").rstrip(".")
