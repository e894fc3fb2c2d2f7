"""placement: the plan of a model on a target by the target's engine: forecast, the real runtime, or what there is."""

from __future__ import annotations

from onnxfix.diagnose.placement.optimised.boundary import Pending
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import DEFAULT_SIZES, Plan, Sizes
from onnxfix.nouns.runtime.provider import resolved
from onnxfix.nouns.target import Target

from .forecast import forecast
from .measured import session as measured


def placement(model: Model, target: Target, sizes: Sizes = DEFAULT_SIZES, pending: Pending | None = None) -> Plan:
    """The plan. Raises OnnxfixError when the target says `measured` and that fails; `auto` falls back and notes why.

    `pending`: the boundary graph, if it is in the making already.
    """
    if target.provider.asks:
        found: Plan = resolved(target.provider.asks)(model, target, sizes)
        return found
    expected = forecast(model, target, sizes, pending)
    if target.engine == "measured":
        return measured.required(model, target, expected)
    return measured.preferred(model, target, expected) if target.engine == "auto" else expected
