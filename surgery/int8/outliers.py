"""How many times smaller each channel of an activation should be, so that int8 loses least: predicted, not tried.

Xiao et al., SmoothQuant (2022): a channel may be divided by any number when the weights that read it are multiplied by
it. Here the numbers are powers of two, which change no bit of a float32 product, and are chosen by the noise that
rounding to 8 bits adds to the product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxfix.nouns.weights.weight_data import Array

from .channel_ranges import Channels

# How much of the difference between channels goes into the weights; the paper takes a half.
SHARES = (0.25, 0.5, 0.75, 1.0)
# Or only channels that reach further than so many medians are made smaller, to that.
REACHES = (1, 2, 4, 8, 16)
LARGEST_EXPONENT = 10
# A candidate that gains less is not taken.
LEAST_GAIN_DB = 1.0
ROUNDS = 8


@dataclass(frozen=True)
class Migration:
    """`factors` [channels]: powers of two that activations are divided by and weights multiplied with; `gain`: by how
    many dB the predicted noise falls."""

    factors: Array
    gain: float

    @property
    def moved(self) -> list[int]:
        """Channels that become smaller against the others, the most first."""
        usual = float(np.median(self.factors))
        order = np.argsort(-self.factors, kind="stable")
        return [int(k) for k in order if self.factors[k] > usual]


def best_migration(channels: Channels, weight: Array, symmetric: bool) -> Migration | None:
    """The factors of least noise; None where nothing gains LEAST_GAIN_DB. `weight`: [channels, all that is read]."""
    magnitude = np.abs(weight).astype(np.float64)
    factors = np.ones(len(magnitude))
    first = least = noise(channels, magnitude, symmetric)
    if first == 0:
        return None
    for _ in range(ROUNDS):
        now, scaled = channels.scaled(1 / factors), magnitude * factors[:, None]
        tried = [(noise(now.scaled(1 / f), scaled * f[:, None], symmetric), f) for f in _candidates(now, scaled)]
        lowest, chosen = min(tried, key=lambda each: each[0], default=(least, factors))
        if gain_db(least, lowest) < LEAST_GAIN_DB:
            break
        least, factors = lowest, factors * chosen
    gain = gain_db(first, least)
    return Migration(factors, gain) if gain >= LEAST_GAIN_DB else None


def noise(channels: Channels, magnitude: Array, symmetric: bool) -> float:
    """Energy that rounding adds to a row of the product: one step for the activation, one a column for the weight.

    A rounding to steps of size d adds d²/12. `magnitude`: absolute weights [channels, columns].
    """
    low, high = min(0.0, float(channels.low.min())), max(0.0, float(channels.high.max()))
    step = (2 * max(-low, high) if symmetric else high - low) / 255
    steps = magnitude.max(axis=0) / 127
    of_activation = step**2 / 12 * float((magnitude**2).sum())
    return of_activation + float(channels.square.sum()) * float((steps**2).sum()) / 12


def gain_db(before: float, after: float) -> float:
    """What a change gains in signal over noise, from the noise's energy before and after; 0 where either has none."""
    return 10 * float(np.log10(before / after)) if before > 0 and after > 0 else 0.0


def _candidates(channels: Channels, magnitude: Array) -> Iterator[Array]:
    reach, weights = channels.reach, magnitude.max(axis=1)
    used = (reach > 0) & (weights > 0)  # a channel that is always 0, or that nobody reads, stays
    if not used.any():
        return
    for share in SHARES:
        wanted = np.ones(len(reach))
        wanted[used] = reach[used] ** share / weights[used] ** (1 - share)
        wanted[used] /= np.median(wanted[used])
        yield _powers_of_two(wanted)
    usual = float(np.median(reach[used]))
    for times in REACHES:
        yield _powers_of_two(np.maximum(1.0, reach / (usual * times)))


def _powers_of_two(factors: Array) -> Array:
    made: Array = np.exp2(np.clip(np.rint(np.log2(factors)), -LARGEST_EXPONENT, LARGEST_EXPONENT))
    return made
