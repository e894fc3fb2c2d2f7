"""The zoo's architectures: small torch modules of transformers' own classes, with weights that matter.

Default initialisation makes attention and rotary angles invisible in the output (cos and sin set to zero change a
ModernBERT by 8e-5), so matrices are drawn again at N(0, 1.6 / sqrt(fan in)) and embeddings at N(0, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

SMALL = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 2304,  # feeds of 2,048 tokens, and the two rows RoBERTa leaves out
}


@dataclass(frozen=True)
class Architecture:
    """`model` is the name of a transformers class; `settings` go to its config. `kind` decides the inputs."""

    name: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    small: bool = True
    kind: str = "text"
    asked_for: bool = True
    """Named in what the zoo must hold; the others are what users bring."""

    def module(self, seed: int = 0) -> torch.nn.Module:
        """The model in eval mode, answering with its last hidden state. Only the size of real ones takes memory."""
        import transformers

        torch.manual_seed(seed)
        kind = getattr(transformers, self.model)
        settings = {**(SMALL if self.small else {}), **self.settings}
        model = kind(kind.config_class(**settings)).eval()
        if self.kind == "audio":
            model = model.get_encoder()
        if self.small:
            redraw(model, seed)
        return Wrapped(model)

    def inputs(self) -> dict[str, torch.Tensor]:
        """Two rows, the second one padded."""
        if self.kind == "image":
            return {"pixel_values": torch.randn(2, 3, 32, 32)}
        if self.kind == "audio":
            return {"input_features": torch.randn(2, 16, 64)}
        mask = torch.ones(2, 16, dtype=torch.int64)
        mask[1, 11:] = 0
        return {"input_ids": torch.randint(3, 120, (2, 16)), "attention_mask": mask}

    def axes(self) -> dict[str, dict[int, str]]:
        """Dynamic axes by input; images and audio keep their size."""
        names = {0: "batch", 1: "sequence"} if self.kind == "text" else {0: "batch"}
        return {name: dict(names) for name in self.inputs()}


class Wrapped(torch.nn.Module):
    """Positional inputs in, the last hidden state out: what both exporters take."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model
        self.first = str(model.main_input_name)

    def forward(self, first: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        given: dict[str, torch.Tensor | None] = {self.first: first}
        if self.first == "input_ids":
            given["attention_mask"] = attention_mask
        found = self.model(**given)
        result: torch.Tensor = found.last_hidden_state
        return result


def redraw(model: torch.nn.Module, seed: int) -> None:
    """Matrices N(0, 1.6 / sqrt(fan in)), embeddings N(0, 1), in place; tables of sines and cosines stay as they are."""
    fixed = {id(p) for m in model.modules() if "Sinusoidal" in type(m).__name__ for p in m.parameters()}
    generator = torch.Generator().manual_seed(seed)
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2 or id(parameter) in fixed:
                continue
            scale = 1.0 if id(parameter) in tables else 1.6 / parameter[0].numel() ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def _heads(count: int) -> dict[str, Any]:
    return {"num_key_value_heads": count, "use_cache": False}


WINDOW = {
    "global_attn_every_n_layers": 2,
    "local_attention": 8,
    "pad_token_id": 0,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
WHISPER = {
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 64,
    "num_mel_bins": 16,
    "max_source_positions": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
BASE = {"hidden_size": 768, "intermediate_size": 1152, "num_hidden_layers": 22, "num_attention_heads": 12}
LARGE = {"hidden_size": 1024, "intermediate_size": 2624, "num_hidden_layers": 28, "num_attention_heads": 16}

ARCHITECTURES = (
    Architecture("modernbert", "ModernBertModel", WINDOW | {"num_hidden_layers": 4}),
    Architecture("bert", "BertModel"),
    Architecture("roformer", "RoFormerModel", {"embedding_size": 64}),
    Architecture("llama", "LlamaModel", _heads(2)),
    Architecture("qwen3", "Qwen3Model", _heads(2) | {"head_dim": 16}),
    Architecture("gpt-neox", "GPTNeoXModel", {"use_cache": False}),
    Architecture("nomic-bert", "NomicBertModel"),
    Architecture("eurobert", "EuroBertModel", {"num_key_value_heads": 2, "pad_token_id": 0}),
    Architecture("modernbert-base", "ModernBertModel", BASE, small=False),
    Architecture("modernbert-large", "ModernBertModel", LARGE, small=False),
    Architecture("distilbert", "DistilBertModel", {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128}),
    Architecture(
        "deberta-v2", "DebertaV2Model",
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    ),
    Architecture(
        "t5-encoder", "T5EncoderModel", {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
    ),
    Architecture("xlm-roberta", "XLMRobertaModel"),
    Architecture("electra", "ElectraModel", {"embedding_size": 64}),
    Architecture("mpnet", "MPNetModel"),
    Architecture("albert", "AlbertModel", {"embedding_size": 32}),
    Architecture("gemma", "GemmaModel", _heads(1) | {"head_dim": 16}),
    Architecture("mistral", "MistralModel", _heads(2) | {"sliding_window": 8}),
    Architecture("phi", "PhiModel", {"use_cache": False, "partial_rotary_factor": 0.5}),
    # published Granite models scale scores by 1 / head size; the config's default, 1, leaves scores of 60 to softmax
    Architecture("granite", "GraniteModel", _heads(2) | {"attention_multiplier": 1 / 16}),
    Architecture("gpt2", "GPT2Model", {"n_embd": 64, "n_layer": 2, "n_head": 4, "use_cache": False}),
    Architecture("esm", "EsmModel", {"position_embedding_type": "rotary", "pad_token_id": 1, "mask_token_id": 2}),
    Architecture("clip-text", "CLIPTextModel", {"eos_token_id": 2}),
    Architecture("whisper-encoder", "WhisperModel", WHISPER, kind="audio"),
    Architecture("vit", "ViTModel", {"image_size": 32, "patch_size": 8}, kind="image"),
    Architecture(
        "convnext", "ConvNextModel", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}, kind="image"
    ),
)  # fmt: skip
BY_NAME: dict[str, Architecture] = {a.name: a for a in ARCHITECTURES}
EXPORTERS = ("dynamo", "unoptimized", "legacy")
Progress = Callable[[str], None]
