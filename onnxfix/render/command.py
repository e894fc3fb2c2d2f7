"""Commands as they can be pasted: into a shell, which takes no name for an option or a variable, and into Python."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

# What every shell passes on as it is.
_PLAIN = re.compile(r"[\w@%+=:,./^-]+", re.ASCII)


def word(text: str) -> str:
    """One word of a shell, whatever is in it: control characters as `$'\\x1b'`, which bash, zsh and ksh read."""
    if _PLAIN.fullmatch(text):
        return text
    if text.isprintable():
        return shlex.quote(text)
    escaped = "".join(_escaped(character) for character in text)
    return f"$'{escaped}'"


def file(path: str) -> str:
    """A file as a word that is no option: `./-x.onnx`."""
    return word(f"./{path}" if path.startswith("-") else path)


def shell(command: Sequence[str], path: str, options: Sequence[str], remark: str = "") -> str:
    """`onnxfix repair model.onnx --precision fp32  # remark`."""
    line = " ".join([*command, file(path), *map(word, options)])
    return f"{line}  # {remark}" if remark else line


def python(function: str, argument: str, options: Mapping[str, Any], remark: str = "") -> str:
    """`onnxfix.repair(model, precision='fp32')  # remark`."""
    line = f"{function}({', '.join([argument, *(f'{name}={value!r}' for name, value in options.items())])})"
    return f"{line}  # {remark}" if remark else line


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
