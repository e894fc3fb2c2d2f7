"""Which weight of one model is which of the other, by their numbers; names only decide between equal ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.weights import weight_data

from . import dequantized, rounded
from .contents import Contents
from .parts import stripes
from .stored import Stored

FAR = 0.3
"""Relative error of a weight at which integers no longer stand for it: 4 bits with a scale for each 32 give 0.1."""
Kind = Literal["same", "reshaped", "transposed", "rounded", "widened", "quantized", "cut", "joined", "other values"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two weights. `turned`: transposed besides; `error`, None where the bytes are equal. `bits` and `scales` of the
    integers where one of them is quantized; `beside`: the tensors that hold the scales."""

    before: Stored
    after: Stored
    kind: Kind
    turned: bool = False
    error: rounded.Error | None = None
    bits: int = 0
    scales: int = 0
    beside: tuple[ir.TensorProtocol, ...] = ()


class Pairing:
    """Pairs weights kind by kind; what no kind finds is left on its side."""

    def __init__(self, before: Iterable[Stored], after: Iterable[Stored], contents: Contents) -> None:
        self.contents = contents
        self.pairs: list[Pair] = []
        self.removed = [s for s in before if s.is_weight]
        self.added = [s for s in after if s.is_weight]

    def run(self, before: Model, after: Model) -> None:
        """All kinds that need nothing but the numbers."""
        self._equal(lambda s: (s.dtype, s.shape, self.contents.of(s.tensor)), "same")
        self._equal(lambda s: (s.dtype, self.contents.of(s.tensor)), "reshaped")
        self._transposed()
        self._other_types()
        self._quantized(after, self.removed, self.added, False)
        self._quantized(before, self.added, self.removed, True)
        self._stripes(self.removed, self.added, "cut")
        self._stripes(self.added, self.removed, "joined")
        self._equal(lambda s: (s.dtype, s.shape, s.name), "other values")

    def read_alike(self, alike: Iterable[tuple[Stored, Stored]]) -> None:
        """Weights that paired nodes read at the same place, which hold other numbers in one shape."""
        for one, other in alike:
            floats = rounded.is_float(one.dtype) and rounded.is_float(other.dtype)
            left = one in self.removed and other in self.added
            if floats and left and rounded.turns(one.shape, other.shape):
                turned = one.shape != other.shape
                error = rounded.between(one.tensor, other.tensor, turned)
                self._pair(Pair(one, other, "other values", turned, error))

    def _pair(self, pair: Pair) -> None:
        self.pairs.append(pair)
        self.removed.remove(pair.before)
        self.added.remove(pair.after)

    def _equal(self, key: Callable[[Stored], object], kind: Kind) -> None:
        """Pair what has one key on both sides, what has one name as well first."""
        waiting: dict[object, list[Stored]] = {}
        for each in self.added:
            waiting.setdefault(key(each), []).append(each)
        named = {(key(s), s.name): s for s in self.added}
        for rank in (True, False):
            for one in list(self.removed):
                found = key(one)
                left = waiting.get(found) or []
                other = named.get((found, one.name)) if rank else next(iter(left), None)
                if other is None or other not in left:
                    continue
                left.remove(other)
                error = None
                if kind == "other values" and rounded.is_float(one.dtype):
                    error = rounded.between(one.tensor, other.tensor, False)
                self._pair(Pair(one, other, kind, error=error))

    def _stripes(self, wholes: list[Stored], parts: list[Stored], kind: Kind) -> None:
        """A weight of one model that is several of the other."""
        for whole in list(wholes):
            found = stripes(whole, parts)
            for part, turned in found:
                ends = (whole, part) if kind == "cut" else (part, whole)
                self.pairs.append(Pair(*ends, kind, turned))
                parts.remove(part)
            if found:
                wholes.remove(whole)

    def _transposed(self) -> None:
        for one in list(self.removed):
            if len(one.shape) != 2 or one.dtype == ir.DataType.STRING or one.dtype.itemsize < 1:
                continue
            for other in _by_name(one, self.added):
                if other.dtype == one.dtype and other.shape == one.shape[::-1] and _equal_turned(one, other):
                    self._pair(Pair(one, other, "transposed", turned=True))
                    break

    def _other_types(self) -> None:
        """Floats of another type, found by a sample of them and compared whole."""
        ours = [s for s in self.removed if rounded.is_float(s.dtype)]
        theirs = [s for s in self.added if rounded.is_float(s.dtype)]
        samples: dict[tuple[Stored, bool], object] = {}

        def numbers(each: Stored, turned: bool) -> object:
            if (each, turned) not in samples:
                samples[each, turned] = rounded.sample(each.tensor, turned)
            return samples[each, turned]

        for one in ours:
            for other in _by_name(one, theirs):
                if one.dtype == other.dtype:
                    continue
                steps = max(rounded.step(one.dtype), rounded.step(other.dtype))
                fits = (
                    turned
                    for turned in rounded.turns(one.shape, other.shape)
                    if rounded.close(numbers(one, False), numbers(other, turned), steps)  # type: ignore[arg-type]
                )
                turned = next(fits, None)
                if turned is not None:
                    error = rounded.between(one.tensor, other.tensor, turned)
                    kind: Kind = "rounded" if rounded.step(other.dtype) > rounded.step(one.dtype) else "widened"
                    self._pair(Pair(one, other, kind, turned, error))
                    theirs.remove(other)
                    break

    def _quantized(self, model: Model, floats: list[Stored], integers: list[Stored], back: bool) -> None:
        """`back`: the first model is the quantized one."""
        if not dequantized.has_integers([s.tensor for s in integers]):
            return
        stored = {id(s.tensor): s for s in integers}
        for found in dequantized.find(model):
            one = stored.get(id(found.source))
            best = _float_of(found, _by_name(one, floats)) if one is not None else None
            if one is None or best is None:
                continue
            other, turned, error = best
            ends = (one, other) if back else (other, one)
            self._pair(Pair(*ends, "quantized", turned, error, found.bits, found.scales, found.beside))


def _by_name(one: Stored, others: Sequence[Stored]) -> list[Stored]:
    """Those of one size, first those that are called alike, as most tools name what they make: numbers decide."""
    packed = one.dtype.itemsize < 1 or one.dtype == ir.DataType.UINT8
    fitting = [other for other in others if packed or other.tensor.size == one.tensor.size]
    return sorted(fitting, key=lambda other: not (other.name.startswith(one.name) or one.name.startswith(other.name)))


def _equal_turned(one: Stored, other: Stored) -> bool:
    samples = rounded.sample(one.tensor).tobytes(), rounded.sample(other.tensor, turned=True).tobytes()
    if samples[0] != samples[1]:
        return False
    array, beside = weight_data.array(one.tensor), weight_data.array(other.tensor)
    return weight_data.contiguous(array.T).tobytes() == beside.tobytes()


def _float_of(found: dequantized.Dequantized, floats: Iterable[Stored]) -> tuple[Stored, bool, rounded.Error] | None:
    """The float weight that integers stand for, and how far from it they are."""
    for each in floats:
        if not rounded.is_float(each.dtype) or each.tensor.size != found.values.size:
            continue
        for turned in rounded.turns(each.shape, found.values.shape):
            values = found.values.T if turned else found.values
            places = slice(None, None, max(1, values.size // 4096))
            content = weight_data.array(each.tensor).reshape(-1)
            error = rounded.of_arrays(content[places], values.reshape(-1)[places])
            if error.relative < FAR:
                return each, turned, rounded.of_arrays(content, values.reshape(-1))
    return None
