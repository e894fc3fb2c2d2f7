"""The sentences that every format opens with: nodes per provider, copies, CUDA graphs, linears."""

from __future__ import annotations

from collections.abc import Sequence

from onnxfix.nouns.layer_noise import Against
from onnxfix.nouns.plan import Copy, Plan
from onnxfix.nouns.report import Report
from onnxfix.nouns.runtime.provider import named, placed_on
from onnxfix.render.words import duration, plural, quantity, visible

from .places import of_obstacles


def file(report: Report) -> str:
    """`810 nodes, opset 18, 7.81 MB of weights`"""
    model = report.model
    size = quantity(number(model["weights_bytes"]))
    return f"{plural(number(model['nodes']), 'node')}, opset {model['opset']}, {size} of weights"


def engine(report: Report) -> str:
    """`forecast for ONNX Runtime 1.31.1`, and who chose the target where nobody named one."""
    provider = named(str(report.target["provider"]))
    chosen = ", as the file was made for it" if report.target.get("from") else ""
    if report.plan.engine == "measured" and provider.asks:
        return f"measured with {provider.label}{chosen}"
    words = {"measured": "measured with", "unknown": "unknown to"}.get(report.plan.engine, "forecast for")
    return f"{words} ONNX Runtime {report.target['onnxruntime']}{chosen}"


def nodes(report: Report) -> str:
    """`319 nodes after ONNX Runtime's basic optimisations: 287 on CUDA, 32 on CPU`."""
    plan = report.plan
    if not plan.nodes:
        return "unknown" if number(report.model["nodes"]) else "no nodes"
    return " ".join(part for part in (plural(len(plan.nodes), "node"), basis(report)) if part) + f": {shares(plan)}"


def basis(report: Report) -> str:
    """Which graph was planned, where it is not the file's own: the reason why it has another number of nodes."""
    plan = report.plan
    if plan.load_error:
        return "of the file's own graph, constants aside"
    if plan.approximate:
        return "after an approximation of ONNX Runtime's basic optimisations"
    return "" if len(plan.nodes) == number(report.model["nodes"]) else "after ONNX Runtime's basic optimisations"


def shares(plan: Plan) -> str:
    """`287 on CUDA, 32 on CPU, 1 without a provider`, the most first."""
    counted = sorted(plan.providers().items(), key=lambda item: -item[1])
    on = {name: f"on {placed_on(name).label}" if name else "without a provider" for name, _ in counted}
    return ", ".join(f"{n:,} {on[name]}" for name, n in counted)


def memcpy(plan: Plan) -> str:
    """`12 Memcpy, 38.5 GB and 1.9 s a batch of 64 × 512 tokens`, as far as sizes are known; empty where no GPU is."""
    if not any(placed_on(name).device for name in plan.providers()):
        return ""
    if not plan.copies:
        return "no Memcpy"
    cost = traffic(plan.copies)
    return f"{len(plan.copies):,} Memcpy, {cost} {workload(plan)}" if cost else f"{len(plan.copies):,} Memcpy"


def traffic(copies: Sequence[Copy]) -> str:
    """`38.5 GB and 1.9 s`; `at least` where some sizes are unknown, empty where all are."""
    known = [c for c in copies if c.nbytes is not None]
    if not known:
        return ""
    parts = [quantity(sum(c.nbytes or 0 for c in known))]
    if any(c.milliseconds is not None for c in known):
        parts.append(duration(sum(c.milliseconds or 0.0 for c in known)))
    return ("" if len(known) == len(copies) else "at least ") + " and ".join(parts)


def workload(plan: Plan) -> str:
    return f"a batch of {plan.sizes.batch:,} × {plan.sizes.sequence:,} tokens"


def cuda_graph(plan: Plan) -> str:
    """`yes`, `no: 8 × SplitToSequence, 4 × Range`, or empty where the question makes no sense."""
    if plan.obstacles is None:
        return ""
    if not plan.obstacles:
        return "yes"
    found = of_obstacles(plan.obstacles)
    more = f" and {plural(len(found) - 5, 'other operator')}" if len(found) > 5 else ""
    return "no: " + ", ".join(map(str, found[:5])) + more


def linears(report: Report) -> str:
    """`linears: 18, quantized: 18; embeddings: 1, quantized: 1; 99 % of their weights, 23 MB saved; 72 % of FLOPs`"""
    found = report.quantization
    parts = [f"linears: {found['linears']}, quantized: {found['quantized']}"]
    if found["quantized"] and found["heads"]:
        parts[0] += f", heads in float: {found['heads']}"
    for kind in ("embeddings", "convolutions"):
        if found[f"{kind}_quantized"]:
            parts.append(f"{kind}: {found[kind]}, quantized: {found[f'{kind}_quantized']}")
    if found["weight_share"]:
        share, saved = float(str(found["weight_share"])), number(found["bytes_saved"])
        parts.append(f"{100 * share:.0f} % of their weights, {quantity(saved)} saved")
    if operations := flops(report):
        parts.append(operations)
    return "; ".join(parts)


def flops(report: Report) -> str:
    """`72 % of FLOPs in a batch of 64 × 512 tokens`, empty where nothing is quantized or nobody knows."""
    share = report.quantization.get("flops_share")
    return f"{100 * float(str(share)):.0f} % of FLOPs in {workload(report.plan)}" if share else ""


def against(found: Against) -> str:
    """`against model.onnx on 4 feeds: relative L2 error 1.2e-02, and 0.41 on a CPU without VNNI`"""
    known = f"against {visible(found.reference)} on {plural(found.feeds, 'feed')}: relative L2 error {found.error:.1e}"
    return known + ("" if found.without_vnni is None else f", and {found.without_vnni:.1e} on a CPU without VNNI")


def summary(report: Report) -> str:
    """`4 errors, 16 warnings, 1 note`"""
    return ", ".join(plural(count, name) for name, count in report.summary().items())


def gate(report: Report) -> list[str]:
    """`over budget: 12 memcpy, at most 0`, a line for each that is not met, and how many findings are accepted."""
    bounds = {each: "least" if each.name == "quantized" else "most" for each in report.budgets if not each.is_met}
    over = [f"over budget: {e.found:,.4g} {e.name}, at {bound} {e.limit:,.4g}" for e, bound in bounds.items()]
    return [*over, *([f"{plural(report.accepted, 'finding')} accepted before"] if report.accepted else [])]


def number(value: object) -> int:
    """A figure of the report's JSON mappings."""
    return int(str(value))
