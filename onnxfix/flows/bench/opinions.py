"""What diagnose says of the files of a bench: a few words for the table, and all of it for the report's page."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.report import Report
from onnxfix.nouns.target import Target

if TYPE_CHECKING:
    from onnxfix.eval.bench.bench import Opinion
    from onnxfix.eval.bench.variant import Variant

# What each defect was called in the report that gave up on ONNX, with the finding that says it now; the worst first.
WORDS = {
    "K004": "",  # the runtime says so itself
    "Q002": "no-op",
    "Q003": "runs on the CPU",
    "K001": "unusable",
    "P002": "wrong at length",
}


def opinion(path: Path, provider: str, elsewhere: str = "") -> tuple[Opinion, dict[str, Any]]:
    """For the table, and the document of the page. `elsewhere`: another provider that the reader cares about."""
    from onnxfix.diagnose.run import diagnose
    from onnxfix.eval.bench.bench import Opinion

    model = Model.open(path)
    report = diagnose(model, Target.resolve(provider))
    other = diagnose(model, Target.resolve(elsewhere)) if elsewhere and elsewhere != provider else None
    said = defect(other) if other else ""
    here = Opinion(defect(report), f"on {elsewhere.upper()}: {said}" if said and said != defect(report) else "")
    return here, document(other or report)


def opinions(
    variants: list[Variant], provider: str, elsewhere: str = ""
) -> tuple[dict[str, Opinion], dict[str, dict[str, Any]]]:
    """Opinions and documents of all files whose runtime diagnose knows; a file that cannot be read has none."""
    found, documents = {}, {}
    for variant in variants:
        target = variant.engine.target(provider)
        if target and isinstance(variant.source, Path) and not variant.failure:
            try:
                found[variant.name], documents[variant.name] = opinion(variant.source, target, elsewhere)
            except OnnxfixError:  # its row says why it does not load
                continue
    return found, documents


def defect(report: Report) -> str:
    """The worst error in a few words with its code; empty without an error."""
    errors = Counter(f.code for f in report.findings if f.severity == "error")
    if not errors:
        return ""
    code = next((c for c in WORDS if c in errors), next(iter(errors)))
    if code == "K004":
        return ", ".join(c for c in ("K004", "P001") if c in errors)
    if code == "Q002":
        quantization = report.quantization
        return f"{WORDS[code]}: {quantization['quantized']} of {quantization['linears']} linears in int8 ({code})"
    name = next(f.name for f in report.findings if f.code == code)
    copies = f": {len(report.plan.copies)} Memcpy" if code in ("K001", "Q003") else ""
    return f"{WORDS.get(code, name)}{copies} ({code})"


def document(report: Report) -> dict[str, Any]:
    """Placement in execution order and findings by rule, as the page of a bench shows them."""
    plan = report.plan
    return {
        "target": report.target["provider"],
        "memcpy": len(plan.copies),
        "providers": dict(Counter(node.provider for node in plan.nodes)),
        "runs": _runs(report),
        "findings": _findings(report),
    }


def _runs(report: Report) -> list[list[Any]]:
    """Consecutive nodes on one provider: its name, how many, and the copies in front of or between them."""
    copies: Counter[str] = Counter()
    for copy in report.plan.copies:
        copies[copy.consumers[0] if copy.direction == "from_host" and copy.consumers else copy.producer] += 1
    runs = []
    for provider, nodes in groupby(report.plan.nodes, key=lambda node: node.provider):
        names = [node.name for node in nodes]
        runs.append([provider, len(names), sum(copies[name] for name in names)])
    return runs


def _findings(report: Report) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for finding in report.findings:
        entry = found.setdefault(
            finding.code,
            {
                "code": finding.code,
                "name": finding.name,
                "severity": finding.severity.value,
                "count": 0,
                "message": finding.message,
                "repair": finding.repair,
            },
        )
        entry["count"] += 1
    return list(found.values())
