"""The one exception a user sees, whose parameters are said as its reader says them; and the runtime's own words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from .runtime import messages

LONGEST_MESSAGE = 400
EITHER = "either"
"""The name under which a voice is given words to choose from: Python's are the first, a command line's the second."""
Voice = Callable[[str, Sequence[Any]], str]
"""How somebody says a parameter of a name, set to one of the values (none: the parameter as such)."""
# Shift out, shift in: no name in a model holds them, and `str.split` takes neither for a blank.
_PARAMETER = re.compile(r'\x0e(\["\w+"(?:, .*?)?\])\x0f')


def arg(name: str, *values: object) -> str:
    """A parameter to be put into a message, which says it as its reader does: `precision='fp16'` in Python,
    `--precision fp16` on the command line. Several values are a choice."""
    return f"\x0e{json.dumps([name, *values], default=str)}\x0f"


def either(in_python: str, typed: str) -> str:
    """Words in a message that each voice has its own of: a call, and a command."""
    return arg(EITHER, in_python, typed)


def python(name: str, values: Sequence[Any]) -> str:
    """The voice of Python: `int8='static' or 'dynamic'`."""
    if name == EITHER:
        return str(values[0])
    return f"{name}={' or '.join(map(repr, values))}" if values else name


DIAGNOSE = either("onnxfix.diagnose", "'onnxfix diagnose'")
TRACEBACK = either("its __cause__ shows where", "its traceback shows where: 'onnxfix --debug' prints it")


def spoken(text: str, voice: Voice = python) -> str:
    """A text with its parameters as a voice says them."""

    def said(found: re.Match[str]) -> str:
        try:
            name, *values = json.loads(found[1])
        except ValueError:  # made by somebody else
            return found[1]
        return voice(name, values)

    return _PARAMETER.sub(said, text.marked if isinstance(text, Sentence) else text)


class Sentence(str):
    """Reads as Python says it, and can be `spoken` otherwise. `marked` is what to build another sentence from."""

    marked: str

    def __new__(cls, text: str) -> Sentence:
        made = super().__new__(cls, spoken(text))
        made.marked = text.marked if isinstance(text, Sentence) else text
        return made


class OnnxfixError(Exception):
    """The tool or its input failed (exit code 2).

    `message` says what is wrong, `next_step` what the user can do about it. Both are joined to a single line, because
    that line is all the terminal shows unless `--debug` is given. Parameters in it are those of Python;
    `spoken(error.sentence, voice)` says them otherwise.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        self.message, self.next_step = _on_one_line(message), _on_one_line(next_step)
        marked = [part.marked for part in (self.message, self.next_step)]
        self.sentence = Sentence("; ".join(marked) if next_step else marked[0])
        super().__init__(str(self.sentence))


def _on_one_line(text: str) -> Sentence:
    return Sentence(" ".join((text.marked if isinstance(text, Sentence) else text).split()))


def one_line(error: BaseException, voice: Voice = python) -> str:
    """The message without the runtime's error number, its source paths and its line breaks, cut to 400 characters."""
    text = spoken(error.sentence, voice) if isinstance(error, OnnxfixError) else str(error)
    text = " ".join(text.split()) or type(error).__name__
    text = messages.plain(text) or type(error).__name__
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
