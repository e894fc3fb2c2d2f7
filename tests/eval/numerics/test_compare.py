"""Comparisons survive anything two models can differ in; runners refuse what cannot run, on one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from onnxfix.eval.inputs.feeds import Feed
from onnxfix.eval.numerics.compare import compare, difference
from onnxfix.eval.run.engines.pytorch import TorchRunner
from onnxfix.eval.run.runners import LoadFailure, OrtRunner, RunFailure

FEEDS = [Feed("a", {}), Feed("b", {})]


@dataclass
class Fixed:
    """A runner that always answers the same."""

    outputs: dict[str, np.ndarray]
    name: str = "fixed"
    output_names: list[str] = field(default_factory=list)

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.outputs

    def close(self) -> None:
        pass


def one(reference: object, candidate: object) -> object:
    return difference("feed", "y", np.asarray(reference), np.asarray(candidate))


@dataclass
class Scripted(Fixed):
    """A runner that answers each feed with its own number."""

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": self.outputs[str(feed["key"])]}


@pytest.mark.parametrize(("mean", "error"), [(False, 0.4), (True, 0.2)])
def test_draws_are_one_difference(mean: bool, error: float) -> None:
    """One of four errs by 0.4 of its size: 0.4 at most, 0.2 in the root mean square; the feed beside them by 0.01."""
    feeds = [Feed("a", {"key": np.array("f")})]
    feeds += [Feed(f"draw {i}", {"key": np.array(str(i))}, drawn=True) for i in range(4)]
    before = {key: np.full((1, 2), 1.0) for key in "f0123"}
    after = {key: array.copy() for key, array in before.items()} | {
        "2": np.full((1, 2), 1.4),
        "f": np.full((1, 2), 1.01),
    }
    found = compare(Scripted(before), Scripted(after), feeds, mean=mean)
    assert [(d.feed, d.draws) for d in found.differences] == [("a", 0), ("draw 2", 4)]
    assert found.differences[1].rel_l2 == pytest.approx(error)
    assert found.differences[1].compared == 8 and not found.identical and found.sound
    assert found.differences[0].rel_l2 == pytest.approx(0.01)


def test_a_drawn_number_near_zero_errs_by_the_size_of_all(tmp_path: Path) -> None:
    """0.001 of an output whose numbers are about 1: no error of its whole size. Lost numbers count all the same."""
    feeds = [Feed(f"draw {i}", {"key": np.array(str(i))}, drawn=True) for i in range(4)]
    before = {key: np.array([value]) for key, value in zip("0123", (1.0, -1.0, 1.0, 0.0), strict=True)}
    after = before | {"3": np.array([0.001])}
    size = 0.25 * (3 / 4) ** 0.5
    assert compare(Scripted(before), Scripted(after), feeds).rel_l2 == pytest.approx(0.001 / size)
    lost = compare(Scripted(before), Scripted(before | {"1": np.array([np.nan])}), feeds)
    assert not lost.sound and lost.worst.feed == "draw 1" and lost.worst.new_nonfinite == 1


def test_every_output_on_every_feed() -> None:
    y = np.arange(6, dtype=np.float32).reshape(2, 3)
    result = compare(Fixed({"y": y, "z": y}), Fixed({"z": y, "y": y * np.float32(1.01)}), FEEDS, how="cpu")
    assert [(d.feed, d.output) for d in result.differences] == [("a", "y"), ("a", "z"), ("b", "y"), ("b", "z")]
    assert result.rel_l2 == pytest.approx(0.01, rel=1e-5)
    assert result.differences[0].max_abs == pytest.approx(0.05, rel=1e-5)
    assert not result.identical
    assert result.differences[1].identical
    assert result.within(0.011)
    assert not result.within(0.009)


def test_nan_and_infinity_in_both_are_equal() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    same = one(values, values.copy())
    assert same.identical
    assert same.new_nonfinite == 0
    assert same.rel_l2 == 0


def test_new_nan_and_infinity_are_counted_and_never_sound() -> None:
    lost = one([1.0, 2.0, np.nan, 4.0], [1.0, np.nan, np.nan, np.inf])
    assert lost.new_nonfinite == 2
    assert not lost.identical
    result = compare(Fixed({"y": np.ones(2)}), Fixed({"y": np.array([1, np.nan])}), FEEDS)
    assert not result.sound
    assert not result.within(1.0)


def test_infinity_of_the_other_sign_is_not_identical() -> None:
    assert not one([np.inf], [-np.inf]).identical


def test_shapes_and_missing_outputs() -> None:
    mismatch = one(np.ones((2, 3)), np.ones((2, 1)))
    assert "(2, 3)" in mismatch.shape_mismatch
    assert "(2, 1)" in mismatch.shape_mismatch
    assert mismatch.rel_l2 != mismatch.rel_l2
    result = compare(Fixed({"y": np.ones(2)}), Fixed({}), FEEDS)
    assert "no such output" in result.differences[0].shape_mismatch
    assert not result.within(1.0)


def test_integers_and_booleans_are_exact() -> None:
    big = 2**60
    assert one([big], [big]).identical
    assert not one([big], [big + 1]).identical
    assert not one([True, False], [True, True]).identical
    assert one([True, False], [True, True]).rel_l2 == 1.0


def test_a_dtype_change_is_measured_but_not_identical() -> None:
    pair = one(np.ones(3, np.float32), np.ones(3, np.float16))
    assert pair.rel_l2 == 0
    assert not pair.identical


@pytest.mark.parametrize("shape", [(), (0,), (2, 0)])
def test_empty_and_scalar_outputs(shape: tuple[int, ...]) -> None:
    assert one(np.zeros(shape, np.float32), np.zeros(shape, np.float32)).identical


def test_an_all_zero_reference_has_a_finite_figure() -> None:
    assert one([0.0, 0.0], [3.0, 4.0]).rel_l2 == 5.0


def scaled(folder: Path, dtype: str = "float", text: str = "y = Add(x, x)") -> Path:
    path = folder / f"{dtype}.onnx"
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> g ({dtype}[N] x) => ({dtype}[N] y) {{ {text} }}'
    )
    onnx.save(proto, path)
    return path


class Double(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x + x,)


def test_onnx_runtime_and_torch_agree(tmp_path: Path) -> None:
    ort = OrtRunner(scaled(tmp_path), level="none", threads=1)
    feed = Feed("x", {"x": np.arange(5, dtype=np.float32)})
    result = compare(TorchRunner(Double(), ["y"]), ort, [feed])
    assert result.identical
    assert result.candidate == "float.onnx"
    ort.close()


def test_bfloat16_passes_through_onnx_runtime(tmp_path: Path) -> None:
    import ml_dtypes

    path = scaled(tmp_path, "bfloat16", "y = Identity(x)")
    x = np.arange(5).astype(ml_dtypes.bfloat16)
    y = OrtRunner(path).run({"x": x})["y"]
    assert y.dtype == x.dtype
    assert np.array_equal(y, x)


def test_bf16_keeps_non_persistent_buffers_in_fp32() -> None:
    module = torch.nn.Linear(4, 4)
    module.register_buffer("inv_freq", torch.ones(2), persistent=False)
    module.register_buffer("mean", torch.ones(2))
    runner = TorchRunner(module, ["y"], dtype="bf16")
    assert module.weight.dtype == torch.bfloat16
    assert module.mean.dtype == torch.bfloat16
    assert module.inv_freq.dtype == torch.float32
    y = runner.run({"input": np.ones((1, 4), np.float32)})["y"]
    assert y.dtype == np.float32


def test_failures_are_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(LoadFailure, match="cannot load") as load:
        OrtRunner(broken)
    runner = OrtRunner(scaled(tmp_path))
    with pytest.raises(RunFailure, match="fails") as run:
        runner.run({"x": np.zeros((2, 2), np.float32)})
    for caught in (load, run):
        assert "\n" not in str(caught.value)
        assert "ONNXRuntimeError" not in str(caught.value)


def test_cuda_is_refused_where_it_would_fall_back(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(LoadFailure):
        OrtRunner(scaled(tmp_path), provider="cuda")


def test_a_mask_of_queries_and_keys_beside_a_cache_is_none_of_rows() -> None:
    """Two queries, two keys, one row: nothing is left out, and nothing is spread over what has other sizes."""
    given = {"attn_mask": np.array([[True, False], [True, True]])}
    given |= {name: np.ones((1, 2, 2, 4), np.float32) for name in ("keys", "values")}
    reference = {"y": np.ones((1, 2, 2, 2)), "z": np.array(1.0)}
    candidate = {"y": 2 * np.ones((1, 2, 2, 2)), "z": np.array(1.0)}
    found = compare(Fixed(reference), Fixed(candidate), [Feed("a", given)], valid_only=True)
    assert [d.rel_l2 for d in found.differences] == [1.0, 0.0]


@pytest.mark.parametrize("hides", [False, -3e38])
def test_a_query_that_sees_no_key_is_padding(hides: float) -> None:
    """Of a layer that was cut out of its model the mask says who sees whom; numbers that are no mask say nothing."""
    shown = np.full((1, 1, 3, 3), True if hides is False else 0.0, np.bool_ if hides is False else np.float32)
    shown[0, 0, 2] = hides
    reference, candidate = np.ones((1, 3, 2)), np.ones((1, 3, 2))
    candidate[0, 2] = 5

    def error(given: np.ndarray) -> float:
        one, other = Fixed({"y": reference}), Fixed({"y": candidate})
        return compare(one, other, [Feed("a", {"who": given})], valid_only=True).rel_l2

    assert error(shown) == 0
    assert error(np.random.default_rng(0).standard_normal((1, 1, 3, 3))) > 1
    assert error(np.ones((1, 1, 3, 3), np.bool_)) > 1


def test_padding_is_left_out_of_the_error_but_not_of_the_nan_count() -> None:
    mask = np.array([[1, 1, 0]])
    reference = np.ones((1, 3, 2), np.float32)
    candidate = reference.copy()
    candidate[0, 2] = 7
    feeds = [Feed("padded", {"attention_mask": mask})]
    everywhere = compare(Fixed({"y": reference}), Fixed({"y": candidate}), feeds)
    valid = compare(Fixed({"y": reference}), Fixed({"y": candidate}), feeds, valid_only=True)
    assert everywhere.rel_l2 > 1 and valid.rel_l2 == 0 and valid.differences[0].compared == 4
    candidate[0, 2, 0] = np.nan
    assert not compare(Fixed({"y": reference}), Fixed({"y": candidate}), feeds, valid_only=True).sound
    pooled = compare(Fixed({"y": reference[:, 0]}), Fixed({"y": candidate[:, 2]}), feeds, valid_only=True)
    assert not pooled.sound, "an output without the mask's axes is compared whole"


@pytest.mark.parametrize(("named", "error"), [(("y",), 0.0), ((), 1.0)])
def test_one_number_a_token_is_compared_at_real_tokens_where_it_is_known_as_that(
    named: tuple[str, ...], error: float
) -> None:
    """A row may be as wide as a batch is long: of such an output everything counts."""
    feed = Feed("a", {"attention_mask": np.array([[1, 1, 0], [1, 0, 0]])})
    wanted, found = np.array([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]]), np.array([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    done = compare(Fixed({"y": wanted}), Fixed({"y": found}), [feed], valid_only=True, of_tokens=named)
    assert done.worst.rel_l2 == error


def test_padding_behind_a_cache_is_that_of_tokens_and_of_positions() -> None:
    """Two tokens behind a cache of three: logits have the tokens alone, a cache has heads before its positions."""
    past = np.zeros((2, 5, 3, 4), np.float32)
    feeds = [
        Feed(
            "later",
            {"attention_mask": np.array([[1, 1, 1, 1, 1], [0, 1, 1, 1, 0]]), "past.key": past, "past.value": past},
        )
    ]
    logits, present = np.ones((2, 2, 7), np.float32), np.ones((2, 5, 5, 4), np.float32)
    padded_logits, padded_present = logits.copy(), present.copy()
    padded_logits[1, 1], padded_present[1, :, 0], padded_present[1, :, 4] = 7, 7, 7
    one, other = Fixed({"y": logits, "present": present}), Fixed({"y": padded_logits, "present": padded_present})
    assert compare(one, other, feeds, valid_only=True).rel_l2 == 0
    assert compare(one, other, feeds).rel_l2 > 1
    padded_present[0, 0, 0], padded_present[1, 0, 1] = 7, 7  # of tokens, though heads are as many as positions
    assert compare(one, other, feeds, valid_only=True).rel_l2 > 0.5


LOWEST = float(np.finfo(np.float32).min)


@pytest.mark.parametrize(
    ("candidate", "error"),
    [
        ([0.0, -16384.0, 1.0], 0.0),
        ([0.0, -np.inf, 1.0], 0.0),
        ([0.0, -16384.0 - 40, 1.25], 0.25),
        ([0.0, -100.0, 1.0], 1.0),
    ],
)
def test_what_hides_in_both_is_no_difference(candidate: list[float], error: float) -> None:
    """The "never" of a mask, which half precision holds as a smaller one; what shows instead is all wrong."""
    mask = np.array([[0.0, LOWEST, 1.0]], np.float32)
    found = difference("feed", "mask", mask, np.array([candidate], np.float32), masks=True)
    assert found.rel_l2 == pytest.approx(error) and found.new_nonfinite == 0
    plain = difference("feed", "mask", mask, np.array([candidate], np.float32))
    assert plain.rel_l2 == pytest.approx(1) or plain.new_nonfinite == 1
