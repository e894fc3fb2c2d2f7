"""What diagnose says of the files of a bench: a few words for the table, and all of it for the report's page."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.flows.advice import addressed
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.report import Report
from onnxfix.nouns.runtime.provider import named
from onnxfix.nouns.target import Target

from .named import repair_record

if TYPE_CHECKING:
    from onnxfix.eval.bench.bench import Opinion
    from onnxfix.eval.bench.variant import Variant

# What each defect was called in the report that gave up on ONNX, with the finding that says it now; the worst first.
WORDS = {
    "K004": "",  # the runtime says so itself
    "Q002": "no-op",
    "Q003": "falls back to the CPU",
    "K001": "unusable",
    "P002": "wrong at length",
}


def opinion(path: Path, provider: str, elsewhere: str = "") -> tuple[Opinion, dict[str, Any]]:
    """For the table, and the document of the page. `elsewhere`: another provider that the reader cares about; what
    onnxfix repair made is meant for the one that it was made for."""
    from onnxfix.diagnose.run import diagnose
    from onnxfix.eval.bench.bench import Opinion

    model = Model.open(path)
    report = addressed(diagnose(model, Target.resolve(provider)), path)
    meant = str(repair_record(path).get("target") or elsewhere) if elsewhere else provider
    other = addressed(diagnose(model, Target.resolve(meant)), path) if meant != provider else report
    here, there = defect(report), defect(other)
    praise = _praise(other) if elsewhere and not here and not there else ""
    return Opinion(here, there if there != here else praise), document(other)


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
        return f"{WORDS[code]}: {_linears(report)} in int8 ({code})"
    name = WORDS.get(code) or next(f.name for f in report.findings if f.code == code)
    where = f" {_on(report)}: {_memcpy(report)}" if code in ("K001", "Q003") else ""
    return f"{name}{where} ({code})"


def _praise(report: Report) -> str:
    """What is good about a file without a defect; empty where nobody would doubt it."""
    found = report.quantization
    if found["quantized"]:
        return f"{_linears(report)} quantized" + (f", {found['heads']} heads in float" if found["heads"] else "")
    return "" if named(str(report.target["provider"])).is_host else f"{_memcpy(report)} {_on(report)}"


def _linears(report: Report) -> str:
    return f"{report.quantization['quantized']} of {report.quantization['linears']} linears"


def _memcpy(report: Report) -> str:
    return f"{len(report.plan.copies)} Memcpy"


def _on(report: Report) -> str:
    return f"on {str(report.target['provider']).upper()}"


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
