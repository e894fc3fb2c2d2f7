"""Other paddings of a feed, and which rows of pooled outputs say anything of real tokens then."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxfix.eval.inputs.feeds import Feed
from onnxfix.eval.inputs.paddings import of_real_tokens, other_paddings
from onnxfix.eval.numerics.compare import compare

MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
FEED = Feed("padded", {"input_ids": np.array([[5, 6, 7, 8], [9, 10, 0, 0]]), "attention_mask": MASK})


class Pooled:
    """What reads the first token, the mean of real ones, and each; `first` and `mean` are added to those two."""

    def __init__(self, first: float = 0.0, mean: float = 0.0) -> None:
        self.name, self.first, self.mean = "pooled", first, mean

    def run(self, arrays: Any) -> dict[str, Any]:
        ids, mask = arrays["input_ids"].astype(np.float32), arrays["attention_mask"]
        mean = (ids * mask).sum(axis=1, keepdims=True) / mask.sum(axis=1, keepdims=True)
        return {"first": ids[:, :1] + self.first, "mean": mean + self.mean, "tokens": ids}


def test_the_first_token_of_a_row_padded_at_the_left_is_of_padding() -> None:
    left, holed = other_paddings(FEED)
    found = of_real_tokens(left, Pooled().run)
    assert list(found.rows) == ["first"] and found.rows["first"].tolist() == [True, False]
    assert not of_real_tokens(holed, Pooled().run).rows, "the first token is there"
    assert not of_real_tokens(Feed("full", {"x": MASK}), Pooled().run).rows, "no mask"


def test_what_is_not_of_padding_is_compared() -> None:
    """An error of the first token shows in rows that have one, and one of the mean in all."""
    left = of_real_tokens(other_paddings(FEED)[0], Pooled().run)
    assert compare(Pooled(), Pooled(), [left]).rel_l2 == 0
    by_output = {d.output: d for d in compare(Pooled(), Pooled(first=1.0, mean=1.0), [left]).differences}
    assert by_output["first"].rel_l2 == 1 / 5 and by_output["mean"].rel_l2 > 0
    assert by_output["first"].shape == (1, 1) and by_output["mean"].shape == (2, 1)


def test_an_output_of_padding_alone_is_not_compared() -> None:
    mask = np.array([[0, 1, 1]])
    feed = Feed("left-padded", {"input_ids": np.array([[4, 5, 6]]), "attention_mask": mask})
    found = of_real_tokens(feed, Pooled().run)
    assert {d.output for d in compare(Pooled(), Pooled(), [found]).differences} == {"mean", "tokens"}
