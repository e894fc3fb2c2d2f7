"""Values of keywords that a caller may get wrong, checked before any work with an error that names the keyword."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from onnxfix.nouns.errors import OnnxfixError, arg


def one_of(name: str, value: object, known: object) -> None:
    """Raise OnnxfixError for a value that is none of a Literal's, and of another type than they; None is no value."""
    if value is not None and not any(value == each and type(value) is type(each) for each in get_args(known)):
        raise OnnxfixError(f"{arg(name, value)} is not known", f"take one of {', '.join(map(repr, get_args(known)))}")


def at_least(name: str, value: Any, least: float, whole: bool = False) -> None:
    """Raise OnnxfixError for what is no number, NaN, or below `least`; None is no value."""
    kinds = (int,) if whole else (int, float)
    if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not value >= least):
        raise OnnxfixError(f"{arg(name, value)} is no {'whole ' * whole}number of {least:g} or more", "change it")


def several(value: Any) -> tuple[Any, ...]:
    """One or more of a keyword that takes both: a string is one, None is none."""
    if value is None:
        return ()
    one = isinstance(value, str) or callable(value) or not isinstance(value, Sequence)
    return (value,) if one else tuple(value)
