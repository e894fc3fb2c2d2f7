"""What a half conversion keeps in fp32 beyond what structure says: found by running, on given or made-up inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.passes.clamp_mask_constants import ClampMaskConstants
from onnxfix.surgery.passes.convert_to_half import BFLOAT16_SINCE, HALVES
from onnxfix.surgery.passes.raise_opset import RaiseOpset
from onnxfix.surgery.recipes import Wish, recipe
from onnxfix.surgery.sites.half import residual
from onnxfix.surgery.sites.half.upstream import carriers, with_arithmetic_before

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed

# A conversion that errs by more is tried again with more in fp32. Nine in ten exports of the zoo are below at once.
AIMS = {"fp16": 5e-3, "bf16": 4e-2}
# What one node may lose of its result: twice the rounding of one operation, 2^-11 and 2^-8.
BUDGETS = {"fp16": 1e-3, "bf16": 8e-3}

# Seconds after which a search for what half precision harms, which nobody asked for, begins no further feed.
HARMED_S = 20.0

Kept = tuple[tuple[str, str], ...]
"""Labels of nodes, each with the reason to keep it in fp32."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Escalation:
    """One way to keep more in fp32: in words, and the nodes."""

    what: str
    nodes: Kept


def harmed(
    model: Model, wish: Wish, feeds: Sequence[Feed], progress: Progress = lambda step: None, limit_s: float = math.inf
) -> tuple[Kept, str]:
    """Nodes that overflow in half on these feeds, or lose more of their result than the budget, with the reason; and
    the worst of them in words.

    What the conversion keeps in fp32 anyway is left out. Raises what a runner raises.
    """
    from onnxfix.eval.numerics.sensitivity import beyond, harms, in_words, names

    progress("find what half precision harms")
    base = prepared(model, wish)
    types = infer(base.ir)
    already = set(dict(kept_by_structure(base, wish)))
    every = harms(base, HALVES[wish.precision], feeds, progress, limit_s)
    found = [harm for harm in every if harm.node not in already]
    reasons = names(found, BUDGETS[wish.precision])
    # of nodes that are kept by structure, too: a Cast behind a norm would make their values infinite
    carried = carriers(base, types, beyond(base, every, feeds)) if wish.precision == "fp16" else []
    reasons |= dict.fromkeys((name for name in carried if name not in reasons), "hands on what overflows in half")
    wider = with_arithmetic_before(base, types, reasons)
    kept = ((name, reasons.get(name, "feeds a node that needs fp32")) for name in wider if name not in already)
    return tuple(kept), in_words(found, BUDGETS[wish.precision])


def escalations(
    model: Model, wish: Wish, feeds: Sequence[Feed], sound: bool, progress: Progress = lambda step: None
) -> Iterator[Escalation]:
    """Ways to keep more, cheapest first: sums of the residual stream, what the feeds harm, both.

    `sound`: the conversion as it is has no NaN and no infinity; if it has, sums alone do not help.
    """
    base = prepared(model, wish)
    sums: Kept = tuple((label(n), "sum of the residual stream") for n in residual.find(base, infer(base.ir)))
    if sound and sums:
        yield Escalation("the sums of the residual stream", sums)
    # what overflows shows on short feeds as well, and the longest takes most of the time
    shortest_first = sorted(feeds, key=lambda feed: sum(array.size for array in feed.arrays.values()))
    hurt, _ = harmed(model, wish, shortest_first, progress, HARMED_S)
    if hurt:
        yield Escalation("what half precision harms", hurt)
    if hurt and sums:
        yield Escalation("both", tuple(dict([*sums, *hurt]).items()))


def prepared(model: Model, wish: Wish) -> Model:
    """The fp32 model as a conversion finds it: the structure repaired, masks within range, under the same names."""
    base, _ = recipe(replace(wish, precision="fp32", half=type(wish.half)()), model).apply(model)
    run(ClampMaskConstants(not wish.half.keeps_masks, wish.precision), base)
    if wish.precision == "bf16":
        run(RaiseOpset(BFLOAT16_SINCE), base)  # else the nodes of the conversion have other names, and no bf16 form
    return base


def kept_by_structure(base: Model, wish: Wish) -> Kept:
    """What the conversion keeps in fp32 without having run anything."""
    from onnxfix.surgery.sites.half import half_plan

    plan = half_plan.plan(base, infer(base.ir), wish.target, HALVES[wish.precision], wish.half)
    return tuple((label(node), reason) for node, reason in plan.keep.items())


def keeping(wish: Wish, nodes: Kept) -> Wish:
    """The wish with more nodes to keep."""
    return replace(wish, half=replace(wish.half, keep_nodes=(*wish.half.keep_nodes, *nodes)))
