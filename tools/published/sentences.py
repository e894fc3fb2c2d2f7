"""A result beside its source on real sentences: `python -m published.sentences SOURCE RESULT TOKENIZER`.

In sessions of ours. Prints one JSON object: `cosine`, the smallest of a text's, of any output of numbers; `labels`, the
share of texts or tokens whose largest entry is the same one; or `failed`, and why. Batches are padded at the right and
at the left, and the last is one text alone; what stands at padding counts for nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from published.own import Array, opened

TEXTS = Path(__file__).resolve().parents[2] / "eval" / "demo" / "holdout.parquet"
ROWS, BATCH, LONGEST = 48, 8, 128


def main() -> None:
    source, result, tokenizer = map(Path, sys.argv[1:4])
    texts = pl.read_parquet(TEXTS)["text"].to_list()[:ROWS]
    sys.stdout.write(json.dumps(kept(source, result, tokenizer, texts)))


def kept(source: Path, result: Path, tokenizer: Path, texts: list[str]) -> dict[str, Any]:
    """What a result keeps of its source on these texts."""
    before = opened(source)
    try:
        after = opened(result)
    except Exception as error:  # the runtime's own, of many types
        return {"failed": f"the result does not load on the CPU: {' '.join(str(error).split())[:160]}"}
    cosines: list[float] = []
    same: list[Array] = []
    for feed in feeds(tokenizer, texts, [i.name for i in before.get_inputs()]):
        real = feed["attention_mask"] != 0
        pairs = zip(before.run(None, feed), after.run(None, feed), strict=True)
        for one, other in pairs:
            if one.shape != other.shape or one.dtype != other.dtype:
                return {"failed": f"{other.dtype} {other.shape}, and {one.dtype} {one.shape} in the source"}
            if one.dtype.kind != "f" and not np.array_equal(one, other):
                return {"failed": "integers differ"}
            if one.dtype.kind == "f" and one.ndim > 1:
                of_tokens = one.shape[:2] == real.shape
                cosines += [cosine(*(a[row][real[row]] if of_tokens else a[row] for a in (one, other)))
                            for row in range(len(one))]  # fmt: skip
                chosen, others = (a.argmax(axis=-1)[real if of_tokens else ...] for a in (one, other))
                same.append((chosen == others).ravel())
    return {"cosine": min(cosines), "labels": float(np.concatenate(same).mean())}


def cosine(one: Array, other: Array) -> float:
    """Of all entries; -1 where one is not finite in the result."""
    flat, others = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    size = float(np.linalg.norm(flat) * np.linalg.norm(others))
    return float(flat @ others / size) if np.isfinite(size) and size else -1.0


def feeds(tokenizer: Path, texts: list[str], names: list[str]) -> Iterator[dict[str, Array]]:
    """Inputs by name, batches padded at the right and at the left in turn, then one text alone."""
    cut = Tokenizer.from_file(str(tokenizer))
    cut.no_padding()
    cut.enable_truncation(LONGEST)
    encoded = [one.ids for one in cut.encode_batch(texts)]
    batches = [encoded[at : at + BATCH] for at in range(0, len(encoded), BATCH)]
    for turn, batch in enumerate([*batches, encoded[:1]]):
        length = max(map(len, batch))
        ids, mask = np.zeros((2, len(batch), length), np.int64)
        for row, tokens in enumerate(batch):
            place = slice(length - len(tokens), length) if turn % 2 else slice(0, len(tokens))
            ids[row, place], mask[row, place] = tokens, 1
        yield {n: ids if n == "input_ids" else mask if n == "attention_mask" else np.zeros_like(ids) for n in names}


if __name__ == "__main__":
    main()
