"""What became of the weights: pairs of one kind together, what is left on either side, and what each model stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnxfix.nouns.model import Model
from onnxfix.surgery.sites import equal_weights

from .contents import Contents
from .pairs import Kind, Pair, Pairing
from .stored import Stored


@dataclass(frozen=True)
class Totals:
    """What one model stores. `types`: (tensors, bytes) by element type, all constants counted; `copies`: (matrices,
    bytes) stored again, as they are or transposed; `shared`: weights that several nodes read; `unread`: that none does.
    """

    tensors: int
    bytes: int
    types: dict[str, tuple[int, int]]
    copies: tuple[int, int]
    shared: int
    unread: int

    @staticmethod
    def of(model: Model, every: Sequence[Stored]) -> Totals:
        types = dict.fromkeys(sorted({s.dtype.name for s in every}), (0, 0))
        for each in every:
            count, nbytes = types[each.dtype.name]
            types[each.dtype.name] = (count + 1, nbytes + each.tensor.nbytes)
        twins = equal_weights.find(model)
        weights = [s for s in every if s.is_weight]
        return Totals(
            len(every), sum(s.tensor.nbytes for s in every), types, (len(twins), sum(t.nbytes for t in twins)),
            sum(len({user for v in s.values for user, _ in v.uses()}) > 1 for s in weights),
            sum(not s.is_read for s in every),
        )  # fmt: skip

    def as_dict(self) -> dict[str, object]:
        return {
            "tensors": self.tensors,
            "bytes": self.bytes,
            "types": {name: {"tensors": n, "bytes": size} for name, (n, size) in self.types.items()},
            "stored_again": {"matrices": self.copies[0], "bytes": self.copies[1]},
            "shared": self.shared,
            "unread": self.unread,
        }


@dataclass(frozen=True)
class Listed:
    """A weight of one model alone."""

    name: str
    type: str
    shape: tuple[int, ...]
    bytes: int

    @staticmethod
    def of(each: Stored) -> Listed:
        return Listed(each.name, each.dtype.name, each.shape, each.tensor.nbytes)

    def as_dict(self) -> dict[str, object]:
        return {"name": self.name, "type": self.type, "shape": list(self.shape), "bytes": self.bytes}


@dataclass(frozen=True)
class Group:
    """Pairs of one kind and of the same types. `largest`, `relative`: the greatest error of an element, and in L2, of
    any of them; `unlike`: elements that the type's own rounding does not make."""

    kind: Kind
    turned: bool
    types: tuple[str, str]
    names: tuple[tuple[str, str], ...]
    bytes: tuple[int, int]
    largest: float = 0.0
    relative: float = 0.0
    unlike: int = 0
    bits: int = 0

    def as_dict(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "transposed": self.turned,
            "types": list(self.types),
            "tensors": len(self.names),
            "bytes": list(self.bytes),
            "max_error": self.largest,
            "relative_error": self.relative,
            "not_rounded": self.unlike,
            "bits": self.bits or None,
            "names": [list(names) for names in self.names],
        }


@dataclass(frozen=True)
class Weights:
    """`scales`: tensors beside quantized weights, and their bytes, in both models. `constants`: tensors of less than
    16 elements that only one has, which are compared as what nodes read."""

    before: Totals
    after: Totals
    groups: tuple[Group, ...]
    removed: tuple[Listed, ...]
    added: tuple[Listed, ...]
    scales: tuple[tuple[int, int], tuple[int, int]]
    constants: tuple[int, int]

    def as_dict(self) -> dict[str, object]:
        return {
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "pairs": [group.as_dict() for group in self.groups],
            "removed": [each.as_dict() for each in self.removed],
            "added": [each.as_dict() for each in self.added],
            "scales": [{"tensors": count, "bytes": size} for count, size in self.scales],
            "constants": {"removed": self.constants[0], "added": self.constants[1]},
        }


def changes(
    pairing: Pairing, models: tuple[Model, Model], stored: tuple[list[Stored], list[Stored]], contents: Contents
) -> Weights:
    """All of it, once no more weights are paired."""
    beside = {id(tensor) for pair in pairing.pairs for tensor in pair.beside}
    sides = (pairing.removed, pairing.added)
    scales = tuple(_size(s for s in every if id(s.tensor) in beside) for every in sides)
    left = [tuple(Listed.of(s) for s in every if id(s.tensor) not in beside) for every in sides]
    return Weights(
        Totals.of(models[0], stored[0]), Totals.of(models[1], stored[1]), tuple(_groups(pairing.pairs)),
        left[0], left[1], (scales[0], scales[1]), _constants(stored, contents),
    )  # fmt: skip


def _groups(pairs: Iterable[Pair]) -> list[Group]:
    found: dict[tuple[object, ...], list[Pair]] = {}
    for pair in pairs:
        types = pair.before.dtype.name, pair.after.dtype.name
        found.setdefault((pair.kind, pair.turned, types, pair.bits), []).append(pair)
    return [_group(alike) for alike in found.values()]


def _group(pairs: list[Pair]) -> Group:
    first, errors = pairs[0], [pair.error for pair in pairs if pair.error is not None]
    return Group(
        first.kind, first.turned, (first.before.dtype.name, first.after.dtype.name),
        tuple((p.before.name, p.after.name) for p in pairs),
        (_bytes(p.before for p in pairs), _bytes(p.after for p in pairs)),
        max((e.largest for e in errors), default=0.0), max((e.relative for e in errors), default=0.0),
        sum(e.unlike for e in errors), first.bits,
    )  # fmt: skip


def _bytes(stored: Iterable[Stored]) -> int:
    """Each once: of a weight that was cut there are several pairs."""
    return sum({each: each.tensor.nbytes for each in stored}.values())


def _size(stored: Iterable[Stored]) -> tuple[int, int]:
    sizes = [s.tensor.nbytes for s in stored]
    return len(sizes), sum(sizes)


def _constants(stored: tuple[list[Stored], list[Stored]], contents: Contents) -> tuple[int, int]:
    ours, theirs = (
        Counter((s.dtype, s.shape, contents.of(s.tensor)) for s in every if not s.is_weight) for every in stored
    )
    return (ours - theirs).total(), (theirs - ours).total()
