"""Rotary frequencies that were rounded to half, and the formula with round parameters that they were rounded from.

An angle of fp32 arithmetic over a rounded inverse frequency is wrong by half a unit of rounding times the position:
0.086 in the cosine at position 4,099. A formula that gives every stored number after rounding tells the lost digits.
Formulas: Su et al., RoFormer, 2021; position interpolation, Chen et al., 2023; YaRN, Peng et al., 2023; Llama 3.1's
wavelength bands.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from onnxfix.surgery.sites.constants import Array

# bf16 first: its eight bits fit fp16 as well wherever the exponent does.
HALVES = (np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16))
# Half a unit in the last place, and the smallest normal number.
_PRECISION = {HALVES[0]: (2.0**-8, 2.0**-126), HALVES[1]: (2.0**-11, 2.0**-14)}
# What published models use, commonest first; any other is looked for among three-digit numbers.
THETAS = (1e4, 5e5, 1e6, 1.6e5, 1e5, 1e7, 5e6, 2e4, 4e4, 5e4, 8e4, 2.5e5, 2e5, 3e6, 8e6, 1e8, 1.5e5, 1.3e5)
FACTORS = (2.0, 4.0, 8.0, 16.0, 32.0, 40.0, 64.0, 128.0, 3.0, 5.0, 10.0)
LENGTHS = (8192, 4096, 32768, 2048, 16384, 65536, 131072, 1024, 512)
SUBNORMAL = 2.0**-24  # the spacing of fp16 below 6.1e-5
# Digits that fp32 itself leaves open: an ulp.
_ULP = 2.0**-23


@dataclass(frozen=True)
class Recovered:
    """`frequencies`: fp32, of the shape of the stored array. `formula` in words, empty when none fits. `residual`: the
    largest relative error an entry can still have; `exact` says that only fp32's own rounding is left of it."""

    frequencies: Array
    formula: str
    exact: bool
    residual: float


def rounded_to(array: Array) -> np.dtype[np.generic] | None:
    """The half type that every entry of an fp32 frequency table fits in, None for a table that was not rounded.

    Frequencies fall from the first, at most 1, to the last, which may be 0 in fp16; anything else is no table of them.
    Values of a formula fit a half type by chance where they are powers of two: fewer than four others prove nothing.
    """
    flat, _ = _once(array)
    if not np.isfinite(flat).all() or (flat < 0).any() or (np.diff(flat) > 0).any() or flat[0] > 1 or flat[0] == 0:
        return None
    if len({float(f) for f in flat if np.frexp(f)[0] != 0.5}) < 4:
        return None
    with np.errstate(over="ignore"):
        fitting = (kind for kind in HALVES if np.array_equal(flat.astype(kind).astype(np.float32), flat))
        return next(fitting, None)


def recover(array: Array, kind: np.dtype[np.generic], thetas: Sequence[float] = ()) -> Recovered:
    """The fp32 frequencies behind a table rounded to `kind`, for an array that `rounded_to` takes for one.

    `thetas`: what the checkpoint's config says; where one of them fits, no other is considered.
    """
    flat, spread = _once(array)
    stored = flat.astype(kind)
    for bases in (thetas, dict.fromkeys([*THETAS, *_near(flat, 2 * flat.size)])):
        fitting = [(name, made) for name, made in _formulas(flat, bases) if np.array_equal(made.astype(kind), stored)]
        if not fitting:
            continue
        name, made = fitting[0]
        residual = max(float(np.max(np.abs(other / made - 1))) for _, other in fitting)
        return Recovered(_like(made, spread, array), name, residual <= 2 * _ULP, max(residual, _ULP))
    fitted = _fitted_theta(flat, stored, kind)
    if fitted is not None:
        made, name, residual = fitted
        return Recovered(_like(made, spread, array), name, False, residual)
    unit, smallest = _PRECISION[kind]
    worst = min(1.0, unit * max(1.0, smallest / max(float(flat.min()), 1e-30)))  # subnormal numbers have fewer digits
    return Recovered(array.astype(np.float32), "", False, worst)


def default(theta: float, dim: int) -> Array:
    """theta^(-2i/dim) for i < dim/2, fp32, with fp32's exponent as torch forms it; within an ulp of torch's table."""
    exponents = np.arange(0, dim, 2).astype(np.float32) / np.float32(dim)
    powers: Array = (np.float64(theta) ** exponents.astype(np.float64)).astype(np.float32)
    made: Array = np.float32(1) / powers
    return made


