"""ONNX Runtime's messages without its C++: source files, signatures and conditions say nothing to who reads them.

Its errors are told as `FILE:LINE SIGNATURE [CONDITION was false. ]WORDS [Stacktrace: ...]`, where the signature is what
GCC, clang or MSVC call the function, and one message may hold another.
"""

from __future__ import annotations

import re

_PLACE = re.compile(r"(?:(?<![A-Za-z])[A-Za-z]:)?[^\s:'\"(]*[/\\][^\s:'\"(]+\.(?:cc|cpp|cxx|cu|cuh|h|hpp|inl)[:(]\d+\)?:? ?")
_ERROR = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_OPENING = re.compile(r"^(?:This is an invalid model\. |Load model from .*? failed:\s*|Exception during \w+: )+")
_RUNNING = re.compile(r"Non-zero status code returned while running (\S+) node\. Name:'([^']*)' Status Message: ")
_IN_NODE = re.compile(r"In Node, \((\"(?:[^\"]*)\"|[^,]*), ([\w.]+), .*?, Error Node ?\(.*?\)\s*(?:with schema\(.*?\) )?")
_SCHEMA = re.compile(r"Node ?\(([^()]*)\) with schema\((?:([\w.]*)::)?(\w+):(-?\d+)\) ")
_QUALIFIED = re.compile(r"(?:[\w.]*::)+(?=\w)")
_END = re.compile(r"\s*(?:Stacktrace:|\(anonymous namespace\)|; ?GPU=-?\d+ ?; ?hostname=).*$")
_SYMBOL = re.compile(r"\boperator ?(?:\(\)|[^\w\s(]+)")
_FALSE = " was false. "
_OPEN, _CLOSE = "([{<", ")]}>"
_BEHIND = re.compile(r"(?=\()| ?(?:const|mutable)\b|\s*\[with |::|\s*noexcept|\s*&&?(?= )")


def plain(text: str) -> str:
    """A message on one line, what it says and no more: the operator and its node, if it names one, and the words."""
    text = _ERROR.sub("", " ".join(text.split()))
    while (found := _PLACE.search(text)) is not None:
        text = text[: found.start()] + _behind_condition(_behind_signature(text[found.end() :]))
    text = _ERROR.sub("", text)
    text = _RUNNING.sub(_node, _OPENING.sub("", text.lstrip()))
    text = _SCHEMA.sub(r"\3 '\1' ", _IN_NODE.sub(lambda found: f"{found[2]} '{found[1].strip(chr(34))}' ", text))
    return _END.sub("", _QUALIFIED.sub("", text)).strip()


def _node(found: re.Match[str]) -> str:
    return f"{found[1]} '{found[2]}': " if found[2] else f"{found[1]}: "


def _behind_signature(text: str) -> str:
    """What follows `static Status ns::Class<T>::name(int) const [with T = float]::<lambda(int)>`, or MSVC's `ns::f`."""
    if _words(text):
        return text
    masked = _SYMBOL.sub(lambda found: "_" * len(found[0]), text)  # operator(), operator<<: brackets of no pair
    at = _matched_from(masked, _parameters(masked))
    while at and (more := _BEHIND.match(text, at)) is not None:
        at = _behind_part(text, at, more)
    if at:
        return text[at:].lstrip(": ")
    return text.partition(" ")[2] if "::" in text.partition(" ")[0] else text


def _parameters(text: str) -> int:
    """Where the first parenthesis opens that is in no template's argument; -1 where there is none."""
    at = 0
    while at >= 0 and at < len(text) and text[at] != "(":
        at = (_matched_from(text, at) or len(text)) if text[at] in "<{" else at + 1
    return at if 0 <= at < len(text) else -1


def _words(text: str) -> bool:
    """Whether there is no signature: a sentence has no parameters behind a qualified name."""
    head, _, rest = text.partition("(")
    return "::" not in head and not rest.startswith("*") and not re.fullmatch(r"(?:[\w&*<>,]+ )+[\w~]+", head) or _FALSE in head


def _behind_part(text: str, at: int, more: re.Match[str]) -> int:
    """The end of one more part of a signature, which begins with `more`."""
    part = more[0].strip()
    if part == "[with":
        return _matched_from(text, more.start() + more[0].index("["))
    if not part:  # what it returns is a function
        return _matched_from(text, at)
    if part == "::":
        opened = re.compile(r"[^\s(<]*").match(text, more.end())
        end = opened.end() if opened else more.end()
        return _matched_from(text, end) if end < len(text) and text[end] in _OPEN else end
    return more.end()


def _matched_from(text: str, at: int) -> int:
    """The place behind the bracket that closes the one at `at`; 0 where none does, or none is there."""
    if at < 0:
        return 0
    depth = 0
    for index in range(at, len(text)):
        if text[index] in _OPEN:
            depth += 1
        elif text[index] in _CLOSE and text[index - 1] != "-":
            depth -= 1
            if not depth:
                return index + 1
    return 0


def _behind_condition(text: str) -> str:
    condition, found, words = text.partition(_FALSE)
    return words if found and ". " not in condition else text.removesuffix(_FALSE.strip())
