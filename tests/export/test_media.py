"""Checkpoints of images, sound and two towers: exported with the axes they have, and equal to torch at other sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

import onnxfix

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
VISION = {**SIZES, "image_size": 32, "patch_size": 8}
SOUND = {"conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2}


def vit() -> Any:
    return transformers.ViTForImageClassification(transformers.ViTConfig(**VISION, num_labels=3))


def clip() -> Any:
    text = {**SIZES, "vocab_size": 99, "max_position_embeddings": 40, "eos_token_id": 2}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
    return transformers.CLIPModel(config)


def wav2vec2() -> Any:
    more = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 20, "mask_time_prob": 0.0}
    return transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**SIZES, **SOUND, **more))


def spectra() -> Any:
    more = {"max_length": 64, "num_mel_bins": 32, "frequency_stride": 8, "time_stride": 8, "num_labels": 3}
    return transformers.ASTForAudioClassification(transformers.ASTConfig(**SIZES, patch_size=8, **more))


AXES = {
    "vit": (vit, "legacy", {"pixel_values": ["batch", 3, 32, 32]}),
    "clip": (clip, "dynamo", {
        "input_ids": ["text_batch", "sequence"], "attention_mask": ["text_batch", "sequence"],
        "pixel_values": ["image_batch", 3, 32, 32],
    }),
    "wav2vec2": (wav2vec2, "legacy", {"input_values": ["batch", "samples"]}),
    "spectra": (spectra, "dynamo", {"input_values": ["batch", 64, 32]}),
}  # fmt: skip


@pytest.mark.parametrize("name", AXES)
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_that_is_no_text(name: str, tmp_path: Path) -> None:
    make, exporter, axes = AXES[name]
    torch.manual_seed(0)
    make().save_pretrained(tmp_path / "checkpoint")
    done = onnxfix.export(tmp_path / "checkpoint", output=tmp_path / "model.onnx", exporter=exporter)
    assert done.comparison is not None and done.comparison.rel_l2 <= 1e-5
    inputs = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in onnx.load(tmp_path / "model.onnx").graph.input}  # fmt: skip
    assert inputs == axes
    assert len({d.feed for d in done.comparison.differences}) == 2  # of one row and of three
