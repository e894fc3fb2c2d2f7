"""The table of tasks: what its figures count."""

from __future__ import annotations

import numpy as np
import pytest
import tasks

transformers = pytest.importorskip("transformers")


def test_a_dozen_kinds_of_models_that_transformers_has() -> None:
    assert len({task.model for task in tasks.TASKS}) >= 12 and len({task.name for task in tasks.TASKS}) >= 9
    assert all(hasattr(transformers, task.model) and hasattr(transformers, task.config) for task in tasks.TASKS)


def test_errors_are_the_largest_and_choices_are_rows() -> None:
    one = [{"logits": np.array([[1.0, 0.0], [0.0, 1.0]]), "hidden": np.ones(4)}]
    other = [{"logits": np.array([[1.0, 0.0], [2.0, 1.0]]), "hidden": np.ones(4)}]
    assert tasks.held(one, one, False, "") == "0e+00, 2 of 2"
    assert tasks.held(one, other, True, "dynamic") == "1e+00, 1 of 2 (dynamic)"
