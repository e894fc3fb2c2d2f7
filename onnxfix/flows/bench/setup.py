"""What `onnxfix bench` compares: finds the models and the checkpoint behind them, from options and provenance."""

from __future__ import annotations

import functools
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.process.progress import Progress, silent

from .data import Wanted, workload
from .named import Setup, onnx_variant, read_provenance

if TYPE_CHECKING:
    import torch

    from onnxfix.eval.bench.bench import Variant
    from onnxfix.eval.run.engine import Engine
    from onnxfix.nouns.provenance import Provenance

DEFAULT_MODEL = "model.onnx"
_GATHERED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
NO_TORCH = arg("torch", False)


def setup(wanted: Wanted, progress: Progress = silent) -> Setup:
    """Raises OnnxfixError with what to do when models, checkpoint or data cannot be found."""
    from onnxfix.eval.inputs.workload import bucketed

    from .opinions import opinions

    if wanted.sweep:
        from .sweep import sweep

        found = sweep(wanted, progress)
    else:
        found = _named(wanted)
    rows = bucketed(found.workload) if wanted.batchings == ("sorted",) else found.workload
    said, documents = opinions(found.variants, wanted.provider, "cuda" if wanted.sweep else "")
    return replace(found, workload=rows, opinions=said, diagnoses=documents)


def _named(wanted: Wanted) -> Setup:
    """The files that the user names, and torch."""
    paths = list(wanted.models) if wanted.modules else find_models(wanted.models)
    known = {path: read_provenance(path) for path in paths}
    source = find_source(wanted, known)
    notes = _strangers(source, known)
    variants = [onnx_variant(path, provenance, wanted.names.get(path)) for path, provenance in known.items()]
    variants = [*_modules(wanted.modules, variants), *variants]
    # a function that only a file names is not run: the user has to name it
    if source is not None and (not source.factory or wanted.factory) and wanted.torch is not False:
        if importlib.util.find_spec("torch") is None:
            notes.append("torch is not installed: ONNX models only (pip install 'onnxfix[torch]')")
        else:
            variants = [*_torch_variants(source, wanted), *variants]
    return Setup(variants, workload(wanted, source, paths), notes)


def find_models(given: Sequence[Path]) -> list[Path]:
    """The files given, or model.onnx here and the files onnxfix made from it (model.*.onnx)."""
    if not given:
        default = Path(DEFAULT_MODEL)
        if not default.is_file():
            raise OnnxfixError(f"no {DEFAULT_MODEL} in this folder", "name an ONNX file")
        return [default, *sorted(Path().glob("model.*.onnx"))]
    for path in given:
        if not path.is_file():
            raise OnnxfixError(f"{path} {'is a directory' if path.is_dir() else 'does not exist'}", "name .onnx files")
    return list(dict.fromkeys(given))


def find_source(wanted: Wanted, known: dict[Path, Provenance | None]) -> Provenance | None:
    """Where torch's side and the tokenizer come from: the options, else the first file that says so.

    None when nothing of it is needed (--no-torch without --data).
    """
    from onnxfix.nouns.provenance import Provenance

    found = next((p for p in known.values() if p is not None and (p.checkpoint or p.factory)), None)
    checkpoint = str(wanted.checkpoint.resolve()) if wanted.checkpoint else ""
    if wanted.checkpoint and not wanted.checkpoint.is_dir():
        raise OnnxfixError(f"checkpoint {wanted.checkpoint} is not a folder", "name the folder with config.json")
    if wanted.factory:
        recorded = found.checkpoint if found is not None else ""
        return replace(
            found or Provenance(), factory=wanted.factory, checkpoint=checkpoint or recorded, checkpoint_sha256=""
        )
    if checkpoint:
        return replace(found or Provenance(), checkpoint=checkpoint, checkpoint_sha256="", factory="")
    if found is not None and found.factory and wanted.torch:
        # A file may name any importable function: only the user says that one may run.
        raise OnnxfixError(
            f"the model was exported through the function {found.factory}, which is not run because a file says so",
            f"allow it with {arg('factory', found.factory)}, or compare ONNX files alone with {NO_TORCH}",
        )
    if found is not None and found.checkpoint and not Path(found.checkpoint).is_dir():
        raise OnnxfixError(
            f"{found.checkpoint}, which the model was exported from, is gone",
            f"name it with {arg('checkpoint', 'DIR')}",
        )
    if found is None and (wanted.torch or wanted.data is not None):
        raise OnnxfixError(
            f"{', '.join(str(path) for path in known)}: no record of the checkpoint it was exported from",
            f"name it with {arg('checkpoint', 'DIR')}, or compare ONNX files alone with {NO_TORCH}",
        )
    return found


def _strangers(source: Provenance | None, known: dict[Path, Provenance | None]) -> list[str]:
    """Notes on files exported from another checkpoint than the one compared with."""
    digest = source.checkpoint_sha256 if source else ""
    return [
        f"{path} was exported from another checkpoint"
        for path, provenance in known.items()
        if digest and provenance and provenance.checkpoint_sha256 not in ("", digest)
    ]


def _modules(modules: Mapping[str, torch.nn.Module], files: Sequence[Variant]) -> list[Variant]:
    """Variants of torch modules in memory, whose outputs are named as the files' where there are as many.

    A module travels to the process that runs it by pickle: its class has to be importable there.
    """
    from onnxfix.eval.bench.digest import of_code
    from onnxfix.eval.bench.variant import Variant
    from onnxfix.eval.run.engines.pytorch import PyTorch

    outputs = next((names for names in (v.file_outputs() for v in files) if names), ["output"])
    found = []
    for name, module in modules.items():
        parameters = inspect.signature(module.forward).parameters.values()
        takes = [p.name for p in parameters if p.kind not in _GATHERED]
        needs = tuple(p.name for p in parameters if p.name in takes and p.default is p.empty)
        gives = list(getattr(module, "output_names", outputs))
        source = functools.partial(_as_it_is, module, takes, gives)
        found.append(Variant(name, PyTorch(), source, stamp=of_code(type(module)), needs=needs))
    return found


def _as_it_is(
    module: torch.nn.Module, inputs: list[str], outputs: list[str]
) -> tuple[torch.nn.Module, list[str], list[str]]:
    return module, inputs, outputs


def _torch_variants(source: Provenance, wanted: Wanted) -> list[Variant]:
    from onnxfix.eval.run.engine import NAMED
    from onnxfix.export.models.checkpoint import Checkpoint

    from .rows import module_rows, module_variant

    if source.checkpoint_sha256:
        if Checkpoint.open(source.checkpoint).sha256() != source.checkpoint_sha256:
            raise OnnxfixError(
                f"{source.checkpoint} changed since the model was exported from it",
                f"export again, or name the right one with {arg('checkpoint', 'DIR')}",
            )
        source = replace(source, checkpoint_sha256="")  # checked once here, not within the time of each load
    rows = (row for row in module_rows() if NAMED in row.sweeps and _is_wanted(row.engine, wanted))
    return [module_variant(row, source) for row in rows]


def _is_wanted(engine: Engine, wanted: Wanted) -> bool:
    asked: bool | None = getattr(wanted, engine.option) if engine.option else True
    return engine.is_installed() if asked is None else asked
