"""Gate: which findings count, and what else a model is held to, as a pipeline that lets models through wants it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.flows.outputs import path_of
from onnxfix.flows.values import at_least, several
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.report import Budget

from . import baseline as accepted

if TYPE_CHECKING:
    from onnxfix.nouns.finding import Finding

    from .diagnosis import Diagnosis


@dataclass(frozen=True)
class Gate:
    """`select` and `ignore`: beginnings of codes, such as `K` or `K001`; `budgets`: limits by what they are of."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    budgets: tuple[tuple[str, float], ...] = ()
    baseline: Path | None = None
    update: bool = False

    @staticmethod
    def of(
        select: Sequence[str],
        ignore: Sequence[str],
        max_memcpy: int | None,
        max_bytes: int | None,
        min_quantized: float | None,
        baseline: str | Path | None,
        update_baseline: bool,
    ) -> Gate:
        """Raises OnnxfixError for what is no code, no such number and no such file."""
        at_least("max_memcpy", max_memcpy, 0, whole=True)
        at_least("max_bytes", max_bytes, 0, whole=True)
        at_least("min_quantized", min_quantized, 0)
        if min_quantized is not None and min_quantized > 1:
            raise OnnxfixError(f"{arg('min_quantized', min_quantized)} is a share of all linears", "give 0 to 1")
        limits = {"memcpy": max_memcpy, "bytes": max_bytes, "quantized": min_quantized}
        budgets = tuple((name, float(limit)) for name, limit in limits.items() if limit is not None)
        file = path_of("baseline", baseline)
        if update_baseline and file is None:
            raise OnnxfixError(f"{arg('update_baseline', True)} needs {arg('baseline', 'FILE')}", "name the file")
        if file is not None and not update_baseline:
            accepted.read(file)  # before any work
        chosen, left = tuple(_codes("select", several(select))), tuple(_codes("ignore", several(ignore)))
        return Gate(chosen, left, budgets, file, update_baseline)

    def judged(self, report: Diagnosis, nbytes: int) -> Diagnosis:
        """The report of what counts. `nbytes`: the size of the file with its weights."""
        return self.without_accepted([replace(self.selected(report), budgets=self._held(report, nbytes))])[0]

    def selected(self, report: Diagnosis) -> Diagnosis:
        return replace(report, findings=tuple(filter(self._counts, report.findings)))

    def without_accepted(self, reports: Sequence[Diagnosis]) -> list[Diagnosis]:
        """Without what the baseline accepts, which is all that there is where it is written anew."""
        if self.baseline is None:
            return list(reports)
        if self.update:
            accepted.write(self.baseline, reports)
        known = accepted.read(self.baseline)
        return [accepted.left(known, self.baseline, report) for report in reports]

    def _counts(self, finding: Finding) -> bool:
        if self.select and not finding.code.startswith(self.select):
            return False
        return not (self.ignore and finding.code.startswith(self.ignore))

    def _held(self, report: Diagnosis, nbytes: int) -> tuple[Budget, ...]:
        linears = int(str(report.quantization["linears"]))
        share = int(str(report.quantization["quantized"])) / linears if linears else 1.0
        found = {"memcpy": float(len(report.plan.copies)), "bytes": float(nbytes), "quantized": share}
        return tuple(Budget(name, limit, found[name]) for name, limit in self.budgets)


def _codes(keyword: str, given: Sequence[str]) -> Iterator[str]:
    """Codes as they are, names as codes. Raises OnnxfixError for one that no rule begins with."""
    from onnxfix.diagnose.registry import all_rules

    rules = all_rules()
    names = {rule.name: code for code, rule in rules.items()}
    for each in given:
        code = names.get(each, each.upper())
        if not code or not any(known.startswith(code) for known in rules):
            near = difflib.get_close_matches(each, [*names, *rules], 1)
            hint = f"did you mean {near[0]}?" if near else "docs/rules.md lists all codes"
            raise OnnxfixError(f"{arg(keyword, each)} is the beginning of no code", hint)
        yield code
