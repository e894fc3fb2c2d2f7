"""The inputs of models of images and sound, alone or beside a text.

Which there are is read from forward's signature, their sizes from the config: pixels as [batch, channels, height,
width], sound as [batch, samples], spectra as [batch, bins, frames] or, where a transformer of spectra reads them, as
[batch, frames, bins].
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .text_inputs import TEXT_AXES, text_example
from .torch_model import Axes

if TYPE_CHECKING:
    import torch

PIXELS, SOUND, SPECTRA = "pixel_values", "input_values", "input_features"
SIDE, CHANNELS = 224, 3
"""Of an image, where the config does not say."""
SAMPLES = (8191, 16000, 11003)
"""Of sound: those of the example, and of what is verified beside it; half a second to one."""
BATCH_AXIS = {0: "batch"}


def kinds(module: Any) -> tuple[str, ...]:
    """Names of the inputs that are no text: empty for a text model."""
    taken = inspect.signature(module.forward).parameters
    main = getattr(module, "main_input_name", "")
    if main in (PIXELS, SOUND, SPECTRA):
        return (main,)
    return (PIXELS,) if PIXELS in taken and getattr(module.config, "vision_config", None) is not None else ()


def media_example(module: Any, names: tuple[str, ...]) -> tuple[dict[str, torch.Tensor], Axes]:
    """Example and dynamic axes, those of a text beside it included. Rows of texts and of images are apart where a model
    has both, as towers have them. Sides of images and frames of spectra are what the config says."""
    import torch

    random = torch.Generator().manual_seed(0)
    example = {name: torch.randn(2, *_sizes(module.config, name), generator=random) for name in names}
    axes: dict[str, Mapping[int, str]] = {name: BATCH_AXIS | _lengths(example[name]) for name in names}
    if getattr(module, "main_input_name", "") != "input_ids":
        return example, axes
    text = module.config.get_text_config()
    taken = [name for name in ("input_ids", "attention_mask") if name in inspect.signature(module.forward).parameters]
    longest = getattr(text, "max_position_embeddings", 17)
    texts = text_example(taken, int(text.vocab_size), min(longest, 13))
    texts = {name: torch.cat([tensor, tensor[:1]]) for name, tensor in texts.items()}  # three texts and two images
    return {**texts, **example}, {
        **{name: {0: "text_batch", 1: TEXT_AXES[1]} for name in texts},
        **{name: {0: "image_batch"} for name in names},
    }


def shapes(example: Mapping[str, torch.Tensor]) -> list[dict[str, tuple[int, ...]]]:
    """Of inputs to verify on besides: another batch, and for sound other lengths, for which made-up ones are short."""
    sounds = [name for name, tensor in example.items() if name == SOUND and tensor.ndim == 2]
    if not sounds:  # of texts one more than of images, and shorter ones
        return [{name: _another(tensor, rows) for name, tensor in example.items()} for rows in (1, 3)]
    return [dict.fromkeys(sounds, (rows, length)) for rows, length in zip((1, 3), SAMPLES[1:], strict=True)]


def _another(tensor: torch.Tensor, rows: int) -> tuple[int, ...]:
    return (rows, *tensor.shape[1:]) if tensor.is_floating_point() else (rows + 1, tensor.shape[1] - rows)


def _sizes(config: Any, name: str) -> tuple[int, ...]:
    if name == PIXELS:
        vision = getattr(config, "vision_config", config)
        side = getattr(vision, "image_size", None) or SIDE
        height, width = side if isinstance(side, (list, tuple)) else (side, side)
        return int(getattr(vision, "num_channels", None) or CHANNELS), int(height), int(width)
    bins = getattr(config, "num_mel_bins", None)
    if name == SPECTRA:
        return int(bins or 80), 2 * int(getattr(config, "max_source_positions", 1500))
    return (int(config.max_length), int(bins)) if bins else (SAMPLES[0],)


def _lengths(tensor: torch.Tensor) -> dict[int, str]:
    return {1: "samples"} if tensor.ndim == 2 else {}
