"""A bench as asked for by keywords: of files, of models and torch modules in memory, or of a sweep."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onnxfix.eval.bench.bench import BenchReport
from onnxfix.flows.inputs import checkpoint_of
from onnxfix.flows.outputs import keep_folder, keep_inputs, path_of
from onnxfix.flows.values import at_least, several
from onnxfix.nouns.errors import Voice, python
from onnxfix.nouns.process.progress import Progress, silent
from onnxfix.nouns.process.scratch import Scratch

from .benched import Bench
from .data import Wanted
from .keywords import Batchings, batching_of, data_of, given, grid_of, provider_of
from .labels import labels_of

if TYPE_CHECKING:
    import polars as pl

    from onnxfix.eval.bench.course import Course
    from onnxfix.eval.bench.quality import Metric

    from .keywords import Benched
    from .named import Setup


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
    batching: Batchings = "padded",
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
    record). `batch` and `seq` may be several: a grid. `batching`: rows in the order of the data, each batch padded to
    its longest; `sorted` by length before (`bucket=True` is the same); or `both`, each variant in two rows, which are
    compared with those of their own way alone. `baseline`: results.parquet of an earlier bench, whose figures
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
    ways = batching_of(batching, bucket, seq)
    where, asked = provider_of(provider), path_of("output", output)
    if asked is not None:
        # the baseline is read before anything is written: a bench may be compared with the one it takes the place of
        named = {"models": models, "checkpoint": checkpoint, "data": data}
        for name in NAMES:
            keep_inputs({"output": asked / name}, named)
        keep_folder(asked, (*NAMES, "parts", *(["models"] if sweep else [])), force)
    own = find_metric(metric) if isinstance(metric, str) and metric else (metric or None)
    earlier = path_of("baseline", baseline)
    if earlier is not None:  # said before hours of work
        check_alike(read(earlier), where, earlier)
    with contextlib.ExitStack() as stack:
        folder = asked or stack.enter_context(Scratch())
        files, names, modules = given(models, stack)
        with progress("checkpoint", None) as advance:
            source = checkpoint_of(checkpoint, weights=True, progress=advance)
        wanted = Wanted(
            models=files,
            names=names,
            modules=modules,
            checkpoint=source,
            factory=factory,
            data=data_of(data),
            text=text,
            labels=labels_of(label),
            limit=limit,
            max_length=max_length,
            torch=torch,
            batchings=ways,
            torchao=torchao,
            sweep=several(sweep),
            provider=where,
            output=folder,
            resume=resume,
            verify=verify,
            by_length=bool(several(seq)),
        )
        found = setup(wanted, progress)
        course = Course(
            points=grid_of(batch, seq, ways),
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
