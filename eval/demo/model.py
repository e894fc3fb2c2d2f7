"""The demo model: a transformers backbone with one linear head per label set on the first ([CLS]) token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
HEADS_KEY = "classification_heads"  # data only: head name -> labels, in output order
ARCHITECTURE = "MultiHeadClassifier"
OMITTED = frozenset({"_name_or_path", "id2label", "label2id"})  # defaults that would contradict the heads' labels


class MultiHeadClassifier(nn.Module):
    """Backbone plus classification heads; returns a tuple of logits in head order, as an ONNX export needs."""

    def __init__(self, backbone: nn.Module, heads: Mapping[str, Sequence[str]], config: PretrainedConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config
        self.labels = {name: list(labels) for name, labels in heads.items()}
        self.heads = nn.ModuleDict({name: nn.Linear(config.hidden_size, len(labels)) for name, labels in heads.items()})

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Logits of every head, each (batch, labels)."""
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask)[0]
        first = hidden[:, 0]
        return tuple(head(first) for head in self.heads.values())

    @classmethod
    def from_config(
        cls, config: PretrainedConfig, heads: Mapping[str, Sequence[str]], attn_implementation: str = "sdpa"
    ) -> MultiHeadClassifier:
        """A freshly initialised model for any backbone that AutoModel knows."""
        backbone = AutoModel.from_config(config, attn_implementation=attn_implementation)
        return cls(backbone, heads, config)

    @classmethod
    def load(
        cls, checkpoint: Path, dtype: torch.dtype = torch.float32, attn_implementation: str = "sdpa"
    ) -> MultiHeadClassifier:
        """Read a checkpoint directory (config.json, model.safetensors) and return the model in eval mode."""
        heads: dict[str, list[str]] = json.loads((checkpoint / CONFIG).read_text(encoding="utf-8"))[HEADS_KEY]
        model = cls.from_config(AutoConfig.from_pretrained(checkpoint), heads, attn_implementation)
        model.load_state_dict(load_file(checkpoint / WEIGHTS), strict=True)
        return model.to(dtype).eval()

    def save(self, checkpoint: Path) -> None:
        """Write config.json and model.safetensors (float32)."""
        checkpoint.mkdir(parents=True, exist_ok=True)
        every = self.config.to_dict()
        config = {key: value for key, value in every.items() if value is not None and key not in OMITTED}
        config |= {"architectures": [ARCHITECTURE], HEADS_KEY: self.labels}
        (checkpoint / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        weights = {name: value.detach().float().contiguous() for name, value in self.state_dict().items()}
        save_file(weights, checkpoint / WEIGHTS, metadata={"format": "pt"})
