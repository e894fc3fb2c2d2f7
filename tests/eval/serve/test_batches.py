"""Batches by a budget of tokens: every row once, the longest first, none larger than the budget."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfix.eval.serve.batches import Budget, cut

LENGTHS = [3, 9, 1, 4, 4, 2, 8, 30]


def lists(budget: Budget, lengths: list[int] = LENGTHS) -> list[list[int]]:
    return [batch.tolist() for batch in cut(lengths, budget)]


def test_rows_times_the_longest_is_within_the_budget() -> None:
    assert lists(Budget(16)) == [[7], [1], [6, 3], [4, 0, 5, 2]]
    assert lists(Budget(16, multiple=8)) == [[7], [1], [6, 3], [4, 0], [5, 2]]


def test_real_tokens_alone_count_where_they_are_packed() -> None:
    assert lists(Budget(17, real=True)) == [[7], [1, 6], [3, 4, 0, 5, 2]]


def test_rows_of_one_length_where_nothing_says_what_is_padding() -> None:
    assert lists(Budget(100, alike=True)) == [[7], [1], [6], [3, 4], [0], [5], [2]]
    assert lists(Budget(4, alike=True), [2, 2, 2]) == [[0, 1], [2]]


def test_numbers_that_a_model_bakes() -> None:
    assert lists(Budget(1, rows=3)) == [[7, 1, 6], [3, 4, 0], [5, 2]]
    assert lists(Budget(64, length=32)) == [[7, 1], [6, 3], [4, 0], [5, 2]]


@pytest.mark.parametrize("real", [False, True])
def test_every_row_is_in_one_batch(real: bool) -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 500)
    found = cut(lengths.tolist(), Budget(1000, real=real))
    assert sorted(np.concatenate(found).tolist()) == list(range(500))
    sizes = [int(lengths[batch].sum()) if real else len(batch) * int(lengths[batch].max()) for batch in found]
    assert max(sizes) <= 1000 and min(sizes[:-1]) > 750, "and they are well filled"
    assert cut([], Budget(1000, real=real)) == []
