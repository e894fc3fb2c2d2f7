"""`optimize` for CUDA: no attention falls to the unfused kernel, nothing is copied, and the graph is the source's."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import pytest
from encoder_graphs import GROUPED, HEAD, MLP, RELATIVE, agree, encoder, feeds, seeing
from oracle.runtime import Oracle
from provider_names import CUDA

import onnxfix
from onnxfix.diagnose.run import diagnose
from onnxfix.flows.repair.fastest.kernels import kernels_in_words
from onnxfix.flows.repair.fastest.names import named
from onnxfix.flows.repair.repaired import Repaired
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.attention_kernels import SLOW, AttentionKernels, Kernel
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass, opset
from onnxfix.surgery.editor import Writer
from onnxfix.surgery.passes import left_align_rows
from onnxfix.surgery.passes.convert_to_half import ConvertToHalf
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.recipes import Wish, recipe
from onnxfix.surgery.sites.tokens.packed.packing import Packing
from onnxfix.surgery.written.left_aligned import LeftAligned

SOURCES = {
    "padding": encoder,
    "a band": lambda: seeing("a band"),
    "causal": lambda: seeing("those before"),
    "keys of a group": lambda: encoder("", GROUPED + MLP),
    "relative positions": lambda: encoder("", RELATIVE + MLP),
    "no mask": lambda: encoder("", HEAD.replace("s = Add(s0, mask)", "s = Identity(s0)") + MLP),
}
OLDEST = {"fp16": 75, "bf16": 80}
"""No kernel but the unfused one computes bf16 before."""


def slow(found: tuple[AttentionKernels, ...], precision: str) -> list[str]:
    """Attentions that may be left to a kernel with all scores in memory, whatever their rows are."""
    return [
        f"{each.site.node} on sm {sm}: {choice.words()}"
        for each in found for sm, choice in each.choices.items()
        if sm >= OLDEST[precision] and any(taken.kernel in SLOW for taken in choice.taken)
    ]  # fmt: skip


MADE = [*((name, "fp16") for name in SOURCES), ("a band", "bf16"), ("keys of a group", "bf16")]


@pytest.fixture(scope="module", params=MADE, ids=lambda given: "-".join(given))
def optimized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Repaired, str]:
    name, precision = request.param
    path = SOURCES[name]().save(tmp_path_factory.mktemp("cuda") / "model.onnx")
    return onnxfix.optimize(path, target="cuda", precision=precision, feeds=feeds(3, 13)[-1]), precision


def test_every_attention_gets_a_fast_kernel(optimized: tuple[Repaired, str]) -> None:
    done, precision = optimized
    assert done.after.attentions and not slow(done.after.attentions, precision)
    assert {each.element for each in done.after.attentions} == {precision}
    assert all(each.operator == "Attention" for each in done.after.attentions)


def test_nothing_is_copied(optimized: tuple[Repaired, str], oracle: Oracle) -> None:
    """By the forecast, and by ONNX Runtime's CUDA provider itself."""
    done, _ = optimized
    assert done.output is not None
    plan = oracle.plan(done.output)
    assert plan.error == "" and plan.copies == () and done.after.plan.copies == ()
    placed = [where for where, _, op in plan.nodes if op == "Attention"]
    assert placed == [CUDA] * len(done.after.attentions)


def test_the_same_graph_in_fp32_is_the_source(optimized: tuple[Repaired, str]) -> None:
    done, _ = optimized
    said = done.verified.partition("in fp32 the same graph ")[2]
    assert said == "is identical" or float(said.removeprefix("errs by at most ")) < 1e-5
    assert any(note.startswith(("1 attention in ", "2 attentions in ")) for note in done.outcome.notes)


@pytest.mark.parametrize("kind", ["a band", "those before"])
def test_right_wherever_padding_stands(kind: str) -> None:
    """The graph before it was converted: at the left, between tokens, and in whole rows."""
    before = seeing(kind)
    wish = named("fastest", Wish(Target.resolve("cuda"), "fp16"))
    after, _ = recipe(Wish(wish.target, "fp32", fuse=True, pack=True, bands=True, wherever=True), before).apply(before)
    assert graphs.op_types(after).count("Attention") == 2
    for batch, length in ((1, 1), (3, 9), (5, 33)):
        agree(before, after, batch, length)


def test_a_mask_of_rows_as_they_are_falls_to_the_unfused_kernel(tmp_path: Path) -> None:
    """The sound twin's opposite: one operator alone is not enough."""
    model = encoder()
    model.ir.opset_imports[""] = 24
    for each in (FuseAttention(), ConvertToHalf(Target.resolve("cuda"))):
        graph_pass.run(each, model)
    report = diagnose(Model.open(model.save(tmp_path / "model.onnx")), Target.resolve("cuda"))
    assert slow(report.attentions, "fp16")
    (said,) = kernels_in_words(report)
    assert "memory-efficient if the keys are a multiple of 4, else unfused" in said and "has an attn_mask" in said


def test_what_is_said_of_kernels(optimized: tuple[Repaired, str]) -> None:
    done, precision = optimized
    said = kernels_in_words(done.after)
    assert set(said) <= set(done.outcome.notes) and len(said) <= 2
    flash = any(Kernel.FLASH in [taken.kernel for taken in each.choices[80].taken] for each in done.after.attentions)
    assert flash == any("on sm 80 to 89 flash" in line or "on sm 80 to 120 flash" in line for line in said)
    assert ("on sm 75 unfused" in " ".join(said)) == (precision == "bf16")
    assert not any("needs sm" in line for line in said), "the GPU is said"


def test_a_graph_that_is_not_the_source_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose last token nobody sees, which a wide limit of half precision would let through."""
    real = left_align_rows.write_left_aligned

    def shorter(write: Writer, packing: Packing) -> LeftAligned:
        rows, one = real(write, packing), write.integers("one", [1])
        less = write("Max", [write("Sub", [rows.lengths, one], "one_less"), one], "one_less_or_one")
        return LeftAligned(rows.places, rows.taken, less)

    monkeypatch.setattr(left_align_rows, "write_left_aligned", shorter)
    path = encoder().save(tmp_path / "model.onnx")
    with pytest.raises(OnnxfixError, match="not the source: in fp32 it differs"):
        onnxfix.optimize(path, target="cuda", max_error=10.0)
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_a_model_that_no_converter_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of more than 2 GiB keeps its operator set and com.microsoft's attention, and what runs that is said."""
    monkeypatch.setattr(opset, "LARGEST_BYTES", 1)
    path = encoder().save(tmp_path / "model.onnx")
    done = onnxfix.optimize(path, target="cuda", feeds=feeds(3, 13)[-1], dry_run=True)
    said = " ".join(done.outcome.notes)
    assert "operator set 20 stays" in said and "6 of 6 products with weights" in said
    assert "memory-efficient if the queries are a multiple of 8, else unfused" in said


def test_int8_weights_keep_attention_as_it_is(tmp_path: Path) -> None:
    path = encoder().save(tmp_path / "model.onnx")
    done = onnxfix.optimize(path, target="cuda", int8="weight-only", dry_run=True, max_error=0.5)
    said = " ".join(done.outcome.notes)
    assert "in one operator" not in said and "6 of 6 products" in said
    assert "written out" in said
    assert np.isfinite(max(d.rel_l2 for c in done.comparisons for d in c.differences))
