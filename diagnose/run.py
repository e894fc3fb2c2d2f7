"""Diagnose: a model and a target in, a report of findings out. Reads only; needs no torch and no GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from onnxfix.diagnose.placement.engines import placement
from onnxfix.diagnose.placement.optimised.boundary import Pending
from onnxfix.nouns.finding import Finding
from onnxfix.nouns.layer_noise import Against
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import DEFAULT_SIZES, Plan, Sizes
from onnxfix.nouns.report import Report
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.unchanged import unchanged

from .coverage import coverage
from .insides import inlined, placed
from .kernels.attentions import attention_kernels
from .registry import all_rules
from .rules.broken_graph import BrokenGraph

CUDA = "cuda"
"""The provider that chooses between kernels of attention."""


def diagnose(
    model: Model,
    target: Target,
    progress: Callable[[str], None] = lambda step: None,
    sizes: Sizes = DEFAULT_SIZES,
    plan: Plan | None = None,
    against: Against | None = None,
) -> Report:
    """Run every rule. The plan is computed once; rules share it and the inferred types.

    `sizes`: the batch and sequence that the bytes of copies, and so severities, are stated for. `plan`: where it is
    known already. `against`: what running a quantized model beside its float original showed.
    """
    if model.faults:
        return _broken(model, target)
    inside = inlined(model)
    with unchanged(inside.graph):
        return _found(model, inside, target, progress, sizes, plan, against)


def _found(
    model: Model,
    inside: Model,
    target: Target,
    progress: Callable[[str], None],
    sizes: Sizes,
    plan: Plan | None,
    against: Against | None,
) -> Report:
    asks = plan is None and target.tabled is not None
    # ONNX Runtime optimises the graph in its own process while its types are inferred here
    with Pending(model) if asks else contextlib.nullcontext() as pending:
        progress("types")
        types = infer(inside.ir)
        rules = all_rules()
        progress("placement")
        known = plan or placement(model, target, sizes, pending)
        attentions = (
            attention_kernels(inside, types, sizes.batch, sizes.sequence) if target.provider.name == CUDA else ()
        )
        subject = Subject(inside, target, known, types, against, attentions)
    findings: list[Finding] = []
    for kind in rules.values():
        progress(kind.name)
        findings.extend(kind().check(subject))
    found = coverage(inside, types, subject.plan, target)
    return Report.of(model, target, subject.plan, found, placed(findings, inside), against, attentions)


def _broken(model: Model, target: Target) -> Report:
    """Of a file that is no model, its faults are all there is to say."""
    plan = Plan("unknown", note="a broken graph cannot be placed")
    subject = Subject(model, target, plan, infer(model.ir))
    findings = list(BrokenGraph().check(subject))
    return Report.of(model, target, plan, coverage(model, subject.types, plan, target), findings)
