"""The table of all models and commands, the reasons of what did not pass, and totals, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from published.commands import COMMANDS, LEAST, LIMITS, Outcome
from published.wheels import MEGA, Found

VERDICTS = ("passed", "unchecked", "declined", "FAILED")
INTRODUCTION = """# Real models from published packages

`python tools/real_models.py` fetches wheels by name and version, takes every model in them through eight commands, and
checks each file that `repair` or `optimize` writes: the source and the result in ONNX Runtime sessions of the
script's own on the CPU, on random inputs of its own, apart from what the product verified. A cell is the largest
relative L2 difference of an output there (of integers the share that differs). Past {limits}
a result has failed; so has a command with an internal error, with C++ in its words, or that does not keep its deadline
of {deadline:g} s. `declined` is one line that says why, with nothing written. A command that asks for inputs gets
some that the source runs on. `unchecked` is written, and did not run on this CPU or on inputs of ours. `bench` is left
out: it needs data, which the packages do not carry.

What is made of a model of texts, but for fp32, is held against its source on 48 real ones, in batches that are
padded at the right and at the left: by the least cosine of a text's outputs (at least {cosine:g}) or by the share of
tokens that get the same label (at least {labels:g}). Checkpoints are exported by `onnxfix export` first;
`*.float.onnx` is a model of static integers with these taken out.
"""


def table(models: list[Found], done: list[Outcome], notes: list[str], deadline_s: float) -> str:
    """The whole page. `notes`: of packages and models that were left out."""
    limits = ", ".join(f"{limit:g} ({command})" for command, limit in LIMITS.items())
    lines = [INTRODUCTION.format(limits=limits, deadline=deadline_s, **LEAST)]
    lines += [f"{len(models)} models of {len({m.package for m in models})} packages.", ""]
    lines += [
        _row("package", "version", "file", "MB", *COMMANDS),
        _row(*("---",) * 3, *("---:",) * (1 + len(COMMANDS))),
    ]
    for model in models:
        found = {o.command: o for o in done if o.model == model}
        cells = [_cell(found[command]) for command in COMMANDS]
        lines.append(_row(model.package, model.version, f"`{_name(model)}`", f"{model.size / MEGA:.1f}", *cells))
    lines += ["", "## Totals", "", _row("", *COMMANDS), _row("---", *("---:",) * len(COMMANDS))]
    for verdict in VERDICTS:
        counts = Counter(o.command for o in done if o.verdict == verdict)
        lines.append(_row(verdict, *(str(counts[command]) for command in COMMANDS)))
    for verdict in reversed(VERDICTS[1:]):
        lines += _reasons(verdict, [o for o in done if o.verdict == verdict])
    if notes:
        lines += ["", "## Left out", "", *(f"* {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _reasons(verdict: str, done: list[Outcome]) -> Iterator[str]:
    """Each reason once, with the models and commands it stands for."""
    if not done:
        return
    yield from ("", f"## {verdict.capitalize()}, and why", "")
    for reason in dict.fromkeys(o.reason for o in done):
        places: dict[str, list[str]] = {}
        for o in done:
            if o.reason == reason:
                places.setdefault(f"{o.model.package}: `{_name(o.model)}`", []).append(o.command)
        where = "; ".join(f"{name} ({', '.join(commands)})" for name, commands in places.items())
        yield f"* {where}: {reason}"


def _cell(outcome: Outcome) -> str:
    if outcome.verdict == "passed" and outcome.kept:
        return outcome.kept
    if outcome.verdict == "passed" and outcome.error is not None:
        return f"{outcome.error:.1g}"
    return outcome.verdict


def _name(model: Found) -> str:
    return model.path.name


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
