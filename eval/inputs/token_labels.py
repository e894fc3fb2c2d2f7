"""Token labels: texts that come as words with a label each, and the labels of the tokens that become of them.

As transformers' own examples of token classification have it: the first token of a word has its label, the others and
the special ones have none.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxfix.eval.figures.metrics import NO_LABEL, Classes
from onnxfix.nouns.errors import OnnxfixError

if TYPE_CHECKING:
    import polars as pl


def are_lists(column: pl.Series) -> bool:
    import polars as pl

    return isinstance(column.dtype, pl.List | pl.Array)


def words(column: pl.Series) -> list[list[str]]:
    """The words of each row: those of a list, else what blanks divide."""
    rows = column.to_list()
    return [[str(word) for word in row] for row in rows] if are_lists(column) else [str(row).split() for row in rows]


def needs_prefix(tokenizer: Any) -> bool:
    """Of GPT-2's kind, which tells a word by the blank in front: without it words are taken for ends of others, and
    models that label words are trained with it (transformers' run_ner.py)."""
    known = inspect.signature(type(tokenizer).__init__).parameters
    return "add_prefix_space" in known and getattr(tokenizer, "add_prefix_space", None) is False


def encoded(tokenizer: Any, texts: Sequence[Sequence[str]], longest: int) -> Any:
    """The tokens of words. Raises OnnxfixError for a tokenizer that does not say which word a token is of."""
    if not getattr(tokenizer, "is_fast", False):
        raise OnnxfixError("words need a fast tokenizer, which knows the word of a token", "save its tokenizer.json")
    return tokenizer([list(row) for row in texts], is_split_into_words=True, truncation=True, max_length=longest)


def aligned(labels: Sequence[Classes | None], texts: Sequence[Sequence[str]], tokens: Any, head: str) -> Classes:
    """Class numbers of shape (rows, tokens of the longest), -1 for tokens without a label, from those of words.

    Raises OnnxfixError where a row has not a label a word.
    """
    found = []
    for row, (numbers, text) in enumerate(zip(labels, texts, strict=True)):
        given = np.full(len(text), NO_LABEL) if numbers is None else numbers
        if len(given) != len(text):
            what = f"{len(given)} labels of head '{head}' for {len(text)} words"
            raise OnnxfixError(f"row {row + 1} has {what}", "give a list of words and one of labels, of one length")
        places = tokens.word_ids(row)
        begins = [w is not None and (i == 0 or places[i - 1] != w) for i, w in enumerate(places)]
        found.append([given[w] if begun else NO_LABEL for w, begun in zip(places, begins, strict=True)])
    gold = np.full((len(found), max(map(len, found), default=0)), NO_LABEL, dtype=np.int64)
    for row, made in enumerate(found):
        gold[row, : len(made)] = made
    return gold
