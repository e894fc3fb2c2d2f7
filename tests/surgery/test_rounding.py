"""Rounding to half precision: NumPy's and ml_dtypes' own results are the reference."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from onnxfix.surgery.half.rounding import to_fp16, to_half


def every_decision() -> np.ndarray:
    """Each float16, what lies in the middle between it and the next, and the float32 on both sides of that."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = halves[np.isfinite(halves)]
    positive = np.sort(finite[finite >= 0])
    middle = np.append((positive[1:] + positive[:-1]) / 2, np.float32(65520))
    around = [middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))]
    return np.concatenate([halves, *around, *(-part for part in around), [np.float32(1e38), np.float32(1e-45)]])


def test_fp16_is_numpys_bit_for_bit() -> None:
    given = every_decision()
    with np.errstate(over="ignore"):
        wanted = given.astype(np.float16)
    found = to_fp16(given)
    numbers = ~np.isnan(given)
    assert numbers.sum() > 180_000
    assert np.array_equal(found.view(np.uint16)[numbers], wanted.view(np.uint16)[numbers])
    assert np.isnan(found[~numbers]).all()


@pytest.mark.parametrize("size", [1, 70_000])
@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_shape_is_kept_and_rounding_is_to_nearest_even(kind: type, size: int) -> None:
    array = np.random.default_rng(0).standard_normal((size, 3)).astype(np.float32) * 1e3
    found = to_half(array[:, ::-1], ir.DataType.from_numpy(np.dtype(kind)))
    assert np.array_equal(found, array[:, ::-1].astype(kind))


def test_what_is_finite_stays_finite_in_fp16() -> None:
    array = np.full(70_000, 7e4, np.float32)
    array[:3] = np.inf, -np.inf, -1e38
    found = to_half(array, ir.DataType.FLOAT16)
    assert found[:4].tolist() == [np.inf, -np.inf, -65504, 65504]
    assert to_half(np.array(7e4, np.float32), ir.DataType.FLOAT16) == 65504
