"""What is said of a comparison: of a feed of one row a share of rows says nothing."""

from __future__ import annotations

import pytest

from onnxfix.flows.repair.verification import words
from onnxfix.flows.repair.verification.check import Check
from onnxfix.nouns.comparison import Comparison, OutputDifference


def difference(rows: int, share: float | None, output: str = "y", draws: int = 0) -> OutputDifference:
    figures = (0.01, 0.1, False, 0, 8 * rows)
    return OutputDifference("feed", output, (rows, 8), *figures, argmax_agreement=share, draws=draws)


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([difference(1, 0.0), difference(3, 1.0), difference(2, 0.5)], "; argmax agrees in 4 of 6 rows"),
        ([difference(1, 0.0)], "; argmax agrees in 0 of 1 row"),
        ([difference(1, 1.0), difference(2, 1.0)], "; argmax agrees in all rows"),
        ([difference(3, 1.0), difference(3, 2 / 3, "z")], "; argmax agrees in 2 of 3 rows"),
        ([difference(1, 0.75, draws=4), difference(3, 1.0)], "; argmax agrees in 6 of 7 rows"),
        ([difference(100_000, 0.999999)], "; argmax agrees in 99,999 of 100,000 rows"),
        ([difference(3, None)], ""),
    ],
)
def test_rows_of_all_feeds_together(differences: list[OutputDifference], said: str) -> None:
    found = Comparison("source", "repaired", tuple(differences))
    assert words._meaning([found], Check(False, "int8", 0.05, "fp32")) == f" (limit 0.05{said})"
