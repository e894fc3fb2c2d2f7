"""How the command line says what it shares with Python: parameters are options, `verify=False` is `--no-verify`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from onnxfix.nouns.errors import EITHER

# What a shell passes on as it is: more than shlex.quote leaves alone, which quotes ^MatMul$.
_PLAIN = re.compile(r"[\w@%+=:,./^-]+\$?")


def option(name: str, values: Sequence[Any]) -> str:
    """A parameter as typed: `--precision fp16`, of switches only the name."""
    if name == EITHER:
        return str(values[1])
    dashed = name.replace("_", "-")
    if any(value is False for value in values):
        return f"--no-{dashed}"
    given = [str(value) for value in values if value is not True]
    quoted = (text if _PLAIN.fullmatch(text) else shlex.quote(text) for text in given)
    return f"--{dashed} {' or '.join(quoted)}".rstrip()
