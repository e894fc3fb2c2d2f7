"""The corpus's table: `python tests/corpus/table.py [--only TEXT] [--limit N] [--workers N] [--log FILE]`.

How many of the cases passed, were declined and why, and failed; the failures by name. Ends with 1 where any failed.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from corpus.cases import cases
from corpus.judged import COMMANDS, Outcome
from corpus.run import run

VERDICTS = ("passed", "declined", "FAILED")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name has this in it, as a regular expression")
    parser.add_argument("--every", type=int, default=1, help="every so manieth case only")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", type=Path, help="a line for each outcome that did not pass")
    asked = parser.parse_args()
    begun = time.monotonic()
    chosen = [case for case in cases() if re.search(asked.only, case.name)][:: asked.every]
    done = run(chosen, workers=asked.workers, told=_progress)
    print(table(done))
    print(f"\n{len(chosen)} cases in {time.monotonic() - begun:.0f} s")
    if asked.log:
        asked.log.write_text(logged(done), encoding="utf-8")
    return int(any(outcome.verdict == "FAILED" for outcome in done))


def kind(reason: str) -> str:
    """A reason without the names and numbers of its case."""
    text = re.sub(r"'[^']*'", "'…'", reason)
    text = re.sub(r"/\S+|\S+_expanded_function_\S+|\btest_\w+", "…", text)
    return re.sub(r"-?\d[\d.,]*(?:e[-+]?\d+)?", "N", text)[:160]


def table(done: list[Outcome]) -> str:
    """Counts by command, then the reasons of what did not pass, most frequent first, each with an example."""
    lines = [f"{'':10}{'passed':>9}{'declined':>10}{'failed':>8}"]
    for command in COMMANDS:
        counts = Counter(o.verdict for o in done if o.command == command)
        lines.append(f"{command:10}{counts['passed']:9}{counts['declined']:10}{counts['FAILED']:8}")
    for verdict in VERDICTS[1:]:
        groups: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in done:
            if outcome.verdict == verdict:
                groups[kind(outcome.reason)].append(outcome)
        if groups:
            lines += ["", f"{verdict}, and why:"]
        for text, group in sorted(groups.items(), key=lambda item: -len(item[1])):
            lines.append(f"{len(group):5}  {text}  [{group[0].command} {group[0].case}]")
    return "\n".join(lines)


def logged(done: list[Outcome]) -> str:
    """Every outcome that did not pass, grouped by verdict and kind of reason."""
    order = sorted((o for o in done if o.verdict != "passed"), key=lambda o: (o.verdict, kind(o.reason), o.case))
    return "".join(f"{o.verdict}\t{o.command}\t{o.case}\t{o.reason}\n" for o in order)


def _progress(outcome: Outcome) -> None:
    if outcome.verdict != "passed":
        print(outcome.verdict, outcome.command, outcome.case, outcome.reason, sep="\t", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
