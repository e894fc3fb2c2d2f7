"""Baseline: findings that are known and accepted, in a file that lies beside models, so that new ones alone count.

They are counted by code, module and operator, and not by the names of nodes, which exporters number anew each time.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.nouns.errors import OnnxfixError, arg

if TYPE_CHECKING:
    from onnxfix.nouns.finding import Finding

    from .diagnosis import Diagnosis

SCHEMA = "onnxfix.baseline/1"
Key = tuple[str, str, str]
"""Code, torch scope, type of the operator."""
Known = dict[tuple[str, str], Counter[Key]]
"""By the model's path from the file's folder, and the target."""


def read(file: Path) -> Known:
    """Raises OnnxfixError for a file that is not there, or none of ours."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"its schema is {content['schema']}")
        return {
            (path, target): Counter({(f["code"], f["scope"], f["op_type"]): int(f["count"]) for f in found})
            for path, targets in content["models"].items()
            for target, found in targets.items()
        }
    except FileNotFoundError as error:
        way = f"write it with {arg('update_baseline', True)}"
        raise OnnxfixError(f"baseline {file} does not exist", way) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        way = f"write it anew with {arg('update_baseline', True)}"
        raise OnnxfixError(f"{file} is no baseline of onnxfix: {error}", way) from error


def write(file: Path, reports: Sequence[Diagnosis]) -> None:
    """What is found in these models, beside what is known of others. Raises OnnxfixError for a file of somebody
    else's."""
    from onnxfix.nouns.model import staged

    known = read(file) if file.exists() else {}
    for report in reports:
        known[_place(file, report)] = Counter(map(_key, report.findings))
    models: dict[str, dict[str, object]] = {}
    for (path, target), found in sorted(known.items()):
        models.setdefault(path, {})[target] = [
            {"code": code, "scope": scope, "op_type": op_type, "count": count}
            for (code, scope, op_type), count in sorted(found.items())
        ]
    if not file.parent.is_dir():
        raise OnnxfixError(f"folder {file.parent} does not exist", f"name another file with {arg('baseline', 'FILE')}")
    with staged(file.parent) as stage:
        draft = stage / file.name
        draft.write_text(json.dumps({"schema": SCHEMA, "models": models}, indent=1) + "\n", encoding="utf-8")
        draft.replace(file)


def left(known: Known, file: Path, report: Diagnosis) -> Diagnosis:
    """Without what is accepted: of findings alike, as many as the file has, the first of them."""
    room = Counter(known.get(_place(file, report), Counter()))
    kept: list[Finding] = []
    for finding in report.findings:
        if room[_key(finding)] > 0:
            room[_key(finding)] -= 1
        else:
            kept.append(finding)
    return replace(report, findings=tuple(kept), accepted=len(report.findings) - len(kept))


def _key(finding: Finding) -> Key:
    return finding.code, finding.site.scope, finding.site.op_type


def _place(file: Path, report: Diagnosis) -> tuple[str, str]:
    """As the same on every machine that has the folder."""
    path = Path(os.path.relpath(str(report.model["path"]), file.parent))
    return path.as_posix(), str(report.target["provider"])
