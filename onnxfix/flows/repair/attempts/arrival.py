"""Models that arrive in half precision, and wrong: when to make them fp32 first, and what they are compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model, tensors
from onnxfix.nouns.runtime.newest import too_new
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import named_twice, opset
from onnxfix.nouns.types.type_strings import elem_string
from onnxfix.surgery.graph_pass import Outcome, Pass
from onnxfix.surgery.passes.convert_to_half import HALVES
from onnxfix.surgery.passes.drop_idle_casts import DropIdleCasts
from onnxfix.surgery.passes.inline_functions import InlineFunctions
from onnxfix.surgery.passes.lower_versions import LowerVersions, differing
from onnxfix.surgery.passes.name_nodes_apart import NameNodesApart
from onnxfix.surgery.passes.restore_rotary_frequencies import RestoreRotaryFrequencies
from onnxfix.surgery.passes.spread_rotary_caches import SpreadRotaryCaches
from onnxfix.surgery.passes.widen_to_fp32 import WidenToFp32
from onnxfix.surgery.recipe import Recipe
from onnxfix.surgery.recipes import Wish
from onnxfix.surgery.sites.attention import rotary
from onnxfix.surgery.sites.attention.operators.rotary_caches import of_one_row
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.half import large_sums, leaks, norms

_THETA_KEYS = frozenset({"rope_theta", "global_rope_theta", "local_rope_theta", "rotary_emb_base", "rope_base"})


def halves_of(model: Model, types: ElementTypes) -> set[str]:
    """The half types that a model's values and weights have: `tensor(float16)`, `tensor(bfloat16)`."""
    found = {kind for kind in types.of.values() if kind in HALVES.values()}
    return found | {elem_string(t.dtype) for t in tensors(model.ir) if elem_string(t.dtype) in HALVES.values()}


def reason_to_widen(model: Model, wish: Wish, found: set[str], types: ElementTypes, runs: bool = False) -> str:
    """Why a model with values of the half types `found` should become fp32 before it is converted, in words; empty when
    it is fp32, or half and right. `runs`: the fp32 model will be run to find what half precision harms."""
    if not found:
        return ""
    if wish.precision not in HALVES:
        return " and ".join(sorted(kind[7:-1] for kind in found))
    if types.conflicts:
        return f"{len(types.conflicts)} type conflicts"
    if wish.half.keep_rotary_fp32 and any(_is_half(site, types.of) for site in rotary.find(model, types)):
        return "rotary angles in half precision"
    if leaks.find(model, types):
        return "fp32 that leaked from rotary angles"
    if any(site.halves(types) for site in norms.find(model)):
        return "the squares of norms in half precision"
    if any(large_sums.in_half(model, types)):
        return "sums of many values in half precision"
    if found - {HALVES[wish.precision]}:
        return "another half precision than was asked for"
    if lacking := _lacking(model, wish, types):
        return f"{lacking} in half precision, which has no such kernel on {wish.target.provider}"
    kept = wish.blocked or wish.half.keep_like  # what is in half already cannot be kept in fp32
    # and what is written anew is compared in fp32 before it is converted
    return "half precision" if runs or kept or wish.fuse or wish.pack else ""


def _lacking(model: Model, wish: Wish, types: ElementTypes) -> str:
    """The first operator with half values that the target has no kernel for, though it has one for fp32. The CPU
    provider computes in fp32 where it has none."""
    if wish.target.provider.is_host:
        return ""
    for node in model.nodes():
        inputs, outputs = ([types.get(v) for v in values] for values in (node.inputs, node.outputs))
        if not any(kind in HALVES.values() for kind in (*inputs, *outputs)):
            continue
        version = opset(model.ir.opset_imports, node.domain)
        wide = [["tensor(float)" if k in HALVES.values() else k for k in kinds] for kinds in (inputs, outputs)]
        if wish.target.supports(node.op_type, node.domain, version, inputs, outputs) == "no" and (
            wish.target.supports(node.op_type, node.domain, version, *wide) == "yes"
        ):
            return node.op_type
    return ""


def exact_widening() -> Recipe:
    """The passes that make of a model what it means: its own numbers, computed with in fp32."""
    return Recipe((InlineFunctions(), WidenToFp32()))


def loadable(model: Model) -> tuple[Recipe, Model, Outcome] | None:
    """A model that the runtime refuses for what says nothing of its function, without that: versions that it does not
    know in ones that it does, names that two nodes have; or that it runs on a batch of one alone, as it does rotations
    by caches of one row. None for all others. Raises OnnxfixError where that cannot be done, or not be shown to say the
    same."""
    found = list(too_new(model.ir))
    lowers = bool(found) and all(each.is_defined for each in found)  # else ONNX Runtime says it
    twice = next(named_twice(model.ir.graph), None) is not None
    short = bool(of_one_row(model))
    if not lowers and not twice and not short:
        return None
    ours: list[Pass] = [*([NameNodesApart()] if twice else []), *([SpreadRotaryCaches()] if short else [])]
    steps = Recipe((*ours, *([LowerVersions()] if lowers else [])))
    made, outcome = steps.apply(model)
    if not lowers:
        return steps, made, outcome
    if any(each.domain is not None and differing(model, each) for each in found):
        _require_same(model, made)
    return steps, made, outcome


def _require_same(model: Model, made: Model) -> None:
    """By onnx's own evaluator, as no runtime knows the original. Raises OnnxfixError."""
    from onnxfix.eval.inputs.feeds import make_feeds
    from onnxfix.eval.numerics.reference import same_by_definition

    why = same_by_definition(model, made, make_feeds(model, longest=16))
    if why:
        raise OnnxfixError(
            f"{model.path} states versions newer than this ONNX Runtime, and in older ones it is not the same: {why}",
            "install a newer ONNX Runtime, or export it with an older operator set",
        )


def widening(checkpoint: Path | None = None) -> Recipe:
    """The passes that make a model fp32 again, rounded rotary frequencies restored. `checkpoint`: the folder whose
    config names the rotary thetas."""
    thetas = tuple(dict.fromkeys(_thetas(checkpoint))) if checkpoint is not None else ()
    return Recipe((*exact_widening().passes, RestoreRotaryFrequencies(thetas), DropIdleCasts()))


def _is_half(site: rotary.RotarySite, types: dict[Any, str]) -> bool:
    computed = (types.get(v) for node in site.angle_nodes for v in node.outputs)
    stored = (types.get(v) for v in site.constants if (t := constant_tensor(v)) is not None and t.size > 1)
    return any(kind in HALVES.values() for kind in (*computed, *stored))


def _thetas(checkpoint: Path) -> Iterator[float]:
    """Every rotary base that a transformers config.json names, nested ones included."""
    file = checkpoint / "config.json"
    try:
        pending: list[Any] = [json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError) as error:
        raise OnnxfixError(
            f"{file} cannot be read", f"name the folder of one with {arg('checkpoint', 'DIR')}"
        ) from error
    while pending:
        entry = pending.pop()
        if isinstance(entry, dict):
            yield from (float(v) for k, v in entry.items() if k in _THETA_KEYS and isinstance(v, (int, float)))
            pending.extend(entry.values())
