"""`onnxfix bench --sweep`: makes the files of a sweep from a checkpoint, with progress, and finds its data."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model, staged
from onnxfix.nouns.process.progress import Progress, silent

from .data import Wanted, workload
from .named import Setup, onnx_variant, read_provenance

if TYPE_CHECKING:
    from onnxfix.eval.inputs.workload import Workload

CALIBRATION_ROWS, CALIBRATION_BATCH = 128, 8


def sweep(wanted: Wanted, progress: Progress = silent) -> Setup:
    """Rows of the sweeps, and behind them the files that the user names as well. Raises OnnxfixError."""
    from onnxfix.eval import demo
    from onnxfix.nouns.provenance import Provenance

    from .rows import rows_of, variants
    from .workshop import Workshop

    if wanted.torch is False:
        raise OnnxfixError(f"{arg('sweep')} makes its files from torch", f"leave {arg('torch', False)} out")
    checkpoint = (wanted.checkpoint or (None if wanted.factory else demo.CHECKPOINT)) and _folder(wanted)
    source = Provenance(checkpoint=str(checkpoint or ""), factory=wanted.factory)
    rows = workload(wanted, source, [])
    if not wanted.resume:
        from onnxfix.eval.bench.store import FOLDER

        # else a bench cut off while files are made would go on with the figures of the one before
        shutil.rmtree(wanted.output / FOLDER, ignore_errors=True)
    folder = wanted.output / "models"
    shop = Workshop(folder, checkpoint, wanted.factory, verify=wanted.verify, reuse=wanted.resume)
    with progress("making files", len(rows_of(wanted.sweep))) as advance:
        found = variants(wanted.sweep, shop, source, wanted.provider, lambda path: calibration(rows, path), advance)
    if wanted.torchao is False:
        found = [variant for variant in found if variant.engine.option != "torchao"]
    found += [onnx_variant(path, read_provenance(path), wanted.names.get(path)) for path in wanted.models]
    return Setup(found, rows, [f"the files of the rows are in {folder}"])


def calibration(rows: Workload, model: Path) -> Path:
    """At most 128 rows spread evenly over the workload, for ranges of static int8: feeds of the model, beside it."""
    from onnxfix.eval.bench.profiling import fitted
    from onnxfix.eval.inputs.workload import with_defaults

    inputs = {str(value.name) for value in Model.open(model).graph.inputs}
    batches = with_defaults(rows, inputs).batches(CALIBRATION_BATCH)
    count = min(len(batches), CALIBRATION_ROWS // CALIBRATION_BATCH)
    chosen = [fitted(model, batches[i].arrays) for i in np.linspace(0, len(batches) - 1, count).round().astype(int)]
    arrays = {f"{i}/{name}": array for i, feed in enumerate(chosen) for name, array in feed.items()}
    # by its rows: a file made with it says by its name what it was made with
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()[:8]
    path = model.with_name(f"{model.stem}.calibration-{digest}.npz")
    with staged(path.parent) as stage:
        with (stage / path.name).open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        (stage / path.name).replace(path)
    return path


def _folder(wanted: Wanted) -> Path:
    from onnxfix.eval import demo

    folder = wanted.checkpoint or demo.CHECKPOINT
    if not folder.is_dir():
        raise OnnxfixError(f"checkpoint {folder} is not a folder", "name the folder with config.json")
    return folder.resolve()
