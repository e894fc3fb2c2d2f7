"""Text workloads: labelled tables read with polars, or made-up words, tokenised by the checkpoint's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxfix.eval.figures.metrics import NO_LABEL, Classes
from onnxfix.nouns.errors import OnnxfixError, arg

from . import token_labels
from .feeds import Feed
from .workload import Arrays, Workload, with_defaults

if TYPE_CHECKING:
    import polars as pl

MAX_LENGTH = 512
MADE_UP_ROWS = 64
SHORTEST_ROW = 8
IGNORED = -100  # the label that means "none" to torch's losses


def load_workload(
    data: Path | pl.DataFrame,
    *,
    checkpoint: Path,
    text_column: str = "text",
    labels: Mapping[str, str] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
    limit: int | None = None,
    max_length: int | None = None,
    positions: int | None = None,
    given_as: str = "data",
) -> Workload:
    """Texts and labels of a table, tokenised with truncation in data order: a frame, or a .parquet, .csv, .tsv, .jsonl
    or .ndjson file, given as the parameter `given_as`.

    `labels` maps a head (output name) to the column of its labels, `classes` a head to its class names in logit order;
    without class names the column must hold class numbers. An empty label is no label. Lists of labels are of words:
    the text is a list of as many, or divided by blanks. `max_length` is in tokens, by default the tokenizer's own
    limit, at most 512 and the model's `positions`. Raises OnnxfixError for a missing column or an unknown label.
    """
    frame, name = (read_table(data, given_as), data.name) if isinstance(data, Path) else (data, "the table")
    frame = frame.head(limit) if limit is not None else frame
    _require(frame, name, [text_column, *(labels or {}).values()])
    if not len(frame):
        raise OnnxfixError(f"{name} has no rows", f"give {arg(given_as)} a table with texts")
    if frame[text_column].null_count():
        raise OnnxfixError(f"{name}: column '{text_column}' has empty rows", "remove them")
    tokenizer = load_tokenizer(checkpoint)
    longest = max_length or token_limit(tokenizer, positions)
    named = classes or {}
    of_words = {head for head, column in (labels or {}).items() if token_labels.are_lists(frame[column])}
    texts: list[Any] = [str(text) for text in frame[text_column]]
    if of_words or token_labels.are_lists(frame[text_column]):
        texts = token_labels.words(frame[text_column])
        if token_labels.needs_prefix(tokenizer):
            tokenizer = load_tokenizer(checkpoint, add_prefix_space=True)
        tokens = token_labels.encoded(tokenizer, texts, longest)
    else:
        tokens = tokenizer(texts, truncation=True, max_length=longest)
    gold = {
        head: token_labels.aligned(_of_words(frame[column], head, named.get(head)), texts, tokens, head)
        if head in of_words
        else gold_of(frame[column], head, named.get(head))
        for head, column in (labels or {}).items()
    }
    return Workload(
        description=f"{len(frame):,} rows of {name}, at most {longest} tokens each",
        rows=_rows(tokens, len(texts)),
        padding=_padding(tokenizer),
        pad_left=tokenizer.padding_side == "left",
        classes=dict(named),
        gold=gold,
    )


def made_up_text(
    checkpoint: Path,
    *,
    classes: Mapping[str, Sequence[str]] | None = None,
    rows: int = MADE_UP_ROWS,
    max_length: int | None = None,
    positions: int | None = None,
) -> Workload:
    """Random words of the tokenizer's vocabulary, 8 tokens to `max_length` a row, always the same ones; no labels."""
    tokenizer = load_tokenizer(checkpoint)
    longest = max(max_length or token_limit(tokenizer, positions), SHORTEST_ROW)
    rng = np.random.default_rng(0)
    words = np.array(sorted(set(range(tokenizer.vocab_size)) - set(tokenizer.all_special_ids)))
    lengths = rng.integers(SHORTEST_ROW, longest + 1, rows)
    # Decoded and tokenised again, then cut: rows are framed by the special tokens as real text is.
    texts = [tokenizer.decode(rng.choice(words, n)) for n in lengths]
    cut = (tokenizer([t], truncation=True, max_length=int(n)) for t, n in zip(texts, lengths, strict=True))
    samples = [_rows(tokens, 1)[0] for tokens in cut]
    return Workload(
        description=f"{rows} made-up rows of up to {longest} tokens",
        rows=tuple(samples),
        padding=_padding(tokenizer),
        pad_left=tokenizer.padding_side == "left",
        classes=dict(classes or {}),
    )


