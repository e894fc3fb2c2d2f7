"""The demo: the bundled classifier exported three ways, diagnosed, repaired and benched, before beside after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.report import Report
from onnxfix.nouns.runtime.provider import named
from onnxfix.nouns.target import Target
from onnxfix.surgery import engines
from onnxfix.surgery.recipes import Wish

if TYPE_CHECKING:
    from onnxfix.eval.bench.bench import BenchReport

Progress = Callable[[str], None]
STEPS = 16
"""Progress steps before the bench: three exports, three diagnoses, three conversions by others, seven repairs."""

EXPORTS = {"legacy": "legacy", "dynamo": "dynamo", "unoptimized": "dynamo, no optimizer"}


@dataclass
class Row:
    """One model of the demo. `failure` is set when it could not even be made; `said` is what onnxfix says about it."""

    name: str
    exporter: str
    path: Path
    after: bool = False
    failure: str = ""
    said: str = ""


@dataclass
class Demo:
    """All rows, what diagnose said about the raw exports, and the bench over everything that could be made."""

    folder: Path
    rows: list[Row] = field(default_factory=list)
    reports: dict[str, Report] = field(default_factory=dict)
    bench: BenchReport | None = None

    def as_dict(self) -> dict[str, object]:
        return {
            "schema": "onnxfix.demo/1",
            "folder": str(self.folder),
            "reports": {name: report.as_dict() for name, report in self.reports.items()},
            "rows": [
                {"variant": r.name, "exporter": r.exporter, "after": r.after, "path": str(r.path), "result": r.said}
                for r in self.rows
            ],
            "bench": self.bench.as_dict() if self.bench else None,
        }


def make(folder: Path, progress: Progress = lambda step: None) -> Demo:
    """Everything but the bench: models in `folder`, each with what there is to say about it."""
    from onnxfix.diagnose.run import diagnose

    folder.mkdir(parents=True, exist_ok=True)
    demo = Demo(folder)
    cuda = Target.resolve("cuda")
    for name, exporter in EXPORTS.items():
        path = folder / f"{name}.onnx"
        progress(f"exporting: {exporter}")
        _export(name, path)
        progress(f"diagnosing {path.name}")
        demo.reports[name] = diagnose(Model.open(path), cuda)
        demo.rows.append(Row(f"onnx-fp32 ({name})", exporter, path, said=_said(demo.reports[name])))
    _by_others(demo, progress)
    _repaired(demo, progress)
    return demo


def _export(name: str, path: Path) -> None:
    from onnxfix.eval.demo import CHECKPOINT
    from onnxfix.export.run import export
    from onnxfix.export.spec import ExportSpec

    exporter: Literal["legacy", "dynamo"] = "legacy" if name == "legacy" else "dynamo"
    export(ExportSpec(CHECKPOINT, path, exporter=exporter, optimize=name != "unoptimized", overwrite=True))


def _by_others(demo: Demo, progress: Progress) -> None:
    """The three conversions of the report that gave up on ONNX, each as it was run there."""
    tries: Sequence[tuple[str, str, str, Callable[[Path, Path], Path]]] = (
        ("unoptimized", "int8", "ORT quantize_dynamic", engines.runtime_int8_past_inference),
        ("legacy", "fp16", "onnxconverter-common", engines.common_fp16),
        ("legacy", "int8", "ORT quantize_dynamic", engines.runtime_int8_dynamic),
    )
    for name, kind, engine, convert in tries:
        progress(f"{engine} on {name}.onnx")
        row = Row(f"onnx-{kind} ({name})", engine, demo.folder / f"{name}.others-{kind}.onnx")
        demo.rows.append(row)
        try:
            convert(demo.folder / f"{name}.onnx", row.path)
            row.said = _verdict(row.path, "cuda")
        except OnnxfixError as error:
            row.failure = row.said = error.sentence


def _repaired(demo: Demo, progress: Progress) -> None:
    from onnxfix.flows.repair.repair import repair

    wishes = [("unoptimized", Wish(Target.resolve("cuda"), "fp32"))]
    for name in EXPORTS:
        wishes.append((name, Wish(Target.resolve("cuda"), "fp16")))
        wishes.append((name, Wish(Target.resolve("cpu"), "fp32", int8="dynamic")))
    for name, wish in wishes:
        kind = wish.kind
        progress(f"repairing {name}.onnx to {kind}")
        result = repair(demo.folder / f"{name}.onnx", wish, demo.folder / f"{name}.{kind}.onnx")
        assert result.output is not None
        row = Row(f"onnx-{kind} ({name})", "onnxfix repair", result.output, after=True)
        row.said = _said(result.after)
        demo.rows.append(row)


def _verdict(path: Path, target: str) -> str:
    from onnxfix.diagnose.run import diagnose

    return _said(diagnose(Model.open(path), Target.resolve(target)))


# What each defect was called in the report this repeats, with the finding that says it now.
WORDS = {
    "K004": "err: does not load",
    "K001": "unusable on CUDA",
    "Q002": "no-op",
    "Q003": "falls back to the CPU on CUDA",
    "P002": "wrong at length",
}


def _said(report: Report) -> str:
    """Errors in the words of WORDS; without any, what there is to praise."""
    plan, quantization = report.plan, report.quantization
    heads = f", {quantization['heads']} heads in float" if quantization["heads"] and quantization["quantized"] else ""
    linears = f"{quantization['quantized']} of {quantization['linears']} linears in int8{heads}"
    copies = f"{len(plan.copies)} Memcpy"
    errors = Counter(f.code for f in report.findings if f.severity == "error")
    if not errors:
        return f"works: {linears if named(str(report.target['provider'])).is_host else copies + ' on CUDA'}"
    code = next((c for c in ("K004", "Q002", "Q003", *WORDS) if c in errors), next(iter(errors)))
    if code == "K004":
        return f"{WORDS[code]}, {errors['P001']} type conflicts (K004, P001)"
    return f"{WORDS.get(code, 'defective')}: {linears if code == 'Q002' else copies} ({code})"
