"""Models in operator sets that exporters wrote for years, 11 to 14, become as fast as those in newer ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import graphs
import numpy as np
import pytest
import torch
from encoder_graphs import masks
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel, PreTrainedModel

import onnxfix
from onnxfix.nouns.model import Model
from onnxfix.surgery.opset import SHAPE_OF_AN_AXIS

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


@pytest.mark.parametrize(("make", "opset"), [(bert, 11), (bert, 14), (modernbert, 13)])
@pytest.mark.filterwarnings("ignore")
def test_an_old_export_is_packed(make: Callable[[], PreTrainedModel], opset: int, tmp_path: Path) -> None:
    path = exported(make, opset, tmp_path / "model.onnx")
    done = onnxfix.optimize(path)
    said = " ".join(done.outcome.notes)
    assert done.output is not None and "2 of 2 attentions in one operator each" in said
    assert f"operator set {opset} → {SHAPE_OF_AN_AXIS}" in said and "products with weights computed of real" in said
    before, after = Model.open(path), Model.open(done.output)
    assert before.opset == opset and after.opset == SHAPE_OF_AN_AXIS
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
