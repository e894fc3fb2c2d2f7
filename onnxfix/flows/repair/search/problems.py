"""What a search decides on: nodes that half precision may keep in fp32, or linears that int8 may leave in float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from onnxfix.flows.repair.attempts.escalation import Kept, keeping, prepared
from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.site import label, layer_of, scope_of
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.int8.quantizer import Selection
from onnxfix.surgery.passes.convert_to_half import HALVES, ConvertToHalf, NothingHalfError
from onnxfix.surgery.passes.drop_idle_casts import DropIdleCasts
from onnxfix.surgery.recipes import Wish, recipe
from onnxfix.surgery.sites.half import half_plan
from onnxfix.surgery.sites.half.half_types import touches_float
from onnxfix.surgery.sites.linear import linears

from . import effects

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfix.flows.repair.verification.verification import Verification
    from onnxfix.nouns.model import Model

REASON = "found by search"


class Problem(Protocol):
    """`nodes`: what may be kept, each with a label, in the order in which to try; `groups`: which stand together, empty
    where each is kept before all that follow."""

    @property
    def nodes(self) -> Sequence[ir.Node]: ...
    @property
    def groups(self) -> Sequence[str]: ...

    def guess(self, limit: float) -> int:
        """How many of the first may be enough; nothing depends on it but the time."""
        ...

    def measured(self, kept: frozenset[int]) -> Comparison:
        """The model converted with these nodes kept, against its source."""
        ...


class HalfProblem:
    """Nodes that the conversion would make half, in topological order, layer by layer."""

    def __init__(self, model: Model, wish: Wish, held: Verification) -> None:
        self.wish, self.held, self.base = wish, held, prepared(model, wish)
        types = infer(self.base.ir)
        plan = half_plan.plan(self.base, types, wish.target, HALVES[wish.precision], wish.half)
        self.nodes = [n for n in self.base.nodes() if label(n) and touches_float(n, types) and n not in plan.keep]
        self.groups = [layer_of(scope_of(node)) for node in self.nodes]

    def guess(self, limit: float) -> int:
        return 1

    def measured(self, kept: frozenset[int]) -> Comparison:
        made = self.base.clone()
        try:
            run(ConvertToHalf(self.wish.target, self.wish.precision, _keeping(self, kept).half), made)
            run(DropIdleCasts(), made)
        except NothingHalfError:
            made = self.base  # the set of all nodes, which a search asks for to know whether any helps
        return self.held.emulated(made, staged=False)


class Int8Problem:
    """Linears that would be quantized, each by itself, the one with most effect first: what they lose adds up, so that
    a few of the worst are most of it."""

    groups: Sequence[str] = ()

    def __init__(self, model: Model, wish: Wish, held: Verification) -> None:
        self.wish, self.held, self.model = wish, held, model
        found = [linear.node for linear in Selection(heads=wish.heads).of(linears.find(model), model)]
        levels = 2 ** (wish.bits - 1 - wish.reduce_range) - 1
        self.effects = effects.ranked(model, found, (*held.feeds, *held.draws), wish.int8, levels)
        self.nodes = list(self.effects)

    def guess(self, limit: float) -> int:
        return effects.left(list(self.effects.values()), limit)

    def measured(self, kept: frozenset[int]) -> Comparison:
        made, _ = recipe(_keeping(self, kept), self.model).apply(self.model)
        return self.held.plain(made)


def problem(model: Model, wish: Wish, held: Verification) -> Problem:
    return Int8Problem(model, wish, held) if wish.int8 else HalfProblem(model, wish, held)


def _keeping(asked: HalfProblem | Int8Problem, kept: frozenset[int]) -> Wish:
    nodes: Kept = tuple((label(asked.nodes[i]), REASON) for i in sorted(kept))
    return keeping(asked.wish, nodes)
