"""Entities of tags and F1 over them: counted by hand, after the rules that conlleval and seqeval follow."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfix.eval.figures.entities import are_tags, counted, entities, f1_difference, kinds, micro_f1
from onnxfix.eval.figures.head import Head

NAMES = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-PER I-PER O B-ORG", [("PER", 1, 2), ("ORG", 4, 4)]),
        ("B-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
        ("I-PER I-PER O I-ORG", [("PER", 0, 1), ("ORG", 3, 3)]),  # IOB1
        ("B-PER I-ORG I-ORG", [("PER", 0, 0), ("ORG", 1, 2)]),  # another type begins another
        ("B-PER I-PER E-PER S-PER I-PER", [("PER", 0, 2), ("PER", 3, 3), ("PER", 4, 4)]),  # IOBES
        ("B-PER I-PER L-PER B-PER L-PER U-PER O", [("PER", 0, 2), ("PER", 3, 4), ("PER", 5, 5)]),  # BILOU
        ("B I O B", [("_", 0, 1), ("_", 3, 3)]),  # without types
        ("B-date-of-birth I-date-of-birth", [("date-of-birth", 0, 1)]),
        ("O O", []),
        ("", []),
    ],
)
def test_entities_of_a_row(tags: str, expected: list[tuple[str, int, int]]) -> None:
    assert list(entities(tags.split())) == expected


def numbers(*rows: str) -> list[np.ndarray]:
    return [np.array([NAMES.index(tag) for tag in row.split()], dtype=np.int64) for row in rows]


GOLD = numbers("B-PER I-PER O B-ORG", "O B-ORG I-ORG O", "B-PER O")
SAID = numbers("B-PER I-PER O B-PER", "O B-ORG O O", "B-PER O")


def test_f1_by_hand() -> None:
    """There are 4 entities; of the 4 found, PER 0-1 and PER 0 are right, a type is wrong and a span is cut short."""
    found = counted(GOLD, SAID, NAMES)
    assert found.tolist() == [[1, 2, 2], [0, 1, 1], [1, 1, 1]]
    assert micro_f1(found) == 2 * 2 / (4 + 4)
    assert micro_f1(counted(GOLD, SAID, NAMES, "PER")) == pytest.approx(2 * 2 / (3 + 2))
    assert micro_f1(counted(GOLD, SAID, NAMES, "ORG")) == 0.0
    assert micro_f1(counted(GOLD, GOLD, NAMES)) == 1.0
    assert micro_f1(counted(numbers("O O"), numbers("O O"), NAMES)) == 0.0, "as seqeval says of nothing"
    assert kinds(NAMES) == ["PER", "ORG"]


def test_the_interval_of_a_difference_holds_it() -> None:
    gold, worse = GOLD * 20, counted(GOLD * 20, SAID * 20, NAMES)
    low, high = f1_difference(counted(gold, gold, NAMES), worse)
    assert low < 0.5 - 1.0 < high < 0
    assert f1_difference(worse, worse) == (0.0, 0.0)


def test_a_head_of_tokens_knows_whether_they_are_of_entities() -> None:
    """Tags of spans are counted as entities, other classes of tokens each; -1 has no label in either."""
    gold = np.full((3, 6), -1, dtype=np.int64)
    for row, each in enumerate(GOLD):
        gold[row, 1 : 1 + len(each)] = each
    said = np.concatenate(SAID)
    head = Head(gold, NAMES)
    assert head.has_entities and head.f1(said) == 0.5 and head.accuracy(said) == 8 / 10
    assert head.classes(said) == {"PER": (2, pytest.approx(0.8)), "ORG": (2, 0.0)}
    words = Head(gold, ["DET", "NOUN", "VERB", "ADJ", "ADV"])
    assert not words.has_entities and words.accuracy(said) == 8 / 10
    assert words.classes(said)["DET"] == (4, pytest.approx(2 * 4 / (4 + 5)))
    assert not Head(np.array([0, 1, 1]), NAMES).has_entities, "classes of whole rows"
    assert are_tags(["O", "B", "I"]) and not are_tags(["O"]) and not are_tags(["O", "BOOK"])
