"""A bench as asked for by keywords: of files, of models and torch modules in memory, or of a sweep."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from onnxfix.eval.bench.bench import BenchReport
from onnxfix.eval.figures.verdict import which_is_fastest
from onnxfix.flows.outputs import keep_folder, keep_inputs, path_of
from onnxfix.flows.values import at_least, several
from onnxfix.nouns.errors import Voice, python
from onnxfix.nouns.process.progress import Progress, silent
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.render.shown import Shown, Summary
from onnxfix.render.words import plural

from .data import Wanted

if TYPE_CHECKING:
    import polars as pl
    import torch as pytorch

    from onnxfix.eval.bench.course import Course
    from onnxfix.eval.bench.quality import Metric
    from onnxfix.eval.inputs.point import Point
    from onnxfix.flows.source import ModelLike

    from .named import Setup

    Benched: TypeAlias = ModelLike | pytorch.nn.Module


@dataclass(frozen=True, repr=False)
class Bench(BenchReport, Shown):
    """A report of a bench that can be shown and written; `files` were written."""

    files: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        count = plural(len(self.rows), "variant")
        return f"<Bench of {count} on {self.method.provider}: {which_is_fastest(self.fastest)}>"

    def frame(self) -> pl.DataFrame:
        """One row a variant and point, as results.parquet has them."""
        from onnxfix.eval.report.files import frame

        return frame(self)

    def to_html(self) -> str:
        """The page: which variant to deploy, plots, the table."""
        from onnxfix.diagnose.registry import all_rules
        from onnxfix.eval.report.markdown import method
        from onnxfix.eval.report.page import page

        return page(self.as_dict(), method(self), all_rules())

    def to_markdown(self) -> str:
        from onnxfix.eval.report.markdown import markdown

        return markdown(self)

    def in_short(self) -> Summary:
        from onnxfix.eval.report.contents import brief
        from onnxfix.eval.report.markdown import answer

        return Summary(answer(self), brief(self.as_dict()))

    def write(self, folder: Path) -> tuple[Bench, list[Path]]:
        """Write summary.json, results.parquet, REPORT.md and report.html; a page that cannot be drawn is a note."""
        from onnxfix.eval.report.files import write_report

        try:
            return self, write_report(self, folder, self.to_html())
        except Exception as error:  # hours of measurements must not be lost to a plot
            note = f"report.html could not be drawn: {type(error).__name__}: {error}"
            noted = replace(self, notes=(*self.notes, note))
            return noted, write_report(noted, folder)


def bench(
    models: Benched | Sequence[Benched] | Mapping[str, Benched] = (),
    *,
    sweep: Sequence[str] = (),
    checkpoint: str | Path | None = None,
    factory: str = "",
    data: str | Path | pl.DataFrame | None = None,
    text: str = "text",
    label: Sequence[str] | Mapping[str, str] = (),
    metric: str | Metric | None = None,
    batch: int | Sequence[int] = 16,
    seq: int | Sequence[int] = (),
    rounds: int = 5,
    limit: int | None = None,
    bucket: bool = False,
    max_length: int | None = None,
    threads: int = 0,
    provider: Literal["auto", "cpu", "cuda"] = "auto",
    torch: bool | None = None,
    torchao: bool | None = None,
    at_once: int = 4,
    ratio_to: str = "",
    baseline: str | Path | None = None,
    tolerance: float = 10.0,
    profile: bool = False,
    resume: bool = False,
    verify: bool = True,
    output: str | Path | None = None,
    force: bool = False,
    voice: Voice = python,
    progress: Progress = silent,
) -> Bench:
    """Compare models with torch and each other in latency, memory, size and task metrics, each in its own process.

    `models`: files, models in memory or torch modules, in a list or by the names that the report shall give them.
    `data`: texts (a path or a polars frame), `label` its columns of labels by output; else inputs are made up. `torch`:
    rows of torch fp32 and bf16, found by what `onnxfix export` recorded in a file (None: where there is such a
    record). `batch` and `seq` may be several: a grid. `baseline`: results.parquet of an earlier bench, whose figures
    are compared within `tolerance` percent. Nothing is written unless `output` names a folder, in which only what a
    bench made is replaced, unless `force` says so; `voice` says in it what
    failures tell to change.

    Raises OnnxfixError; a variant that fails is a row with its reason.
    """
    from onnxfix.eval.bench.course import Course
    from onnxfix.eval.bench.quality import find_metric
    from onnxfix.eval.report.files import NAMES
    from onnxfix.eval.report.regression import check_alike, read, regressions

    from .setup import setup

    at_least("rounds", rounds, 1, whole=True)
    at_least("threads", threads, 0, whole=True)
    where, asked = _provider(provider), path_of("output", output)
    if asked is not None:
        # the baseline is read before anything is written: a bench may be compared with the one it takes the place of
        named = {"models": models, "checkpoint": checkpoint, "data": data}
        for name in NAMES:
            keep_inputs({"output": asked / name}, named)
        keep_folder(asked, (*NAMES, "parts", *(["models"] if sweep else [])), force)
    own = find_metric(metric) if isinstance(metric, str) and metric else (metric or None)
    earlier = Path(baseline) if baseline is not None else None
    if earlier is not None:  # said before hours of work
        check_alike(read(earlier), where, earlier)
    with contextlib.ExitStack() as stack:
        folder = asked or stack.enter_context(Scratch())
        files, names, modules = _given(models, stack)
        wanted = Wanted(
            models=files,
            names=names,
            modules=modules,
            checkpoint=Path(checkpoint) if checkpoint is not None else None,
            factory=factory,
            data=_table(data),
            text=text,
            labels=_labels(label),
            limit=limit,
            max_length=max_length,
            torch=torch,
            bucket=bucket,
            torchao=torchao,
            sweep=several(sweep),
            provider=where,
            output=folder,
            resume=resume,
            verify=verify,
        )
        found = setup(wanted, progress)
        course = Course(
            points=_grid(batch, seq),
            rounds=rounds,
            provider=where,
            threads=threads,
            baseline=ratio_to,
            at_once=at_once,
            folder=folder,
            resume=resume,
            voice=voice,
        )
        report = _run(found, course, own, progress)
        if profile:
            if output is not None:  # what has been measured must not be lost to what follows
                report.write(folder)
            report = replace(report, profiles=_profiles(found, report, course, progress))
        if earlier is not None:
            worse = regressions(report, earlier, tolerance / 100)
            report = replace(report, regressions=[each.as_dict() for each in worse])
        if output is None:
            return report
        report, written = report.write(folder)
        return replace(report, files=tuple(written))


def _run(found: Setup, course: Course, metric: Metric | None, progress: Progress) -> Bench:
    from onnxfix.eval.bench.bench import Remarks, run_bench, step_count

    remarks = Remarks(metric, found.opinions, tuple(found.notes))
    with progress("bench", step_count(found.variants, found.workload, course)) as advance:
        report = run_bench(found.variants, found.workload, course, remarks, advance)
    return Bench(**{**vars(report), "diagnoses": found.diagnoses})


def _profiles(found: Setup, report: BenchReport, course: Course, progress: Progress) -> dict[str, dict[str, Any]]:
    from onnxfix.eval.bench.profiling import profiles

    sound = {row.variant for row in report.rows if row.measured}
    variants = [variant for variant in found.variants if variant.name in sound]
    with progress("profile", len(variants)) as advance:
        return profiles(variants, found.workload, course.points[0], course.settings, progress=advance)


def _given(
    models: Benched | Sequence[Benched] | Mapping[str, Benched], stack: contextlib.ExitStack
) -> tuple[tuple[Path, ...], dict[Path, str], dict[str, pytorch.nn.Module]]:
    """Files, the names that some have in the report, and torch modules; models in memory are laid on disk."""
    from onnxfix.flows.source import on_disk

    files, names, modules = [], {}, {}
    for name, model in _named(models):
        if type(model).__module__.partition(".")[0] != "onnx" and hasattr(model, "state_dict"):
            modules[name or type(model).__name__] = cast("pytorch.nn.Module", model)
            continue
        source = stack.enter_context(on_disk(cast("ModelLike", model)))
        files.append(source.path)
        if name or source.given is not None:
            names[source.path] = name or f"model {len(files)}"
    return tuple(files), names, modules


def _named(models: Benched | Sequence[Benched] | Mapping[str, Benched]) -> Iterator[tuple[str, Benched]]:
    if isinstance(models, Mapping):
        yield from models.items()
    elif isinstance(models, Sequence) and not isinstance(models, str):
        yield from (("", model) for model in models)
    else:
        yield "", models


def _table(data: Any) -> Path | pl.DataFrame | None:
    from onnxfix.flows.inputs import table_of
    from onnxfix.nouns.errors import OnnxfixError, arg

    if data is None or isinstance(data, str | Path):
        return Path(data) if data is not None else None
    table = table_of(data, "data")
    if table is None:
        what = f"{arg('data')} is of type {type(data).__name__}, not a table"
        raise OnnxfixError(what, "give a polars DataFrame, or the path of a .parquet, .csv, .tsv or .jsonl file")
    return table


def _labels(given: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Head → column, of `HEAD` and `HEAD=COLUMN`. Raises OnnxfixError."""
    from onnxfix.nouns.errors import OnnxfixError, arg

    if isinstance(given, Mapping):
        return dict(given)
    found = {}
    for entry in [given] if isinstance(given, str) else given:
        head, equals, column = entry.partition("=")
        if not head or (equals and not column):
            raise OnnxfixError(f"{arg('label', entry)} is not of the form HEAD=COLUMN")
        found[head] = column or head
    return found


def _grid(batch: int | Sequence[int], seq: int | Sequence[int]) -> tuple[Point, ...]:
    from onnxfix.eval.inputs.point import grid

    return grid([batch] if isinstance(batch, int) else batch, [seq] if isinstance(seq, int) else seq)


def _provider(name: str) -> Literal["cpu", "cuda"]:
    from onnxfix.eval.run.machine import has_cuda

    if name == "auto":
        return "cuda" if has_cuda() else "cpu"
    return cast(Literal["cpu", "cuda"], name)
