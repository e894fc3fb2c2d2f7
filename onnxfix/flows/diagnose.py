"""A diagnosis as asked for by keywords, of a file or of a model in memory, and its report in every format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.report import Report
from onnxfix.render.shown import Shown

if TYPE_CHECKING:
    from onnxfix.nouns.layer_noise import Against
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.process.progress import Advance
    from onnxfix.render.shown import Summary

    from .inputs import Inputs
    from .source import ModelLike

ROWS = 128
"""Texts of a table that `against` looks at."""


@dataclass(frozen=True, repr=False)
class Diagnosis(Report, Shown):
    """A report that can be shown and written; `files` are the model's own, which no report may overwrite."""

    files: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {severity}s" for severity, count in self.summary().items())
        return f"<Diagnosis of {self.model['path']} on {self.target['provider']}: {counts}>"

    def to_html(self) -> str:
        """The page with the placement drawn: one file, which loads nothing else."""
        from onnxfix.diagnose.registry import all_rules
        from onnxfix.diagnose.report import html

        return html.page(self, all_rules())

    def to_markdown(self) -> str:
        """A pull request comment."""
        from onnxfix.diagnose.report import markdown

        return markdown.comment(self)

    def to_sarif(self) -> str:
        """SARIF 2.1.0, for code scanning."""
        from onnxfix import __version__
        from onnxfix.diagnose.registry import all_rules
        from onnxfix.diagnose.report import sarif
        from onnxfix.render.shown import json_text

        return json_text(sarif.document(self, all_rules(), __version__, Path.cwd()))

    def in_short(self) -> Summary:
        from onnxfix.diagnose.report.places import groups
        from onnxfix.render.shown import Summary

        found = [(g.first, p) for g in groups(self.findings) for p in g.places()]
        rows = [
            (f.severity.value, f"{f.code} {f.name}", str(place), place.first.message, f.repair) for f, place in found
        ]
        copies = f"{len(self.plan.copies)} Memcpy on {self.target['provider']}"
        linears = f"{self.quantization['quantized']} of {self.quantization['linears']} linears quantized"
        title = f"{self.model['path']}: {copies}, {linears}"
        return Summary.of(title, ("severity", "finding", "where", "what", "repair"), rows)


def diagnose(
    model: ModelLike,
    *,
    target: str | None = None,
    engine: str = "auto",
    batch: int = 64,
    seq: int = 512,
    against: ModelLike | None = None,
    calibrate: Inputs | None = None,
    text: str = "text",
    checkpoint: str | Path | None = None,
    custom_op_library: Sequence[str | Path] = (),
    timeout: float | None = None,
    progress: Advance = lambda step: None,
) -> Diagnosis:
    """Say why a model is slow, wrong or not really quantized on a target, without a GPU.

    `target` is the one that repair made the model for, else cuda. `batch` rows of `seq` tokens are what bytes and
    times are stated for. `against`: the float model that this one was quantized from; both are run, on `calibrate`
    (a path, a polars frame, or feeds) or made-up inputs, and the layers that lose most are named. `timeout`:
    seconds after which it gives up. Raises OnnxfixError.
    """
    from onnxfix.diagnose.placement.optimised import compiler

    compiler.shared().start()  # its imports run beside ours and beside reading the model
    from onnxfix.diagnose import run
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.plan import Sizes
    from onnxfix.nouns.process.deadline import limited
    from onnxfix.nouns.provenance import made_for
    from onnxfix.nouns.runtime.provider import providers
    from onnxfix.nouns.target import Target

    from .advice import addressed, float_original, next_step
    from .outputs import path_of
    from .source import on_disk
    from .values import at_least, several

    at_least("batch", batch, 1, whole=True)
    at_least("seq", seq, 1, whole=True)
    at_least("timeout", timeout, 0)
    given = Target.resolve(target, engine) if target is not None else None
    folder = path_of("checkpoint", checkpoint, "a folder")
    with on_disk(model) as source, limited("diagnose", timeout, source.bytes, progress) as advance:
        opened = Model.look(source.path, tuple(map(Path, several(custom_op_library))))
        recorded = made_for(opened.ir) if given is None else ""
        where = given or Target.resolve(recorded if recorded in map(str, providers()) else "cuda", engine)
        measured = None if opened.faults else _measured(opened, against, calibrate, text, folder, advance)
        report = run.diagnose(opened, where, advance, Sizes(batch, seq), against=measured)
    path = source.path if source.given is None else None
    original = Path(against) if isinstance(against, str | Path) else float_original(opened, path)
    report = addressed(report, path, opened.custom_op_libraries, original)
    report = replace(report, next_step=next_step(report, opened, path))
    shown = dict(vars(report))
    if recorded == where.provider.name:
        shown["target"] = {**report.target, "from": "the file's record"}
    if source.given is not None:
        shown["model"] = {**report.model, "path": str(source.shown)}
    return Diagnosis(**shown, files=(*opened.external_files, *opened.custom_op_libraries))


def _measured(
    quantized: Model,
    against: ModelLike | None,
    inputs: Inputs | None,
    column: str,
    checkpoint: Path | None,
    progress: Advance,
) -> Against | None:
    """What running it beside its float original shows; None where that was not asked for."""
    if against is None:
        if inputs is not None:
            raise OnnxfixError(
                f"{arg('calibrate')} needs {arg('against')}", "name the float model that this one was made from"
            )
        return None
    from onnxfix.eval.inputs.feeds import STEPS, make_feeds
    from onnxfix.nouns.model import Model

    from .against.against import against as held_against
    from .inputs import feeds_of
    from .source import on_disk

    libraries = quantized.custom_op_libraries
    with on_disk(against) as source:
        reference = Model.open(source.path, libraries)
        progress("inputs")
        if inputs is None:
            feeds = make_feeds(reference, steps=STEPS) or make_feeds(reference)
        else:
            feeds = feeds_of(inputs, source.path, libraries=libraries, checkpoint=checkpoint, text=column, rows=ROWS)
        return held_against(reference, quantized, feeds, progress)
