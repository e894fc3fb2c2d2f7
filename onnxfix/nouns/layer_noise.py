"""What quantization loses layer by layer, measured against the float model, and why: read by rules and reports."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from .site import Site

Kind = Literal["", "activation-outliers", "clipped-range", "one-weight-scale", "few-bits", "not-a-linear", "not-finite"]
NOTHING_DB = -200.0
"""Of a layer that became NaN or infinite."""


@dataclass(frozen=True)
class NoiseCause:
    """Why a layer is noisy: `words` for people, `gain_db` what its repair is predicted to bring. `channels`: of the
    activation, each with how many times further it reaches than the usual one, the furthest first."""

    kind: Kind = ""
    words: str = ""
    gain_db: float = 0.0
    channels: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class LayerNoise:
    """One value that both models have. In dB, of the float value's energy over that of the difference:

    `snr`: with the float model's values as inputs, so that it is this layer's own loss; `accumulated`: in the model as
    it runs; `without_vnni`: as `snr`, with the 16-bit sums of CPUs without VNNI, None where those lose nothing.
    """

    site: Site
    snr: float
    accumulated: float
    without_vnni: float | None = None
    cause: NoiseCause = NoiseCause()

    def as_dict(self) -> dict[str, object]:
        return {
            "site": self.site.as_dict(),
            "snr_db": round(self.snr, 1),
            "accumulated_db": round(self.accumulated, 1),
            "without_vnni_db": None if self.without_vnni is None else round(self.without_vnni, 1),
            "cause": self.cause.kind,
            "why": self.cause.words,
            "channels": [[channel, round(ratio, 1)] for channel, ratio in self.cause.channels],
        }


@dataclass(frozen=True)
class Against:
    """A quantized model held against its float original. `error`: the worst relative L2 error of an output;
    `without_vnni`: the same with 16-bit sums, None where those lose nothing. `layers`: the noisiest first."""

    reference: str
    feeds: int
    error: float
    without_vnni: float | None
    layers: tuple[LayerNoise, ...]

    def as_dict(self) -> dict[str, object]:
        return {
            "reference": self.reference,
            "feeds": self.feeds,
            "rel_l2": self.error,
            "rel_l2_without_vnni": self.without_vnni,
            "layers": [layer.as_dict() for layer in self.layers],
        }


def decibels(relative_error: float) -> float:
    """Signal over noise of a relative L2 error; at most 200, at least -200."""
    if not relative_error < math.inf:
        return NOTHING_DB
    return -20 * math.log10(min(max(relative_error, 1e-10), 1e10))
