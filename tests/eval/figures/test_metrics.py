"""Metrics against scikit-learn and against their definitions."""

import math

import numpy as np
import pytest

from onnxfix.eval.figures.metrics import NO_LABEL, LogitDifference, accuracy, agreement, macro_f1

sklearn_metrics = pytest.importorskip("sklearn.metrics")


@pytest.mark.parametrize("seed", range(40))
def test_macro_f1_and_accuracy_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, classes = int(rng.integers(1, 60)), int(rng.integers(1, 9))
    gold = rng.integers(0, classes, rows)
    # Predictions from a shifted range: some gold classes are never predicted, some predicted ones are never gold.
    predicted = rng.integers(seed % 3, classes + seed % 3, rows)
    expected = sklearn_metrics.f1_score(gold, predicted, average="macro", zero_division=0)
    assert macro_f1(gold, predicted) == pytest.approx(expected, abs=1e-12)
    assert accuracy(gold, predicted) == pytest.approx(sklearn_metrics.accuracy_score(gold, predicted), abs=1e-12)


def test_a_class_that_is_only_predicted_counts_with_zero() -> None:
    gold, predicted = np.array([0, 0, 1]), np.array([0, 2, 1])
    assert macro_f1(gold, predicted) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_rows_without_a_label_count_nowhere() -> None:
    gold, predicted = np.array([0, NO_LABEL, 1]), np.array([0, 1, 1])
    assert macro_f1(gold, predicted) == 1.0
    assert accuracy(gold, predicted) == 1.0


def test_no_labelled_row_is_not_a_number() -> None:
    nothing = np.array([NO_LABEL, NO_LABEL])
    assert math.isnan(macro_f1(nothing, np.array([0, 1])))
    assert math.isnan(accuracy(nothing, np.array([0, 1])))


def test_gold_and_predictions_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="gold"):
        macro_f1(np.array([0, 1]), np.array([0]))


def test_agreement_wants_every_head_equal() -> None:
    one = {"a": np.array([0, 1, 2, 3]), "b": np.array([0, 0, 0, 0])}
    other = {"a": np.array([0, 1, 2, 0]), "b": np.array([0, 1, 0, 0])}
    assert agreement(one, one) == 1.0
    assert agreement(one, other) == 0.5
    assert math.isnan(agreement(one, {"c": np.array([0])}))


def test_logit_difference_of_batches_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    reference = rng.standard_normal((10, 4)).astype(np.float32)
    candidate = reference + 0.01 * rng.standard_normal((10, 4)).astype(np.float32)
    difference = LogitDifference()
    for start in range(0, 10, 3):
        difference.add(reference[start : start + 3], candidate[start : start + 3])
    expected = np.linalg.norm(candidate.astype(float) - reference) / np.linalg.norm(reference.astype(float))
    assert difference.rel_l2 == pytest.approx(expected, rel=1e-9)
    assert difference.max_abs == pytest.approx(np.abs(candidate.astype(float) - reference).max(), rel=1e-9)
    assert difference.nonfinite_rows == 0


def test_new_nan_and_infinity_count_by_row_and_old_ones_do_not() -> None:
    reference = np.array([[1.0, 2.0], [3.0, np.inf], [5.0, 6.0]])
    candidate = np.array([[np.nan, np.inf], [3.0, np.nan], [5.0, 6.0]])
    difference = LogitDifference()
    difference.add(reference, candidate)
    assert difference.nonfinite_rows == 1
    assert difference.rel_l2 == 0.0


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        LogitDifference().add(np.zeros((2, 3)), np.zeros((2, 4)))
