"""Why a quantized layer is noisy: its product computed again with one thing repaired at a time."""

from __future__ import annotations

import numpy as np

from onnxfix.nouns.layer_noise import NoiseCause
from onnxfix.nouns.weights.weight_data import Array
from onnxfix.surgery.int8.channel_ranges import Channels
from onnxfix.surgery.int8.outliers import Migration, best_migration, gain_db
from onnxfix.surgery.sites.linear.quantized_weights import QuantizedWeight

# A repair that gains a bit of the activation or more is the cause to name.
TELLING_DB = 6.0
# Channels named as outliers reach so many times further than the usual one.
FAR = 4.0


def noise_cause(activation: Array, weight: Array, quantized: QuantizedWeight) -> NoiseCause:
    """The cause of a linear's noise. `activation`: rows [n, channels] as the float model has them; `weight`: float
    [channels, columns]."""
    product = activation @ weight
    of_weight = _energy(activation @ quantized.values - product)
    rounded, cut = _rounded(activation, quantized)
    of_activation = _energy((rounded - activation) @ weight)
    if of_weight >= of_activation:
        return _weight_cause(activation, weight, quantized, of_weight)
    clipping = _energy((cut - activation) @ weight)
    gain = gain_db(of_activation, max(of_activation - clipping, 1e-12))
    if gain >= TELLING_DB:
        share = float(np.mean(cut != activation))
        words = f"{100 * share:.2g} % of its input lies outside the calibrated range {_range(quantized)}"
        return NoiseCause("clipped-range", words, gain)
    return _outliers(activation, weight, quantized)


def _outliers(activation: Array, weight: Array, quantized: QuantizedWeight) -> NoiseCause:
    square = (activation.astype(np.float64) ** 2).mean(axis=0)
    channels = Channels(activation.min(axis=0), activation.max(axis=0), square)
    migration = best_migration(channels, weight, symmetric=quantized.low is not None and quantized.low < 0)
    if migration is None or migration.gain < TELLING_DB:
        return NoiseCause("few-bits", "its input takes 8 bits over a wide range", 0.0)
    far = _furthest(channels, migration)
    named = ", ".join(f"{channel} (×{ratio:.0f})" for channel, ratio in far[:4])
    more = f" and {len(far) - 4} more" if len(far) > 4 else ""
    words = f"outliers in channels {named}{more} of its input leave the others few of 256 levels"
    return NoiseCause("activation-outliers", words, migration.gain, far)


def _furthest(channels: Channels, migration: Migration) -> tuple[tuple[int, float], ...]:
    """Channels and how many times the median they reach; those that would be migrated, where none reaches far."""
    usual = float(np.median(channels.reach)) or 1.0
    ratios = channels.reach / usual
    far = [int(k) for k in np.argsort(-ratios, kind="stable") if ratios[k] >= FAR] or migration.moved
    return tuple((k, float(ratios[k])) for k in far[:64])


def _weight_cause(activation: Array, weight: Array, quantized: QuantizedWeight, noise: float) -> NoiseCause:
    steps = np.abs(weight).max(axis=0) / 127
    per_channel = np.rint(weight / np.where(steps > 0, steps, 1)) * steps
    gain = gain_db(noise, max(_energy(activation @ per_channel - activation @ weight), 1e-12))
    if quantized.scales == 1 and weight.shape[1] > 1 and gain >= TELLING_DB:
        columns = np.abs(weight).max(axis=0)
        spread = float(columns.max() / (np.median(columns) or 1.0))
        words = f"one scale for all columns of its weight, the largest of which is ×{spread:.0f} the usual one"
        return NoiseCause("one-weight-scale", words, gain)
    return NoiseCause("few-bits", f"its weight has {quantized.bits} bits", gain if quantized.bits < 8 else 0.0)


def _rounded(activation: Array, quantized: QuantizedWeight) -> tuple[Array, Array]:
    """The activation on its 256 levels, and as it is where the range holds it."""
    low = quantized.low if quantized.low is not None else min(0.0, float(activation.min()))
    high = quantized.high if quantized.high is not None else max(0.0, float(activation.max()))
    step = (high - low) / 255 or 1.0
    cut = np.clip(activation, low, high)
    return low + np.rint((cut - low) / step) * step, cut


def _energy(array: Array) -> float:
    return float((array.astype(np.float64) ** 2).sum())


def _range(quantized: QuantizedWeight) -> str:
    return f"{quantized.low:.3g} … {quantized.high:.3g}"
