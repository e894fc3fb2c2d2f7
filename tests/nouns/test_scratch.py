"""A temporary folder goes whole, also where the exception that ends a late job arrives while it is made or removed."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onnxfix.nouns.process.deadline import LateError, limited, whole
from onnxfix.nouns.process.scratch import Scratch


def used(folder: Path) -> None:
    with Scratch(folder) as scratch:
        for number in range(100):
            (scratch / str(number)).touch()


def is_late(folder: Path, limit_s: float) -> bool:
    folder.mkdir()
    try:
        with limited("job", limit_s, 0, lambda step: None):
            used(folder)
            time.sleep(0.2)
    except LateError:
        return True
    return False


def test_no_moment_of_its_life_leaves_it_behind(tmp_path: Path) -> None:
    began = time.monotonic()
    used(tmp_path)
    step_s = (time.monotonic() - began) / 5
    with ThreadPoolExecutor(8) as pool:  # a late job waits a second for its exception
        late = list(pool.map(lambda i: is_late(tmp_path / str(i), i * step_s), range(1, 65)))
    assert sum(late) > 10 and [list(folder.iterdir()) for folder in tmp_path.iterdir()] == [[]] * 64


def test_a_whole_block_ends_first_and_the_job_is_late_after_it() -> None:
    done = []
    with pytest.raises(LateError), limited("job", 0.05, 0, lambda step: None), whole():
        time.sleep(0.2)
        done.append("to its end")
    assert done == ["to its end"]


def test_a_job_in_time_hears_nothing() -> None:
    with limited("job", 30.0, 0, lambda step: None), whole(), whole():
        pass


def test_blocks_inside_blocks_end_with_the_outermost() -> None:
    done = []
    with contextlib.suppress(LateError), limited("job", 0.05, 0, lambda step: None), whole():
        with whole():
            time.sleep(0.2)
        done.append("the outer one")
    assert done == ["the outer one"]
