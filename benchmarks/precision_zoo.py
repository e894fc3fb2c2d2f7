"""Which converters make right fp16 models: `python benchmarks/precision_zoo.py [FOLDER] [--only NAME ...] [--full]`.

Every member of the zoo that tests/zoo/make.py has put into FOLDER is converted by onnxfix, onnxconverter-common,
onnxruntime.transformers and, in an interpreter of its own, NVIDIA's ModelOpt AutoCast. A result is right when ONNX
Runtime loads it, it makes no NaN or infinity, it is close to its fp32 source at every length, its products compute in
half precision and it is half as large. A member is measured in a process of its own. Ends with 0 when every result of
onnxfix is right, 1 when one is not and 2 when something failed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from precision_measures import LIMITS, NO_KERNEL, Figures, failures, figures, reference
from precision_peers import CONVERTERS, Conversion, absence, converted, versions

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model

DEFAULT_FOLDER = Path(tempfile.gettempdir()) / "onnxfix-zoo"
HEADER = (
    f"{'member':28}{'converter':21}{'loads':>6}{'NaN':>8}{'padded':>9}{'at 300':>9}{'longest':>15}{'ORT off':>9}"
    f"{'ORT all':>9}{'half':>6}{'fp32':>5}{'files':>7}{'weights':>8}  verdict"
)
NOTE = """\
loads: and runs in ONNX Runtime, optimisation off/all (-: no CPU kernel); NaN: the most in one run, padding left out
padded, at 300, longest: relative L2 error with every node rounded to its type; ORT: the largest of them on the CPU
half: MatMul and Gemm that read half precision; fp32: products that read fp32; rotary angles are in neither
files, weights: bytes of the result to those of the source; files above 10 MB are to be halved, below their weights\
"""


@dataclass(frozen=True)
class Row:
    """One member by one converter. `wrong`: (kind, text) of everything that fails, the first is the verdict."""

    member: str
    converter: str
    figures: Figures
    wrong: tuple[tuple[str, str], ...]


def measured(given: argparse.Namespace) -> None:
    """What a child does: a line of JSON for each converter as soon as it is measured."""
    model, name = Model.open(given.one), given.one.stem
    with given.json.open("a", buffering=1, encoding="utf-8") as answers:
        try:
            recorded, feeds = reference(model, given.one, given.seed)
        except OnnxfixError as error:
            unusable = (("source", f"source: {error}"),)
            answers.writelines(json.dumps(asdict(Row(name, c, Figures(), unusable))) + "\n" for c in given.converters)
            return
        padded = {key: array[-1:] for key, array in feeds[0].arrays.items()}
        wanted = Conversion(given.precision, padded, given.modelopt_python)
        for converter, path, why in converted(given.converters, given.one, wanted):
            found = figures(model, recorded, feeds, path) if path else Figures()
            wrong = (("fails", why),) if why else tuple(failures(found, given.precision, given.limit))
            answers.write(json.dumps(asdict(Row(name, converter, found, wrong))) + "\n")


def rows(member: Path, converters: Sequence[str], given: argparse.Namespace) -> Iterator[Row]:
    """A row for each converter. Where the child dies, the converter it was at has failed and the others go on."""
    options = ["--precision", given.precision, "--limit", str(given.limit), "--seed", str(given.seed)]
    options += ["--modelopt-python", str(given.modelopt_python)] if given.modelopt_python else []
    waiting = list(converters)
    while waiting:
        with tempfile.NamedTemporaryFile("r", suffix=".jsonl", encoding="utf-8") as answers:
            command = [sys.executable, __file__, "--one", str(member), "--json", answers.name, *options]
            done = subprocess.run([*command, "--converters", *waiting], capture_output=True, text=True, check=False)
            for answer in map(json.loads, answers):
                wrong = tuple((kind, text) for kind, text in answer["wrong"])
                yield Row(answer["member"], answer["converter"], Figures(**answer["figures"]), wrong)
                waiting.remove(answer["converter"])
        if waiting:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            why = f"crash, exit code {done.returncode}: {last}"
            yield Row(member.stem, waiting.pop(0), Figures(), (("crash", why),))


def line(row: Row) -> str:
    """A row of the table; a dash where nothing was measured."""
    found, verdict = row.figures, row.wrong[0][1] if row.wrong else "right"
    start = f"{row.member:28}{row.converter:21}"
    if not found.source_megabytes:
        return f"{start}{'-':>6}{'':80}  {verdict[:120]}"
    errors = found.rel_l2.get("emulated", {})
    cells = [f"{errors[name]:.1e}" if name in errors else "-" for name in ("padded", "300")]
    longest = " ".join(f"{name} {error:.1e}" for name, error in list(errors.items())[-1:])
    ort = [f"{max(found.rel_l2[way].values()):.1e}" if way in found.rel_l2 else "-" for way in ("none", "all")]
    refused = [found.refused.get(way, "") for way in ("none", "all")]
    loads = "/".join("-" if NO_KERNEL in why else "no" if why else "ok" for why in refused)
    lost = max((count for feeds in found.lost.values() for count in feeds.values()), default=0)
    half = f"{found.half / found.products:.0%}" if found.products else "-"
    return (
        f"{start}{loads:>6}{lost:8,}{cells[0]:>9}{cells[1]:>9}{longest:>15}{ort[0]:>9}{ort[1]:>9}{half:>6}"
        f"{found.single:5}{found.file_ratio:7.2f}{found.weight_ratio:8.2f}  {verdict[:120]}"
    )


def summary(made: Sequence[Row], absent: dict[str, str]) -> Iterator[str]:
    """A line for each converter, then what its results are to their sources and to those of onnxfix."""
    by_converter = {name: [row for row in made if row.converter == name] for name in CONVERTERS}
    right = {name: sum(not row.wrong for row in found) for name, found in by_converter.items()}
    for name, found in by_converter.items():
        kinds = Counter(row.wrong[0][0] for row in found if row.wrong)
        but = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        if found or name in absent:
            yield f"{name} {absent.get(name) or f'{right[name]} of {len(found)} right'}{': ' if but else ''}{but}"
    for name, found in by_converter.items():
        if of := [row.figures for row in found if row.figures.source_megabytes]:
            files, weights = [f.file_ratio for f in of], [f.weight_ratio for f in of]
            yield (
                f"{name}: files {median(files):.2f} of the source's (at most {max(files):.2f}), "
                f"weights {median(weights):.2f} (at most {max(weights):.2f}){_against(by_converter, name)}"
            )


def _against(by_converter: dict[str, list[Row]], name: str) -> str:
    """How often a converter is right, and its largest error, as multiples of onnxfix's."""
    ours = {row.member: row for row in by_converter["onnxfix"]}
    pairs = [(row, ours[row.member]) for row in by_converter[name] if row.member in ours]
    if name == "onnxfix" or not pairs:
        return ""
    right, all_ours = sum(not row.wrong for row, _ in pairs), sum(not our.wrong for _, our in pairs)
    errors = [(row.figures.worst, our.figures.worst) for row, our in pairs]
    ratios = [theirs / our for theirs, our in errors if theirs and our]
    spread = f"{median(ratios):.1f} (median of {len(ratios)}) to {max(ratios):.1f}" if ratios else ""
    larger = f", errors {spread} times onnxfix's" if ratios else ""
    return f"; right {right / all_ours:.2f} times as often as onnxfix{larger}" if all_ours else larger


