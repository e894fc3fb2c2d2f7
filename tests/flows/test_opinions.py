"""What a bench says of a file for another provider: a defect there, or what is good about it where it is to run."""

from __future__ import annotations

from pathlib import Path

import linear_graphs
import pytest

from onnxfix.flows.bench.opinions import opinion
from onnxfix.flows.repair.repair import repair
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery.recipes import Wish


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dynamic int8, made for the CPU."""
    source = linear_graphs.two_linears().save(tmp_path_factory.mktemp("opinions") / "model.onnx")
    wish = Wish(Target.resolve("cpu"), "fp32", int8="dynamic")
    made = repair(source, wish, source.with_name("int8.onnx"), max_error=1.0).output
    assert made is not None
    return made


def test_what_was_repaired_for_the_cpu_is_judged_for_the_cpu(quantized: Path) -> None:
    said, document = opinion(quantized, "cpu", "cuda")
    assert (said.defect, document["target"]) == ("", "cpu")
    assert said.elsewhere == "2 of 2 linears quantized"


def test_the_same_file_of_nobody_falls_back_on_cuda(quantized: Path) -> None:
    model = Model.open(quantized)
    model.ir.metadata_props.pop("onnxfix.repair")
    said, document = opinion(model.save(quantized.with_name("others.onnx")), "cpu", "cuda")
    assert (said.defect, document["target"]) == ("", "cuda")
    assert said.elsewhere.startswith("falls back to the CPU on CUDA: ") and said.elsewhere.endswith(" Memcpy (Q003)")
    assert opinion(quantized.with_name("others.onnx"), "cuda")[0].defect == said.elsewhere


def test_copies_are_counted_where_there_are_none(tmp_path: Path) -> None:
    said, _ = opinion(linear_graphs.two_linears().save(tmp_path / "model.onnx"), "cpu", "cuda")
    assert (said.defect, said.elsewhere) == ("", "0 Memcpy on CUDA")
    assert opinion(tmp_path / "model.onnx", "cpu")[0].elsewhere == "", "nobody asked"