def llama3(plain: Array, factor: float, length: int, low: float = 1.0, high: float = 4.0) -> Array:
    """Long waves are slowed by `factor`, short ones kept, and between them both are blended."""
    waves = 2 * np.float32(math.pi) / plain
    smooth = (np.float32(length) / waves - np.float32(low)) / np.float32(high - low)
    slowed = plain / np.float32(factor)
    blended = (np.float32(1) - smooth) * slowed + smooth * plain
    made = np.where(waves > length / low, slowed, plain)
    return np.where((waves >= length / high) & (waves <= length / low), blended, made).astype(np.float32)


def yarn(theta: float, dim: int, factor: float, length: int, fast: float = 32.0, slow: float = 1.0) -> Array:
    """Dimensions that turn often within the trained length are kept, those that turn seldom are slowed."""
    plain = default(theta, dim)

    def dimension(turns: float) -> float:
        return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first, last = max(math.floor(dimension(fast)), 0), min(math.ceil(dimension(slow)), dim - 1)
    ramp = np.clip((np.arange(dim // 2, dtype=np.float32) - first) / np.float32(max(last - first, 1e-3)), 0, 1)
    kept = np.float32(1) - ramp
    made: Array = (plain / np.float32(factor) * (1 - kept) + plain * kept).astype(np.float32)
    return made


def _formulas(flat: Array, thetas: Iterable[float]) -> Iterator[tuple[str, Array]]:
    """Tables of published formulas that could have given these numbers."""
    dim = 2 * flat.size
    for theta in thetas:
        plain = default(theta, dim)
        yield f"theta {theta:,.0f}", plain
        scale = _round_number(1 / float(flat[0]))
        if scale != 1:
            yield f"theta {theta:,.0f}, linear factor {scale:g}", plain / np.float32(scale)
        if not 0.98 < float(flat[0]) < 1.02:
            continue
        for factor, length in itertools.product(FACTORS, LENGTHS):
            last = float(plain[-1]) / factor
            if abs(float(flat[-1]) - last) < max(0.02 * last, SUBNORMAL):
                yield f"theta {theta:,.0f}, llama3 factor {factor:g} beyond {length:,}", llama3(plain, factor, length)
                yield f"theta {theta:,.0f}, YaRN factor {factor:g} beyond {length:,}", yarn(theta, dim, factor, length)


def _near(flat: Array, dim: int) -> list[float]:
    """Three-digit numbers around the theta that the slope of the first half says."""
    half = max(2, flat.size // 4)  # where the numbers are normal, and scaled by one factor if at all
    slope = float(np.log(flat[0] / flat[half - 1])) / (2 * (half - 1) / dim)
    guess = math.exp(min(slope, 40.0))
    power = 10.0 ** (math.floor(math.log10(guess)) - 2) if guess > 1 else 1.0
    middle = round(guess / power)
    return [n * power for n in range(max(1, middle - 12), middle + 13)]


def _round_number(value: float) -> float:
    return float(f"{value:.2g}")


def _fitted_theta(flat: Array, stored: Array, kind: np.dtype[np.generic]) -> tuple[Array, str, float] | None:
    """A theta that is no round number, as NTK-aware scaling makes it: the middle of those that give every number."""
    dim, half = 2 * flat.size, flat.size // 2
    guess = math.exp(min(float(np.log(flat[0] / flat[half])) / (2 * half / dim), 40.0))
    grid = guess * np.exp(np.linspace(-0.02, 0.02, 8001))
    fitting = [theta for theta in grid if np.array_equal(default(float(theta), dim).astype(kind), stored)]
    if not fitting:
        return None
    low, high = default(float(fitting[0]), dim), default(float(fitting[-1]), dim)
    residual = max(float(np.max(np.abs(low / high - 1))) / 2, 2.5e-6)  # half a step of the grid at least
    middle = float(np.sqrt(fitting[0] * fitting[-1]))
    return default(middle, dim), f"theta about {middle:,.0f}", residual


def _once(array: Array) -> tuple[Array, str]:
    """Each frequency once, and how the array repeats them: not, one half after the other, or each one twice."""
    flat = array.reshape(-1).astype(np.float32)
    half = flat.size // 2
    if flat.size % 2 == 0 and half:
        if np.array_equal(flat[:half], flat[half:]):
            return flat[:half], "halves"
        if np.array_equal(flat[::2], flat[1::2]):
            return flat[::2], "pairs"
    return flat, ""


def _like(made: Array, spread: str, array: Array) -> Array:
    repeated = {"halves": np.tile(made, 2), "pairs": np.repeat(made, 2)}.get(spread, made)
    return repeated.reshape(array.shape).astype(np.float32)