def members(given: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[list[Path], list[str]]:
    """The files to measure, and a line for each that is not there."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from zoo.architectures import ARCHITECTURES, BY_NAME, EXPORTERS

    if unknown := set(given.only or ()) - set(BY_NAME):
        parser.error(f"no such architecture: {', '.join(sorted(unknown))}; there are {', '.join(BY_NAME)}")
    names = [a.name for a in ARCHITECTURES if (a.small or given.full) and a.name in (given.only or BY_NAME)]
    wanted = [given.folder / f"{name}-{exporter}.onnx" for name in names for exporter in EXPORTERS]
    if given.sample:
        wanted = sorted(random.Random(given.seed).sample(wanted, min(given.sample, len(wanted))), key=wanted.index)
    absent = [path.stem for path in wanted if not path.is_file()]
    return [path for path in wanted if path.is_file()], absent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER, metavar="FOLDER")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="architectures")
    parser.add_argument("--converters", nargs="+", choices=list(CONVERTERS), default=list(CONVERTERS), metavar="NAME")
    parser.add_argument("--modelopt-python", type=Path, metavar="PATH", help="interpreter that has NVIDIA ModelOpt")
    parser.add_argument("--precision", choices=list(LIMITS), default="fp16")
    parser.add_argument("--limit", type=float, help="largest error (default 5e-3, for bf16 4e-2)")
    parser.add_argument("--sample", type=int, metavar="N", help="measure N members, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and of the inputs (default 0)")
    parser.add_argument("--full", action="store_true", help="ModernBERT base and large, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.limit = given.limit or LIMITS[given.precision]
    given.modelopt_python = given.modelopt_python and given.modelopt_python.absolute()
    if given.one:
        measured(given)
        return 0
    try:
        found = versions(given.modelopt_python)
    except OnnxfixError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    there, not_there = members(given, parser)
    absent = {name: absence(name, given.precision, given.modelopt_python) for name in given.converters}
    present = [name for name in given.converters if not absent[name]]
    made: list[Row] = []
    sys.stdout.write(f"{HEADER}\n")
    for row in (row for member in there for row in rows(member, present, given)):
        made.append(row)
        sys.stdout.write(f"{line(row)}\n")
        sys.stdout.flush()
    missing = [f"not in {given.folder}: {', '.join(not_there)}; see tests/zoo/make.py"] if not_there else []
    sys.stdout.write("\n".join([NOTE, *summary(made, absent), *missing]) + "\n")
    if given.json:
        told = {"precision": given.precision, "limit": given.limit, "seed": given.seed, "versions": found}
        told |= {"absent": {n: why for n, why in absent.items() if why}, "rows": [asdict(row) for row in made]}
        given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return int(any(row.wrong for row in made if row.converter == "onnxfix")) if made else 2


if __name__ == "__main__":
    sys.exit(main())
