"""Take real models out of published packages through every command, and check the results: one table.

usage: python tools/real_models.py [--only PACKAGE] [--output docs/results/real-models.md]

Wheels come by name and version (published/pins.py) from whatever index pip is configured for; nothing of a package is
installed or run, and only its models are unpacked. Ends with 1 where any command failed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from published.commands import COMMANDS, Outcome, outcome
from published.pins import LEFT_OUT, PACKAGES, TOKENIZERS
from published.table import table
from published.texts import checkpoints, in_float, is_in_integers, reads_texts, tokenizer
from published.wheels import Found, digest, fetched, models


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="packages and files with this in their name, a regular expression")
    parser.add_argument("--timeout", type=float, default=300, help="seconds a command may take (300)")
    parser.add_argument("--limit", type=float, default=100, help="megabytes, past which a model is left out (100)")
    parser.add_argument("--workers", type=int, default=2, help="commands run side by side (2)")
    parser.add_argument("--wheels", type=Path, help="keep the wheels here, and take those that are here already")
    parser.add_argument("--output", type=Path, help="write the table here too")
    asked = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found, notes = collected(asked.wheels or Path(folder) / "wheels", Path(folder), asked.only, asked.limit)
        done = run(found, asked.timeout, asked.workers)
    page = table(found, done, notes, asked.timeout)
    if asked.output:
        asked.output.write_text(page, encoding="utf-8")
    sys.stdout.write(f"{page}\n{len(found)} models in {time.monotonic() - begun:.0f} s\n")
    return int(not found or any(o.verdict == "FAILED" for o in done))


def collected(wheels: Path, folder: Path, only: str, most: float) -> tuple[list[Found], list[str]]:
    """Models, each once, and notes of what was left out."""
    found: list[Found] = []
    notes: list[str] = []
    seen: dict[str, Found] = {}
    for package, version in PACKAGES.items():
        wheel = fetched(package, version, wheels)
        if isinstance(wheel, str):
            notes.append(f"{package} {version}: {wheel}")
            continue
        for model in _of_wheel(wheel, package, version, folder, most):
            if not re.search(only, f"{package} {model.name}"):
                continue
            if LEFT_OUT.get(package, "\n") in model.path.name:
                notes.append(f"{package} {version}, `{model.name}`: left out for its time")
                continue
            same = None if model.skipped else seen.setdefault(digest(model), model)
            if same is model:
                found.append(model := replace(model, tokenizer=_tokenizer(wheel, model, wheels, folder)))
                if model.tokenizer and is_in_integers(model):
                    found.append(in_float(model))
            else:
                why = f"the same as {same.package}'s `{same.path.name}`" if same else model.skipped
                notes.append(f"{package} {version}, `{model.name}`: {why}")
    return found, notes


def _of_wheel(wheel: Path, package: str, version: str, folder: Path, most: float) -> Iterator[Found]:
    yield from models(wheel, package, version, folder / "models", most)
    yield from checkpoints(wheel, package, version, folder / "models", most)


def _tokenizer(wheel: Path, model: Found, wheels: Path, folder: Path) -> Path | None:
    """Of the package, or of the one that has the same."""
    other = TOKENIZERS.get(model.package)
    place = fetched(other, PACKAGES[other], wheels) if other else wheel
    if isinstance(place, str) or not reads_texts(model):
        return None
    return tokenizer(place, folder / "tokenizers" / f"{other or model.package}.json")


def run(found: list[Found], timeout_s: float, workers: int) -> list[Outcome]:
    """Every model through every command."""
    done = []
    with ThreadPoolExecutor(workers) as pool:
        asked = [pool.submit(outcome, model, command, timeout_s) for model in found for command in COMMANDS]
        for number, future in enumerate(as_completed(asked), start=1):
            one = future.result()
            done.append(one)
            what = one.kept or f"{one.error:.2g}" if one.error is not None else one.reason
            name = f"{one.model.package} {one.model.path.name}"
            line = f"{number}/{len(asked)} {one.verdict} {name} {one.command} {one.seconds:.0f} s {what}"
            sys.stderr.write(line.rstrip() + "\n")
    order = {model: number for number, model in enumerate(found)}
    return sorted(done, key=lambda o: (order[o.model], list(COMMANDS).index(o.command)))


if __name__ == "__main__":
    sys.exit(main())