def made_up_ids(vocabulary: int, *, rows: int = MADE_UP_ROWS, max_length: int = MAX_LENGTH) -> Workload:
    """Random token ids below `vocabulary`, 8 to `max_length` a row, for a checkpoint without a tokenizer; no labels."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(SHORTEST_ROW, max(max_length, SHORTEST_ROW) + 1, rows)
    ids = [rng.integers(0, vocabulary, int(n), dtype=np.int64) for n in lengths]
    samples = [{"input_ids": i, "attention_mask": np.ones_like(i), "token_type_ids": np.zeros_like(i)} for i in ids]
    return Workload(description=f"{rows} made-up rows of up to {max(lengths)} token ids", rows=tuple(samples))


def text_feeds(workload: Workload, inputs: Mapping[str, Any], size: int = 8) -> list[Feed]:
    """Batches of texts as feeds of a model. `inputs`: its input names with their onnx_ir data types.

    Raises OnnxfixError for an input that the tokenizer does not make.
    """
    feeds: list[Feed] = []
    for index, batch in enumerate(with_defaults(workload, inputs).batches(size)):
        missing = sorted(set(inputs) - set(batch.arrays))
        if missing:
            raise OnnxfixError(f"the tokenizer does not make the input {missing[0]}", "give an .npz file of feeds")
        arrays = {name: batch.arrays[name].astype(dtype.numpy()) for name, dtype in inputs.items()}
        feeds.append(Feed(f"texts {index + 1}", arrays, gold=workload.labels(index * size, batch.rows)))
    return feeds


def read_table(path: Path, given_as: str = "data") -> pl.DataFrame:
    """The table in a file, by its ending; `given_as`: the parameter. Raises OnnxfixError when it cannot be read."""
    import polars as pl

    readers: dict[str, Any] = {
        ".parquet": pl.read_parquet,
        ".csv": pl.read_csv,
        ".tsv": lambda p: pl.read_csv(p, separator="\t"),
        ".jsonl": pl.read_ndjson,
        ".ndjson": pl.read_ndjson,
    }
    if not path.is_file():
        raise OnnxfixError(f"{path} does not exist", f"check the path given with {arg(given_as)}")
    if path.suffix.lower() not in readers:
        raise OnnxfixError(f"{path.name}: cannot read '{path.suffix}' files", f"use one of {', '.join(readers)}")
    try:
        frame: pl.DataFrame = readers[path.suffix.lower()](path)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise OnnxfixError(f"{path.name} cannot be read as {path.suffix[1:]}: {error}") from error
    return frame


def load_tokenizer(checkpoint: Path, **options: Any) -> Any:
    """The checkpoint's AutoTokenizer, from its own folder only. Raises OnnxfixError."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise OnnxfixError("tokenising text needs transformers", "pip install 'onnxfix[torch]'") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(checkpoint), local_files_only=True, **options)
    except (OSError, ValueError) as error:
        raise OnnxfixError(f"{checkpoint} has no tokenizer that loads: {error}", "save it there") from error
    if tokenizer.vocab_size <= len(set(tokenizer.all_special_ids)):
        # transformers 5 makes an empty tokenizer of a folder that has none
        raise OnnxfixError(f"{checkpoint} has no tokenizer", "save it there with tokenizer.save_pretrained")
    return tokenizer


def token_limit(tokenizer: Any, positions: int | None = None) -> int:
    """The tokenizer's own limit, at most 512 and the positions of its model, which it may know nothing of; tokenizers
    without a limit state a huge number."""
    return min(int(tokenizer.model_max_length), MAX_LENGTH, positions or MAX_LENGTH)


def _rows(tokens: Any, count: int) -> tuple[Arrays, ...]:
    names = list(tokens.keys())
    return tuple({name: np.asarray(tokens[name][i], dtype=np.int64) for name in names} for i in range(count))


def _padding(tokenizer: Any) -> dict[str, int]:
    return {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}


def _require(frame: pl.DataFrame, table: str, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in frame.columns:
            raise OnnxfixError(f"{table} has no column '{column}'", f"its columns are {', '.join(frame.columns)}")


def _of_words(column: pl.Series, head: str, names: Sequence[str] | None) -> list[Classes | None]:
    """Class numbers a word, a row after the other; None for a row without a list."""
    import polars as pl

    rows = column.to_list()
    flat = pl.Series([label for row in rows for label in row or ()], dtype=getattr(column.dtype, "inner", None))
    ends = np.cumsum([len(row or ()) for row in rows])[:-1]
    parts = np.split(gold_of(flat, head, names), ends)
    return [None if row is None else part for row, part in zip(rows, parts, strict=True)]


def gold_of(column: pl.Series, head: str, names: Sequence[str] | None) -> Classes:
    """Class numbers of one head, -1 for no label: an empty one, -1, or -100, which trainers leave out."""
    number = {str(name): i for i, name in enumerate(names or ())}
    texts = [None if value is None or not str(value).strip() else str(value) for value in column]
    # classes may be named 1 to 5: labels that all are names are names, whatever their type
    named = bool(number) and all(text in number for text in texts if text is not None)
    if named or not column.dtype.is_integer():
        if not number:
            raise OnnxfixError(f"the class names of head '{head}' are not known", "give labels as class numbers")
        unknown = sorted({text for text in texts if text is not None and text not in number})
        if unknown:
            raise OnnxfixError(f"label '{unknown[0]}' is no class of head '{head}'", f"classes: {', '.join(number)}")
        return np.array([NO_LABEL if text is None else number[text] for text in texts], dtype=np.int64)
    found = column.fill_null(NO_LABEL).to_numpy().astype(np.int64)
    found[found == IGNORED] = NO_LABEL
    wrong = found[(found < NO_LABEL) | (found >= len(number) if number else False)]
    if len(wrong):
        least = f"0 to {len(number) - 1}" if number else "from 0"
        raise OnnxfixError(f"label {wrong[0]} is no class of head '{head}'", f"class numbers are {least}")
    return found
