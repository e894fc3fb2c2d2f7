"""SARIF 2.1.0 for code scanning: rules with their documentation, one result a finding.

Source: OASIS SARIF 2.1.0 (sections 3.19 toolComponent, 3.27 result, 3.28 location, 3.33 logicalLocation, 3.49
reportingDescriptor); GitHub's subset also wants a region and fingerprints.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from onnxfix.nouns.finding import Finding
from onnxfix.nouns.report import Report
from onnxfix.nouns.rule import Rule
from onnxfix.render.words import visible

from . import headline

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "onnxfixSite/v1"


def document(
    reports: Sequence[Report], rules: Mapping[str, type[Rule]], version: str, folder: Path
) -> dict[str, object]:
    """The whole log: one run, as code scanning takes one of a tool. Locations are relative to `folder` where a model
    lies below it: the root of a checkout."""
    codes = sorted({f.code for report in reports for f in report.findings})
    artifacts = [_artifact(Path(str(report.model["path"])), folder) for report in reports]
    run = {
        "tool": {
            "driver": {
                "name": "onnxfix",
                "semanticVersion": version,
                "rules": [_rule(code, rules.get(code), reports) for code in codes],
            }
        },
        "invocations": [{"executionSuccessful": True}],
        "artifacts": [{"location": each} for each in artifacts],
        "results": [each for pair in zip(reports, artifacts, strict=True) for each in _results(*pair, codes)],
    }
    if len(reports) == 1:
        run["properties"] = _properties(reports[0])
    else:
        run["artifacts"] = [
            {"location": each, "properties": _properties(report)}
            for each, report in zip(artifacts, reports, strict=True)
        ]
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _properties(report: Report) -> dict[str, object]:
    return {
        "target": dict(report.target),
        "placement": headline.nodes(report),
        "memcpy": headline.memcpy(report.plan),
        "cudaGraphReady": headline.cuda_graph(report.plan),
    }


def _results(report: Report, artifact: dict[str, object], codes: Sequence[str]) -> Iterator[dict[str, object]]:
    seen: Counter[str] = Counter()
    for finding in report.findings:
        yield _result(finding, codes.index(finding.code), artifact, seen)


def _rule(code: str, rule: type[Rule] | None, reports: Sequence[Report]) -> dict[str, object]:
    """A reportingDescriptor. A finding always has a rule; a missing one only costs the help text."""
    name = next(f.name for report in reports for f in report.findings if f.code == code)
    text = inspect.cleandoc((rule.__doc__ if rule else "") or name)
    first, _, _ = text.partition("\n\n")
    return {
        "id": code,
        "name": "".join(part.capitalize() for part in name.split("-")),
        "shortDescription": {"text": " ".join(first.split())},
        "fullDescription": {"text": text},
        "help": {"text": text, "markdown": text},
        "properties": {"tags": [_FAMILIES.get(code[0], "onnx")]},
    }


_FAMILIES = {
    "K": "placement",
    "P": "precision",
    "Q": "quantization",
    "S": "shapes",
    "F": "fusion",
    "W": "weights",
    "X": "export",
}


def _result(finding: Finding, index: int, artifact: dict[str, object], seen: Counter[str]) -> dict[str, object]:
    site = finding.site
    key = "\n".join((finding.code, site.scope, site.op_type, site.node, site.value))
    seen[key] += 1
    text = visible(finding.message) + (f". Repair: {finding.repair}" if finding.repair else "")
    location: dict[str, object] = {
        # code scanning drops results without a region; a model has no lines, so it is the file's first
        "physicalLocation": {"artifactLocation": artifact, "region": {"startLine": 1}},
    }
    if logical := _logical(finding):
        location["logicalLocations"] = [logical]
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": finding.severity.value,
        "message": {"text": text},
        "locations": [location],
        # two like findings at one site stay two alerts
        "partialFingerprints": {FINGERPRINT: hashlib.sha256(f"{key}\n{seen[key]}".encode()).hexdigest()},
        "properties": {"evidence": dict(finding.evidence), "applicability": finding.applicability.value},
    }


def _logical(finding: Finding) -> dict[str, object]:
    """The torch scope with the node below it."""
    site = finding.site
    name = site.node or site.value
    parts = [part for part in (site.scope, name) if part]
    if not parts:
        return {}
    return {"name": name or site.scope, "fullyQualifiedName": "/".join(parts), "kind": "element" if name else "module"}


def _artifact(path: Path, folder: Path) -> dict[str, object]:
    """A relative reference from the checkout's root, or an absolute file URI for a model elsewhere."""
    whole = (folder / path).resolve()
    root = folder.resolve()
    if whole.is_relative_to(root):
        return {"uri": quote(whole.relative_to(root).as_posix()), "uriBaseId": "%SRCROOT%"}
    return {"uri": whole.as_uri()}
