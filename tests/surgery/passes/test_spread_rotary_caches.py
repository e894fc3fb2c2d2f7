"""Caches of one row are repeated once for all rotations that read them."""

from __future__ import annotations

import graphs
import numpy as np
from contract import rule_case

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.spread_rotary_caches import SpreadRotaryCaches

PASS = SpreadRotaryCaches()


def BAD() -> Model:
    made: Model = rule_case("K010").BAD()
    return made


def SOUND() -> Model:
    made: Model = rule_case("K010").SOUND()
    return made


def MEANT() -> Model:
    """What the bad one is on a batch of several, where it does not run."""
    made: Model = rule_case("K010").of_all_rows()
    return made


def test_each_cache_is_repeated_once() -> None:
    after = BAD()
    assert PASS.measure(after) == 2
    graph_pass.run(PASS, after)
    assert PASS.measure(after) == 0 and graphs.op_types(after).count("Expand") == 2
    x = np.random.default_rng(0).normal(size=(2, 2, 4, 8)).astype(np.float32)
    assert graphs.run(after, {"x": x, "ids": np.zeros((2, 4), np.int64)})["y"].shape == x.shape
