"""Frequencies rounded to half come back, from their numbers alone, as transformers computes them."""

from __future__ import annotations

import warnings
from typing import Any

import graphs
import ml_dtypes
import numpy as np
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.restore_rotary_frequencies import RestoreRotaryFrequencies
from onnxfix.surgery.sites.attention.frequencies import recover, rounded_to

PASS = RestoreRotaryFrequencies()
HALVES = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
ROPES: dict[str, tuple[str, float, int, dict[str, Any]]] = {
    "RoFormer, Llama 2": ("default", 1e4, 64, {}),
    "ModernBERT global": ("default", 1.6e5, 64, {}),
    "Llama 3": ("default", 5e5, 128, {}),
    "Qwen": ("default", 1e6, 128, {}),
    "a theta nobody uses": ("default", 1.23e5, 64, {}),
    "linear": ("linear", 1e4, 64, {"factor": 4.0}),
    "Llama 3.1": ("llama3", 5e5, 128, {"factor": 8.0, **LLAMA3}),
    "Llama 3.2": ("llama3", 5e5, 64, {"factor": 32.0, **LLAMA3}),
    "YaRN": ("yarn", 1e4, 64, {"factor": 4.0, "original_max_position_embeddings": 4096}),
    "Qwen with YaRN": ("yarn", 1e6, 128, {"factor": 4.0, "original_max_position_embeddings": 32768}),
}
TEXT = """g (int64[s] position) => (float[s,d] c) <int64[1] last = {1}> {
    column = Unsqueeze(position, last)
    p = Cast <to = 1> (column)
    angle = Mul(p, inv_freq)
    c = Cos(angle)
}"""


def table(kind: str, theta: float, dim: int, settings: dict[str, Any]) -> np.ndarray:
    """transformers' own frequencies, fp32."""
    import torch
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    if kind == "default":
        return np.asarray(1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.int64).float() / dim)))
    config = LlamaConfig(hidden_size=dim * 4, num_attention_heads=4, head_dim=dim)
    config.rope_parameters = {"rope_type": kind, "rope_theta": theta, **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(ROPE_INIT_FUNCTIONS[kind](config, "cpu")[0])


def rounded(array: np.ndarray, half: str) -> np.ndarray:
    return array.astype(HALVES[half]).astype(np.float32)


def angles(frequencies: np.ndarray) -> Model:
    return graphs.model(TEXT, {"inv_freq": frequencies})


def BAD() -> Model:
    return angles(rounded(table(*ROPES["RoFormer, Llama 2"]), "fp16"))


def SOUND() -> Model:
    return angles(table(*ROPES["RoFormer, Llama 2"]))


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", ROPES)
def test_published_formulas_are_recognised(name: str, half: str) -> None:
    """Within an ulp of transformers' table, where rounding had taken half of the digits."""
    true = table(*ROPES[name])
    stored = rounded(true, half)
    assert np.abs(stored / true - 1).max() > 1e-4
    assert rounded_to(stored) == HALVES[half]
    found = recover(stored, HALVES[half])
    assert found.exact and found.residual <= 2.5e-7, found.formula
    assert np.abs(found.frequencies / true - 1).max() <= 1.2e-7
    assert np.mean(found.frequencies != true) <= 0.05


@pytest.mark.parametrize("half", HALVES)
def test_cosines_at_length_are_right_again(half: str) -> None:
    true = table(*ROPES["ModernBERT global"])
    feed = {"position": np.arange(8192)}
    expected = graphs.run(angles(true), feed)["c"]
    model = angles(rounded(true, half))
    assert np.abs(graphs.run(model, feed)["c"] - expected).max() > 0.5
    outcome = graph_pass.run(PASS, model)
    assert "theta 160,000" in outcome.notes[0]
    assert np.abs(graphs.run(model, feed)["c"] - expected).max() < 1e-6


@pytest.mark.parametrize("repeat", [lambda a: np.tile(a, 2), lambda a: np.repeat(a, 2), lambda a: a.reshape(1, -1, 1)])
def test_tables_that_repeat_each_number(repeat: Any) -> None:
    true = table(*ROPES["Llama 3"])
    found = recover(repeat(rounded(true, "fp16")), HALVES["fp16"])
    assert found.exact and np.array_equal(found.frequencies, repeat(true))


def test_a_theta_that_is_no_round_number_is_stated_with_what_is_left_open() -> None:
    """NTK-aware scaling multiplies theta by a power of the length."""
    theta = 1e4 * (4 * 8192 / 4096 - 3) ** (64 / 62)
    true = table("default", theta, 64, {})
    found = recover(rounded(true, "fp16"), HALVES["fp16"])
    assert "theta about 52," in found.formula and not found.exact
    assert 0 < np.abs(found.frequencies / true - 1).max() <= found.residual < 2e-4


def test_numbers_of_no_formula_stay_and_are_reported() -> None:
    own = np.sort(np.random.default_rng(0).uniform(1e-3, 1, 32).astype(np.float32))[::-1].copy()
    model = angles(rounded(own, "fp16"))
    outcome = graph_pass.run(PASS, model)
    assert not outcome.changes and "fit no known formula" in outcome.notes[0]


@pytest.mark.parametrize(
    "array",
    [np.arange(32, dtype=np.float32), np.ones(32, np.float32), -np.arange(32, dtype=np.float32), 2.0 ** -np.arange(8)],
    ids=["positions", "ones", "falling", "powers of two"],
)
def test_what_is_no_table_of_rounded_frequencies(array: np.ndarray) -> None:
    assert rounded_to(array.astype(np.float32)) is None


def test_what_the_checkpoint_says_decides() -> None:
    """Eight bits of eight numbers leave many thetas open."""
    true = table("default", 10100.0, 16, {})
    stored = rounded(true, "bf16")
    open_ended = recover(stored, HALVES["bf16"])
    assert not open_ended.exact and np.abs(open_ended.frequencies / true - 1).max() <= open_ended.residual
    assert np.array_equal(recover(stored, HALVES["bf16"], (10100.0,)).frequencies, true)
