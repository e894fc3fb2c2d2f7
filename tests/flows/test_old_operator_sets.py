"""Models in operator sets that exporters wrote for years, 11 to 14, become as fast as those in newer ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
import torch
from encoder_graphs import masks
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel, PreTrainedModel

import onnxfix
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.opset import SHAPE_OF_AN_AXIS, convert_opset, raise_opset
from onnxfix.surgery.passes.fuse_attention import STANDARD

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
NAMES = ["input_ids", "attention_mask"]


class Hidden(torch.nn.Module):
    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden


def bert() -> PreTrainedModel:
    return BertModel(BertConfig(vocab_size=60, max_position_embeddings=128, **SMALL), add_pooling_layer=False)


def modernbert() -> PreTrainedModel:
    special = {f"{name}_token_id": 1 for name in ("pad", "bos", "eos", "cls", "sep")}
    return ModernBertModel(ModernBertConfig(vocab_size=60, local_attention=8, **SMALL, **special))


def exported(make: Callable[[], PreTrainedModel], opset: int, path: Path) -> Path:
    torch.manual_seed(0)
    model = make()
    model.set_attn_implementation("eager")
    ids = torch.randint(5, 60, (2, 9))
    axes = {name: {0: "batch", 1: "sequence"} for name in NAMES}
    arguments = (ids, torch.ones_like(ids))
    torch.onnx.export(
        Hidden(model).eval(), arguments, str(path), opset_version=opset, dynamo=False, input_names=NAMES,
        output_names=["hidden"], dynamic_axes=axes,
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("make", "opset", "raised"),
    [(bert, 11, SHAPE_OF_AN_AXIS), (bert, 14, SHAPE_OF_AN_AXIS), (modernbert, 13, STANDARD)],
)
@pytest.mark.filterwarnings("ignore")
def test_an_old_export_is_packed(make: Callable[[], PreTrainedModel], opset: int, raised: int, tmp_path: Path) -> None:
    path = exported(make, opset, tmp_path / "model.onnx")
    done = onnxfix.optimize(path)
    said = " ".join(done.outcome.notes)
    assert done.output is not None and "2 of 2 attentions in one operator each" in said
    assert f"operator set {opset} → {raised}" in said and "products with weights computed of real" in said
    before, after = Model.open(path), Model.open(done.output)
    assert before.opset == opset and after.opset == raised
    for mask in masks(3, 40).values():
        feed = {"input_ids": np.random.default_rng(1).integers(5, 60, mask.shape), "attention_mask": mask}
        wanted, found = graphs.run(before, feed)["hidden"], graphs.run(after, feed)["hidden"]
        real = mask > 0
        assert graphs.rel_l2(wanted[real], found[real]) < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_what_has_no_attention_keeps_its_operator_set(tmp_path: Path) -> None:
    text = "g (float[batch,8] x) => (float[batch,8] y) { h = MatMul(x, w) y = Relu(h) }"
    weight = {"w": np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)}
    path = graphs.model(text, weight, 11).save(tmp_path / "model.onnx")
    done = onnxfix.optimize(path, dry_run=True)
    assert not any(note.startswith("operator set") for note in done.outcome.notes)


HARDMAX = "h = Hardmax<axis = {axis}>(y0) y = Mul(h, y0)"


@pytest.mark.parametrize(("axis", "raised"), [(-1, True), (2, True), (1, False)])
def test_what_the_converter_would_change_keeps_its_operator_set(axis: int, raised: bool, tmp_path: Path) -> None:
    """A Hardmax of 11 is of its axis and all behind it, one of 13 of that axis; onnx 1.23 leaves it as it is."""
    text = f"g (float[b,3,4] x) => (float[b,3,4] y) {{ y0 = Relu(x) {HARDMAX.format(axis=axis)} }}"
    model = graphs.opened(_in(graphs.proto(text), 11))
    if raised:
        raise_opset(Editor(model, "test"), SHAPE_OF_AN_AXIS, "a test")
        assert model.opset == SHAPE_OF_AN_AXIS
        x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
        before = graphs.opened(_in(graphs.proto(text), 11))
        assert np.array_equal(graphs.run(before, {"x": x})["y"], graphs.run(model, {"x": x})["y"])
    else:
        with pytest.raises(OnnxfixError, match="it leaves Hardmax"):
            raise_opset(Editor(model, "test"), SHAPE_OF_AN_AXIS, "a test")
        assert model.opset == 11


def test_a_softmax_that_an_older_set_has_not_is_not_lowered() -> None:
    model = graphs.model("g (float[b,3,4] x) => (float[b,3,4] y) { y = Softmax<axis = 1>(x) }")
    with pytest.raises(OnnxfixError, match="leaves Softmax"):
        convert_opset(Editor(model, "test"), 12, "a test")
    last = graphs.model("g (float[b,3,4] x) => (float[b,3,4] y) { y = Softmax<axis = 2>(x) }")
    convert_opset(Editor(last, "test"), 12, "a test")
    assert last.opset == 12


def _in(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    proto.opset_import[0].version = opset
    return proto
