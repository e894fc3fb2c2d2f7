"""Where a forecast and the runtime's own plan differ, line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from onnxfix.nouns.plan import Plan
from oracle.runtime import RuntimePlan


def differences(forecast: Plan, real: RuntimePlan) -> list[str]:
    """Empty when they agree on the providers of all nodes, on every copied value, or on that the model fails."""
    if real.error or forecast.load_error or forecast.failures:
        expected = bool(forecast.load_error or forecast.failures)
        return [] if expected == bool(real.error) else [_failure(forecast, real)]
    return [*_counts(forecast, real), *_nodes(forecast, real), *_copies(forecast, real)]


def _failure(forecast: Plan, real: RuntimePlan) -> str:
    if real.error:
        return f"the runtime refuses the model, the forecast does not: {real.error}"
    return f"the forecast refuses the model, the runtime does not: {forecast.load_error or forecast.failures}"


def _counts(forecast: Plan, real: RuntimePlan) -> Iterator[str]:
    ours, theirs = Counter((n.provider, n.op_type) for n in forecast.nodes), real.op_counts()
    for side, only in (("forecast", ours - theirs), ("runtime", theirs - ours)):
        for (provider, op_type), count in only.items():
            yield f"{count} {op_type} on {provider} in the {side} only"


def _nodes(forecast: Plan, real: RuntimePlan) -> Iterator[str]:
    names, theirs = Counter(n.name for n in forecast.nodes), real.named()
    for node in forecast.nodes:
        if names[node.name] == 1 and theirs.get(node.name, node.provider) != node.provider:
            yield f"{node.name}: forecast {node.provider}, runtime {theirs[node.name]}"


def _copies(forecast: Plan, real: RuntimePlan) -> Iterator[str]:
    ours: Counter[tuple[str, str]] = Counter((c.direction, c.value) for c in forecast.copies)
    theirs = Counter(real.copies)
    for side, only in (("forecast", ours - theirs), ("runtime", theirs - ours)):
        for (direction, value), count in only.items():
            yield f"copy {direction} of {value} in the {side} only ({count})"
