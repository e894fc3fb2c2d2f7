"""The bundled ModernBERT by three exporters, written anew for CUDA: fast kernels for all attentions, and no copy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from oracle.runtime import Oracle

import onnxfix
from onnxfix.nouns.runtime.attention_kernels import SLOW, Kernel


@pytest.mark.parametrize(("exporter", "precision"), [("legacy", "fp16"), ("unoptimized", "fp16"), ("dynamo", "bf16")])
def test_flash_for_whole_rows_and_blocks_for_bands(
    exports: dict[str, Path], oracle: Oracle, tmp_path: Path, exporter: str, precision: Literal["fp16", "bf16"]
) -> None:
    mask = np.array([[1] * 40, [1] + [0] * 14 + [1] * 25, [1, 0] * 20])
    feed = {"input_ids": np.random.default_rng(0).integers(0, 300, (3, 40)), "attention_mask": mask}
    output = tmp_path / "model.onnx"
    done = onnxfix.optimize(exports[exporter], target="cuda", precision=precision, output=output, feeds=feed)
    assert done.output is not None
    taken = [{each.kernel for each in attention.choices[80].taken} for attention in done.after.attentions]
    assert taken.count({Kernel.FLASH}) == 2 and taken.count({Kernel.MEMORY_EFFICIENT}) == 2 and len(taken) == 4
    oldest = 75 if precision == "fp16" else 80
    kernels = [(sm, each.kernel) for a in done.after.attentions for sm, c in a.choices.items() for each in c.taken]
    assert not [kernel for sm, kernel in kernels if sm >= oldest and kernel in SLOW]
    plan = oracle.plan(done.output)
    assert plan.error == "" and plan.copies == () and done.after.plan.copies == ()
    assert "16 of 18 products" in " ".join(done.outcome.notes)
    said = done.verified.partition("in fp32 the same graph errs by at most ")[2]
    assert float(said) < 1e-5
