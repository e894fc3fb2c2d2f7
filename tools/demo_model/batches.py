"""Encoded rows and padded batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from .labels import HEADS

IGNORE = -100  # label of a row that lacks it: PyTorch's default ignore_index
MASK_ID = 4
FIRST_WORD_ID = 5  # ids below are special tokens and never masked


@dataclass(frozen=True)
class Rows:
    """Token ids, one label column per head and, for training, a teacher's class probabilities per head."""

    ids: list[list[int]]
    labels: Tensor
    soft: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Batch:
    """One padded batch."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    soft: tuple[Tensor, ...] = ()


def rows_of(part: pl.DataFrame, ids: list[list[int]], soft: tuple[Tensor, ...] = ()) -> Rows:
    """Pair encoded texts with their label numbers."""
    columns = []
    for head, labels in HEADS.items():
        number = {label: i for i, label in enumerate(labels)}
        columns.append([IGNORE if label is None else number[label] for label in part[head]])
    return Rows(ids, torch.tensor(columns).T.contiguous(), soft)


def padded(rows: Rows, chosen: list[int]) -> Batch:
    """Right-pad the chosen rows to the longest of them."""
    longest = max(len(rows.ids[i]) for i in chosen)
    input_ids = torch.zeros(len(chosen), longest, dtype=torch.long)
    mask = torch.zeros(len(chosen), longest, dtype=torch.long)
    for position, i in enumerate(chosen):
        length = len(rows.ids[i])
        input_ids[position, :length] = torch.tensor(rows.ids[i])
        mask[position, :length] = 1
    return Batch(input_ids, mask, rows.labels[chosen], tuple(head[chosen] for head in rows.soft))


def masked(batch: Batch, share: float, generator: np.random.Generator) -> Batch:
    """Replace a share of the words by [MASK], so that no single word decides a label."""
    drop = torch.from_numpy(generator.random(tuple(batch.input_ids.shape)) < share)
    drop &= batch.input_ids >= FIRST_WORD_ID
    return replace(batch, input_ids=batch.input_ids.masked_fill(drop, MASK_ID))


def batches(rows: Rows, size: int, generator: np.random.Generator, token_dropout: float) -> Iterator[Batch]:
    """One epoch of training batches, each of rows of similar length (padding: 6% of tokens)."""
    lengths = np.array([len(ids) for ids in rows.ids])
    order = np.argsort(lengths + generator.uniform(-4, 4, len(lengths)), kind="stable")
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    for index in generator.permutation(len(groups)):
        yield masked(padded(rows, groups[index].tolist()), token_dropout, generator)


def in_order(rows: Rows, size: int = 64) -> Iterator[Batch]:
    """Batches in row order, truly padded: rows of any length meet in one batch."""
    for start in range(0, len(rows.ids), size):
        yield padded(rows, list(range(start, min(start + size, len(rows.ids)))))
