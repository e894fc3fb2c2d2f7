"""Other paddings of a feed, and which rows of pooled outputs say anything of real tokens then."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxfix.eval.inputs.feeds import Feed
from onnxfix.eval.inputs.paddings import hidden, mask_name, of_real_tokens, other_paddings
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


class Decided(Pooled):
    """A class and a flag of the first token, with what they are made of or without it."""

    def __init__(self, scores: bool) -> None:
        super().__init__()
        self.scores = scores

    def run(self, arrays: Any) -> dict[str, Any]:
        made = super().run(arrays)
        kept = ("first", "mean") if self.scores else ("mean",)
        found = {"class": (made["first"][:, 0] // 2).astype(np.int64), "flag": made["first"] > 6, "count": made["mean"]}
        found["count"] = (arrays["attention_mask"] != 0).sum(axis=1)
        return {name: made[name] for name in kept} | found


def test_the_class_of_what_is_of_padding_is_not_compared() -> None:
    """Nor a flag that happens to be the same for other tokens, where numbers beside it are of padding."""
    left = of_real_tokens(other_paddings(FEED)[0], Decided(scores=True).run)
    assert {name: rows.tolist() for name, rows in left.rows.items() if name != "count"} == {
        "first": [True, False], "class": [True, False], "flag": [True, False]
    }  # fmt: skip
    alone = of_real_tokens(other_paddings(FEED)[0], Decided(scores=False).run)
    assert alone.rows["class"].tolist() == [True, False] and not {"count", "mean"} & set(alone.rows)


def test_a_mask_may_be_of_floats_that_are_flags() -> None:
    """One that is added to scores is none: 0 is what is seen there."""
    ids = FEED.arrays["input_ids"]
    flags, added = MASK.astype(np.float32), np.where(MASK, 0.0, -1e4).astype(np.float32)
    assert mask_name(Feed("a", {"input_ids": ids, "attention_mask": flags})) == "attention_mask"
    assert not mask_name(Feed("a", {"input_ids": ids, "attention_mask": added}))
    assert not mask_name(Feed("a", {"input_ids": ids, "attention_mask": np.zeros((2, 4), np.float32)}))
    (left, _) = other_paddings(Feed("a", {"input_ids": ids, "attention_mask": flags}))
    assert left.arrays["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]


def test_of_real_tokens_alone_some_are_hidden() -> None:
    """A feed of a caller's without padding; one that has some is left alone, and so is one behind a cache."""
    ids = np.arange(8).reshape(2, 4)
    found = hidden(Feed("given", {"input_ids": ids, "attention_mask": np.ones_like(ids)}))
    assert found is not None and found.arrays["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    alone = hidden(Feed("given", {"features": np.ones((1, 4, 3)), "attention_mask": np.ones((1, 4), np.int64)}))
    assert alone is not None and alone.arrays["attention_mask"].tolist() == [[1, 1, 0, 0]]
    assert hidden(FEED) is None
    assert hidden(Feed("step", {"input_ids": ids[:, :1], "attention_mask": np.ones_like(ids)})) is None


def test_features_at_padding_are_told_as_ids_are() -> None:
    class First:
        def run(self, arrays: Any) -> dict[str, Any]:
            return {"first": arrays["features"][:, 0], "real": arrays["features"] * arrays["attention_mask"][..., None]}

    arrays = {"features": np.random.default_rng(0).normal(size=(2, 4, 3)), "attention_mask": MASK[:, ::-1]}
    assert of_real_tokens(Feed("left", arrays), First().run).rows["first"].tolist() == [True, False]
