"""Texts as rows of tokens, by a tokenizer of transformers or tokenizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxfix.eval.inputs.text_workload import load_tokenizer
from onnxfix.nouns.errors import OnnxfixError

from .tokens import Padding

Columns = dict[str, Sequence[Sequence[int]]]
"""Input name → numbers of each row."""


def tokenizer_of(given: Any) -> Any:
    """The tokenizer in a folder, read from there alone and without running code of it; an object as it is."""
    return load_tokenizer(Path(given), trust_remote_code=False) if isinstance(given, str | Path) else given


def encoded(tokenizer: Any, texts: Sequence[Any], longest: int | None) -> Columns:
    """Inputs by name, without padding; texts, or pairs of them, are cut only where `longest` is given.

    Raises OnnxfixError for what is no text, and what is no tokenizer.
    """
    for place, text in enumerate(texts):
        if not isinstance(text, str) and not _is_pair(text):
            raise OnnxfixError(f"texts[{place}] is of type {type(text).__name__}", "give texts, or pairs of texts")
    if hasattr(tokenizer, "encode_batch"):
        return _of_tokenizers(tokenizer, texts, longest)
    if not callable(tokenizer):
        raise OnnxfixError(
            f"tokenizer is of type {type(tokenizer).__name__}, which makes no tokens",
            "give a folder, or a tokenizer of transformers or tokenizers",
        )
    found = tokenizer(list(texts), truncation=longest is not None, max_length=longest, padding=False)
    return {str(name): found[name] for name in found if _are_rows(found[name], len(texts))}


def padding_of(tokenizer: Any) -> Padding:
    """As a tokenizer of transformers pads; another says nothing of it, and is there none, rows end in zeros."""
    ids, segment = getattr(tokenizer, "pad_token_id", None), getattr(tokenizer, "pad_token_type_id", None)
    return Padding({"ids": ids or 0, "segment": segment or 0}, getattr(tokenizer, "padding_side", "right") == "left")


def _is_pair(text: Any) -> bool:
    return isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text)


def _are_rows(found: Any, count: int) -> bool:
    return isinstance(found, Sequence | Mapping) and len(found) == count


def _of_tokenizers(tokenizer: Any, texts: Sequence[Any], longest: int | None) -> Columns:
    """Of a `tokenizers.Tokenizer`, whose own padding would fill rows up; what its file cuts at is its own."""
    if tokenizer.padding is not None:
        tokenizer.no_padding()
    if longest is None and tokenizer.truncation is not None:
        tokenizer.no_truncation()
    elif longest is not None and (tokenizer.truncation or {}).get("max_length") != longest:
        tokenizer.enable_truncation(longest)
    found = tokenizer.encode_batch(list(texts))
    return {"input_ids": [each.ids for each in found], "token_type_ids": [each.type_ids for each in found]}
