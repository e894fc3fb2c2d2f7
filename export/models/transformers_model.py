"""Build a transformers model from a local checkpoint by its config's class; fp32, caches off, no remote code."""

from __future__ import annotations

from typing import Any

from onnxfix.nouns.errors import OnnxfixError, arg

from . import left_out
from .checkpoint import Checkpoint
from .media_inputs import kinds, media_example, shapes
from .text_inputs import LENGTH, TEXT_AXES, text_example, text_input_names
from .torch_model import TorchModel, named_tensors

EXPORTABLE_ATTENTION = ("eager", "sdpa")  # flash-attention kernels have no ONNX form
NOT_OUTPUTS = ("loss", "past_key_values", "hidden_states", "attentions")


def from_transformers(checkpoint: Checkpoint, attn: str) -> TorchModel:
    """A model of text, images or sound, its outputs called as transformers does (`logits`, `last_hidden_state`, …)."""
    import torch

    module = load_pretrained(checkpoint, attn)
    if media := kinds(module):
        return _of_media(checkpoint, module, media)
    names = text_input_names(module, segments=(getattr(module.config, "type_vocab_size", 0) or 0) > 1)
    longest = longest_input(module.config)
    example = text_example(names, int(module.config.vocab_size), min(LENGTH, longest or LENGTH))
    with torch.inference_mode():
        returned = module(**example)
    outputs = named_tensors(returned)
    return TorchModel(
        module=module,
        example=example,
        dynamic=dict.fromkeys(names, TEXT_AXES),
        output_names=[name for name in outputs if name not in NOT_OUTPUTS],
        labels=checkpoint.labels,
        longest=longest,
        attn=str(module.config._attn_implementation),
        notes=left_out.notes(returned, left_out.of_cache(module, example, returned)),
    )


def _of_media(checkpoint: Checkpoint, module: Any, media: tuple[str, ...]) -> TorchModel:
    """A model of images, sound or spectra, with a text beside it where it has one."""
    import torch

    example, axes = media_example(module, media)
    with torch.inference_mode():
        outputs = named_tensors(module(**example))
    return TorchModel(
        module=module,
        example=example,
        dynamic=axes,
        output_names=[name for name in outputs if name not in NOT_OUTPUTS],
        labels=checkpoint.labels,
        attn=str(module.config._attn_implementation),
        shapes=tuple(shapes(example)),
    )


def load_pretrained(checkpoint: Checkpoint, attn: str, **options: Any) -> Any:
    """The module in eval mode. Raises OnnxfixError when weights are missing: they would be random."""
    import torch

    model_class = _model_class(checkpoint)
    try:
        module, info = model_class.from_pretrained(
            checkpoint.folder,
            dtype=torch.float32,
            attn_implementation=attn or None,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError) as error:
        message = " ".join(str(error).split())[:300]
        raise OnnxfixError(f"transformers cannot load {checkpoint.folder}: {message}") from error
    missing = sorted(info["missing_keys"])
    if missing and all(name.startswith("pooler.") for name in missing) and not options:
        # Encoders trained without next-sentence prediction are often saved as a bare BertModel without its pooler.
        return load_pretrained(checkpoint, attn, add_pooling_layer=False)
    if missing:
        raise OnnxfixError(
            f"the weights lack {len(missing)} parameters of {model_class.__name__} ({missing[0]}, …)",
            "fine-tune first or correct `architectures` in config.json",
        )
    if hasattr(module.config, "use_cache"):
        module.config.use_cache = False
    if not attn and module.config._attn_implementation not in EXPORTABLE_ATTENTION:
        module.set_attn_implementation("sdpa")
    return module.eval()


def longest_input(config: Any) -> int | None:
    """Positions a model was built for, rounded down to a multiple of 8 (RoBERTa counts two rows it never uses)."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    return positions // 8 * 8 or positions


def _model_class(checkpoint: Checkpoint) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise OnnxfixError("this checkpoint needs transformers", "pip install 'onnxfix[torch]'") from error
    if checkpoint.config.get("is_encoder_decoder"):
        raise OnnxfixError(
            f"{checkpoint.folder} is an encoder-decoder, which needs more than one graph",
            f"give its encoder with {arg('factory', 'module:function')}",
        )
    if not checkpoint.architecture:
        return transformers.AutoModel
    found = getattr(transformers, checkpoint.architecture, None)
    if found is None:
        raise OnnxfixError(
            f"transformers {transformers.__version__} has no class {checkpoint.architecture}",
            f"upgrade transformers or build the model with {arg('factory', 'module:function')}",
        )
    return found
