"""export(): build the torch model, run an exporter, verify, record provenance, write; the next exporter on failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onnxfix.export.models.build import build
from onnxfix.export.models.torch_model import TorchModel
from onnxfix.export.workarounds.stack_traces import drop_stack_traces
from onnxfix.export.workarounds.sums_of_dimensions import order_sums
from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.model import Model, staged
from onnxfix.nouns.weights.placing import conventional

from .quiet import quiet
from .record import provenance_of
from .spec import ExportFailure, ExportResult, ExportSpec
from .torch_dynamo import export_dynamo
from .torch_legacy import export_legacy
from .verify import verify

Progress = Callable[[str], None]


def export(spec: ExportSpec, progress: Progress = lambda step: None, given: TorchModel | None = None) -> ExportResult:
    """Export and write `spec.output`; nothing is written when the export or its verification fails.

    `auto` runs the dynamo exporter, then the legacy one, and keeps the reason in the notes. `given`: the model to
    export instead of a checkpoint's. Raises OnnxfixError (for a
    failed exporter or verification its subclass ExportFailure).
    """
    spec.check(needs_source=given is None)
    progress("loading the torch model")
    with quiet():
        torch_model = given or build(spec.checkpoint, spec.factory, spec.attn, spec.task, pooled=spec.laid is None)
    if spec.laid is not None:
        spec.laid.check(torch_model.output_names, torch_model.input_names)
    exporters = ["dynamo", "legacy"] if spec.exporter == "auto" else [spec.exporter]
    notes: list[str] = []
    for exporter in exporters:
        try:
            return _run_exporter(exporter, spec, torch_model, notes, progress)
        except ExportFailure as error:
            if exporter == exporters[-1]:
                if not notes:
                    raise
                raise ExportFailure(f"{notes[0]}; {exporter}: {error.message.marked}", error.next_step) from error
            notes.append(f"{exporter} given up: {error.message}")
    raise AssertionError("unreachable: the last exporter returns or raises")


def _run_exporter(
    exporter: str, spec: ExportSpec, torch_model: TorchModel, earlier: list[str], progress: Progress
) -> ExportResult:
    with staged(spec.output.parent) if spec.laid is None else spec.laid.stage() as stage:
        raw = stage / "raw.onnx"
        progress(f"exporting with {exporter}")
        if exporter == "legacy":
            name, found = export_legacy(torch_model, raw, spec.opset)
        else:
            name, found = export_dynamo(torch_model, raw, spec.opset, spec.optimize)
        notes = [*torch_model.notes, *earlier, *found]
        model = Model.open(raw)
        order_sums(model)
        notes += spec.laid.notes(model) if spec.laid is not None else []
        comparison = verify(raw, model, torch_model, spec.output.name, progress) if spec.verify else None
        progress("writing")
        drop_stack_traces(model)
        provenance_of(spec, torch_model, model, name, notes, comparison).write(model.ir)
        path = _written(model, spec, stage)
    return _result(path, name, notes, comparison, torch_model)


def _written(model: Model, spec: ExportSpec, stage: Path) -> Path:
    if spec.laid is None:
        return model.save(spec.output, force=spec.overwrite)
    file = model.write(stage / spec.output.name)
    return spec.laid.place(file, [data for data in (conventional(file),) if data.exists()])


def _result(
    path: Path, name: str, notes: list[str], comparison: Comparison | None, torch_model: TorchModel
) -> ExportResult:
    written = Model.open(path)
    return ExportResult(
        path=path,
        exporter=name,
        notes=tuple(notes),
        comparison=comparison,
        inputs=tuple(torch_model.input_names),
        outputs=tuple(torch_model.output_names),
        opset=written.opset,
        nodes=sum(1 for _ in written.nodes()),
        file_bytes=written.file_bytes,
    )
