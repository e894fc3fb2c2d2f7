"""Annotations of GitHub's workflows: commands in the log, one line each, that appear beside the file.

Source: GitHub's "Workflow commands for GitHub Actions": `::error file=…,title=…::message`, with %, CR and LF escaped in
messages, and `:` and `,` besides in properties. It shows ten errors, ten warnings and ten notices of a step, so that
like findings are one.
"""

from __future__ import annotations

from pathlib import Path

from onnxfix.nouns.report import Report
from onnxfix.render.words import commandless, plural, visible

from .places import groups

LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def lines(report: Report, folder: Path) -> str:
    """A line for each finding with all its places, and each budget that is not met. `folder`: the checkout's."""
    path = _relative(Path(str(report.model["path"])), folder)
    said = []
    for group in groups(report.findings):
        first = group.first
        text = visible(first.message)
        if len(group.findings) > 1:
            text = f"{len(group.findings)} times, first at {visible(str(first.site))}: {text}"
        if first.repair:
            text += f"\nrepair ({first.applicability.value}): {first.repair}"
        said.append(_command(LEVELS[first.severity.value], path, f"{first.code} {first.name}", text))
    for budget in report.budgets:
        if not budget.is_met:
            text = f"{budget.name} is {budget.found:,.4g}, and the budget {budget.limit:,.4g}"
            said.append(_command("error", path, "over budget", text))
    if report.accepted:
        text = f"{plural(report.accepted, 'finding')} accepted by the baseline"
        said.append(_command("notice", path, "accepted", text))
    return "\n".join(said)


def failed(path: Path, error: str) -> str:
    """Of a model that could not be diagnosed."""
    return _command("error", path.as_posix(), "not diagnosed", visible(error))


def _command(level: str, path: str, title: str, text: str) -> str:
    return f"::{level} file={_property(path)},title={_property(f'onnxfix: {title}')}::{_data(text)}"


def _data(text: str) -> str:
    """What a model calls its nodes is no command either."""
    return commandless(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _relative(path: Path, folder: Path) -> str:
    whole, root = (folder / path).resolve(), folder.resolve()
    return (whole.relative_to(root) if whole.is_relative_to(root) else whole).as_posix()
