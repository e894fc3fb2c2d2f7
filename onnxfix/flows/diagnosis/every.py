"""Several models diagnosed: files, and all that lie in folders, each in a process of its own, whose crash is a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.flows.values import at_least, several
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.process.children import Child, CrashedError

from .gate import Gate
from .several import Diagnoses, Failed

if TYPE_CHECKING:
    from onnxfix.nouns.process.progress import Advance

    from .diagnosis import Diagnosis

WORKER = "onnxfix.flows.diagnosis.worker"
OF_ALL = ("baseline", "update_baseline")
"""Keywords that are of all reports together."""


def diagnose_all(
    models: str | Path | Sequence[str | Path],
    *,
    jobs: int = 1,
    progress: Advance = lambda step: None,
    **keywords: Any,
) -> Diagnoses:
    """Diagnose files, and every `.onnx` file in folders and below them, `jobs` at a time.

    `keywords` are those of `diagnose`, for each model. One that cannot be read, or that ends the process which reads
    it, is among `failed`. Raises OnnxfixError where there is no model, or a keyword is wrong.
    """
    at_least("jobs", jobs, 1, whole=True)
    files = list(found([Path(each) for each in several(models)]))
    given = {name: keywords.get(name) for name in ("max_memcpy", "max_bytes", "min_quantized", "baseline")}
    gate = Gate.of(
        keywords.get("select", ()), keywords.get("ignore", ()), **given,
        update_baseline=bool(keywords.get("update_baseline")),
    )  # fmt: skip
    each = {name: value for name, value in keywords.items() if name not in OF_ALL}
    done: list[Diagnosis | Failed] = []
    with ThreadPoolExecutor(jobs) as pool:
        for file, answer in zip(files, pool.map(lambda file: _one(file, each), files), strict=True):
            progress(f"{len(done) + 1:,} of {len(files):,}: {file}")
            done.append(answer)
    reports = gate.without_accepted([report for report in done if not isinstance(report, Failed)])
    return Diagnoses(tuple(reports), tuple(report for report in done if isinstance(report, Failed)))


def found(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as named, and those of folders in order; each once. Raises OnnxfixError for a folder without a model and
    for what is not there."""
    seen = set[Path]()
    for path in paths:
        if not path.exists():
            raise OnnxfixError(f"{path} does not exist", "check the path")
        files = sorted(path.rglob("*.onnx")) if path.is_dir() else [path]
        if not files:
            raise OnnxfixError(f"there is no .onnx file in {path} or below it", "name a file, or another folder")
        for file in files:
            if file.is_file() and file.resolve() not in seen:
                seen.add(file.resolve())
                yield file
    if not seen:
        raise OnnxfixError("there is no model to diagnose", "name files or folders")


def _one(file: Path, keywords: dict[str, Any]) -> Diagnosis | Failed:
    try:
        with Child(WORKER) as child:
            report: Diagnosis = child.ask((file, keywords))
            return report
    except CrashedError as error:
        return Failed(file, f"the process that reads it {error}")
    except (OnnxfixError, TimeoutError) as error:
        return Failed(file, str(error))
