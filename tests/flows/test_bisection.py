"""The search finds planted culprits, all of them and little else, in few runs, wherever they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxfix.flows.repair.search.bisection import Kept, Search
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.site import layer_of


def layers(nodes: int, per_layer: int) -> list[str]:
    return [f"layers.{i // per_layer}" for i in range(nodes)]


def searched(culprits: set[int], scopes: list[str], limit: float = 0.5) -> tuple[set[int], int]:
    def measure(kept: Kept) -> float:
        return 0.0 if culprits <= kept else math.nan

    found = Search(measure, limit).run(scopes)
    assert found.within and culprits <= set(found.kept)
    return set(found.kept), found.runs


@pytest.mark.parametrize("scoped", [True, False])
@pytest.mark.parametrize("nodes", [30, 100, 1000])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 6])
def test_one_culprit_is_found_exactly_and_in_few_runs(nodes: int, length: int, scoped: bool) -> None:
    """Every position within a layer of 10 nodes, which is where one culprit lies."""
    step = 1 if nodes < 1000 else 7
    for start in range(0, nodes - length, step):
        if start // 10 != (start + length - 1) // 10:
            continue
        kept, runs = searched(set(range(start, start + length)), layers(nodes, 10) if scoped else [""] * nodes)
        assert kept == set(range(start, start + length))
        assert runs <= 2 * math.log2(nodes) + 10


@pytest.mark.parametrize("count", [2, 3, 5])
def test_distant_culprits_are_found_exactly(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        culprits = set(rng.choice(600, count, replace=False).tolist())
        kept, runs = searched(culprits, layers(600, 20))
        assert kept == culprits
        assert runs <= count * (2 * math.log2(600) + 10)


def test_errors_that_add_up() -> None:
    """Three of 300 nodes make nearly all of the error: these are kept, and not much more."""
    rng = np.random.default_rng(0)
    parts = rng.uniform(0, 1e-4, 300)
    parts[[20, 150, 260]] = [2e-3, 3e-3, 4e-3]
    found = Search(lambda kept: float(np.sqrt(sum(p**2 for i, p in enumerate(parts) if i not in kept))), 1.5e-3).run(
        layers(300, 15)
    )
    assert found.within and {20, 150, 260} <= set(found.kept) and len(found.kept) <= 12


def test_a_spread_error_keeps_layers_and_ends() -> None:
    parts = np.full(300, 1e-3)
    found = Search(lambda kept: float(np.sqrt(sum(p**2 for i, p in enumerate(parts) if i not in kept))), 1e-2).run(
        layers(300, 15)
    )
    assert found.within and found.runs <= 201 and len(found.kept) <= 240


def test_nothing_to_keep_and_nothing_that_helps() -> None:
    assert Search(lambda kept: 0.0, 1e-3).run([""] * 10).kept == ()
    with pytest.raises(OnnxfixError, match="every node in fp32"):
        Search(lambda kept: 1.0, 1e-3).run([""] * 10)


def test_an_answer_that_noise_made_wrong_says_so() -> None:
    """All prefixes pass, the single node does not: what is returned was measured, and is said to miss the limit."""
    asked: list[Kept] = []

    def measure(kept: Kept) -> float:
        asked.append(kept)
        return 0.0 if len(kept) > 2 else 1.0

    found = Search(measure, 0.5, most=50).run([""] * 40)
    assert found.within == (found.error <= 0.5) and frozenset(found.kept) in asked


def test_known_answers_are_not_asked_again() -> None:
    culprits = {41, 42, 43}
    calls = 0

    def measure(kept: Kept) -> float:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return 0.0 if culprits <= kept else math.inf

    search = Search(measure, 0.5)
    with pytest.raises(KeyboardInterrupt):
        search.run(layers(100, 10))
    again = Search(measure, 0.5, known=search.known)
    found = again.run(layers(100, 10))
    whole = searched(culprits, layers(100, 10))
    assert set(found.kept) == culprits and calls - 1 == whole[1]


@pytest.mark.parametrize(
    ("scope", "layer"),
    [("model.layers.3.mlp.Wi", "model.layers.3"), ("embeddings.norm", "embeddings.norm"), ("", ""), ("h.0", "h.0")],
)
def test_layers_of_scopes(scope: str, layer: str) -> None:
    assert layer_of(scope) == layer


@pytest.mark.parametrize("guess", [1, 8, 12, 13, 20, 40])
def test_errors_of_many_are_a_prefix_near_a_guess(guess: int) -> None:
    """All 40 err alike, so that 13 of them have to go; a guess that is near takes few runs."""
    found = Search(lambda kept: math.sqrt((40 - len(kept)) / 40), math.sqrt(27.5 / 40)).shortest(40, guess)
    assert found.within and found.kept == tuple(range(13))
    assert found.runs <= (6 if abs(guess - 13) < 2 else 14)


def test_an_error_that_grows_with_more_in_float_is_measured() -> None:
    """Nine of ten are enough, and twelve; ten and eleven are not."""
    errors = dict.fromkeys((*range(9), 10, 11), 1.0)
    for guess in range(1, 20):
        found = Search(lambda kept: errors.get(len(kept), 0.1), 0.5).shortest(20, guess)
        assert found.within and found.error == 0.1 and found.kept == tuple(range(len(found.kept)))


def test_what_no_prefix_brings_within_the_limit_is_refused() -> None:
    with pytest.raises(OnnxfixError, match="with every node in fp32 the error is still"):
        Search(lambda kept: 1.0, 0.5).shortest(20, 3)
    assert Search(lambda kept: 0.1, 0.5).shortest(20, 3).kept == ()
