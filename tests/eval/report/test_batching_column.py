"""A column of the way of batching stands where it tells rows apart, or where another than the usual was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onnxfix.eval.bench.bench import BenchReport, Method
from onnxfix.eval.figures.row import BenchRow
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.report import contents

ROW = BenchRow("model", "onnx", "fp32", size_mb=8, ms_per_sample=1.0, ms_low=0.9, ms_high=1.1, ratio=1.0, ratio_low=1.0,
               ratio_high=1.0, memory_mb=160)  # fmt: skip
METHOD = Method("rows", 16, 5, 8, "cpu", 0, "model", "model", (Point(16),))


@pytest.mark.parametrize(
    ("ways", "shown"),
    [
        (("padded", "padded"), False),
        (("", ""), False),
        (("sorted", "sorted"), True),
        (("padded", "sorted"), True),
    ],
)
def test_rows_that_are_all_padded_need_no_word(ways: tuple[str, ...], shown: bool) -> None:
    rows = tuple(replace(ROW, variant=f"model {i}", batching=way or None) for i, way in enumerate(ways))
    table = contents.variants(BenchReport(rows, METHOD, {}, ()).as_dict())
    assert ("batching" in [column.title for column in table.columns]) is shown


def test_that_one_packs_its_tokens_is_said() -> None:
    rows = (replace(ROW, batching="padded"), replace(ROW, variant="fast", batching="padded", packed=True))
    table = contents.variants(BenchReport(rows, METHOD, {}, ()).as_dict())
    assert "batching" in [column.title for column in table.columns]
