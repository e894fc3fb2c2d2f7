"""Tokens: rows of numbers of any length, checked, and padded batches of them as a model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxfix.nouns.errors import OnnxfixError, arg

from .batches import Budget, Rows
from .interface import Interface

Array = NDArray[Any]


@dataclass(frozen=True)
class Tokens:
    """`columns`: for each input that was given an array a row, of `lengths` entries each."""

    columns: Mapping[str, Sequence[Array]]
    lengths: Sequence[int]


@dataclass(frozen=True)
class Padding:
    """`values` fill rows up, by the role of an input (0 where none is given); from the `left`, or behind the tokens."""

    values: Mapping[str, int] = field(default_factory=dict)
    left: bool = False


def checked(columns: Mapping[str, Sequence[Any]], interface: Interface, called: str) -> Tokens:
    """Rows as arrays. `called`: what the caller's rows are called in errors.

    Raises OnnxfixError that names the row: one that is empty, longer than the model takes, no whole numbers, or not as
    long in each input; and for inputs that the model has not, or no token ids.
    """
    unknown = [name for name in columns if name not in interface.roles]
    if unknown or interface.ids not in columns:
        what = f"the model has no input '{unknown[0]}'" if unknown else f"the input '{interface.ids}' is missing"
        raise OnnxfixError(what, f"its inputs are {', '.join(interface.roles)}")
    found = {name: [_row(row, name, at, called) for at, row in enumerate(rows)] for name, rows in columns.items()}
    lengths = [len(row) for row in found[interface.ids]]
    for at, length in enumerate(lengths):
        _check_length(length, interface, f"{called}[{at}]")
    for name, rows in found.items():
        other = next((at for at, row in enumerate(rows) if at >= len(lengths) or len(row) != lengths[at]), None)
        if other is not None or len(rows) != len(lengths):
            where = f"{called}[{min(len(rows), len(lengths)) if other is None else other}]"
            raise OnnxfixError(
                f"{where} has not as many entries in '{name}' as in '{interface.ids}'", "give one a token"
            )
    return Tokens(found, lengths)


def _row(row: Any, name: str, at: int, called: str) -> Array:
    try:
        array = np.asarray(row)
    except ValueError:  # rows of rows
        array = np.zeros((0, 0))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iub"):
        what = f"{called}[{at}] is no row of whole numbers for '{name}'"
        raise OnnxfixError(what, "give a list of lists of token ids, or such a list by the name of each input")
    return array


def _check_length(length: int, interface: Interface, where: str) -> None:
    if length == 0:
        raise OnnxfixError(f"{where} has no token", "leave it out, or give it the tokens of an empty text")
    most = interface.most
    if most is not None and length > most:
        raise OnnxfixError(
            f"{where} has {length:,} tokens and the model takes {most:,}",
            f"shorten it, or have texts cut with {arg('max_length', most)}",
        )
    if interface.length and length < interface.length and not interface.is_masked:
        raise OnnxfixError(
            f"{where} has {length:,} tokens, and the model takes {interface.length:,} and no mask of them",
            f"give rows of {interface.length:,} tokens",
        )


def feed(tokens: Tokens, rows: Rows, interface: Interface, budget: Budget, padding: Padding) -> dict[str, Array]:
    """One batch as the model takes it, [rows, tokens] each. Inputs that were not given are filled as transformers fills
    them: a mask with 1, segments with 0, positions with 0, 1, 2, …

    Where the model takes one number of rows alone, the last row is repeated.
    """
    lengths = [tokens.lengths[row] for row in rows]
    longest = budget.padded(max(lengths))
    if interface.most is not None:
        longest = min(longest, interface.most)
    starts = [longest - length if padding.left else 0 for length in lengths]
    count = max(budget.rows or 0, len(lengths))
    made = {}
    for name, part in interface.roles.items():
        array = np.full((count, longest), padding.values.get(part, 0), dtype=interface.types[name])
        given = tokens.columns.get(name)
        for at, (row, start, length) in enumerate(zip(rows, starts, lengths, strict=True)):
            array[at, start : start + length] = given[row] if given is not None else _usual(part, length)
        array[len(lengths) :] = array[len(lengths) - 1]
        made[name] = array
    return made


def _usual(part: str, length: int) -> Any:
    return np.arange(length) if part == "position" else 1 if part == "mask" else 0
