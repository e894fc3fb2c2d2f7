"""The worker of the workshop: makes one file as the command that a user would type makes it, but without a terminal."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from onnxfix.nouns.errors import OnnxfixError, one_line


def answer(request: tuple[str, Path | None, dict[str, Any]]) -> None:
    """`export` or `repair` of a source with options by the names of the command line's, or another's converter by its
    name in surgery.engines. Raises OnnxfixError."""
    gc.set_threshold(200_000, 20, 20)  # graphs are hundreds of thousands of small objects that live to the end
    verb, source, options = request
    try:
        if verb == "export":
            _export(source, **options)
        elif source is not None and verb == "repair":
            _repair(source, **options)
        else:
            from onnxfix.surgery import engines

            getattr(engines, verb)(source, options["output"])
    except OnnxfixError:
        raise
    except Exception as error:
        raise OnnxfixError(f"internal error: {type(error).__name__}: {one_line(error)}") from error


def _export(checkpoint: Path | None, *, force: bool = False, **options: Any) -> None:
    from onnxfix.export.run import export
    from onnxfix.export.spec import ExportSpec

    export(ExportSpec(checkpoint, overwrite=force, **options))


def _repair(
    model: Path,
    *,
    output: Path,
    precision: str = "",
    int8: str = "",
    target: str = "",
    fuse_attention: bool = False,
    calibrate: Path | None = None,
    verify: bool = True,
    force: bool = False,
    **more: Any,
) -> None:
    from onnxfix.diagnose.placement.optimised import compiler

    compiler.shared().start()  # its imports run beside ours and beside reading the model
    from onnxfix.flows.inputs import feeds_of_arrays
    from onnxfix.flows.repair.repair import repair
    from onnxfix.nouns.target import Target
    from onnxfix.surgery.recipes import Wish

    feeds = feeds_of_arrays(calibrate, model)
    wish = Wish(
        # products of int8 activations are for the CPU: asking for them says where the model shall run
        target=Target.resolve(target or ("cpu" if int8 in ("dynamic", "static") else "cuda")),
        precision=precision or ("fp32" if int8 else "fp16"),
        int8=int8,
        fuse=fuse_attention,
        inputs=tuple(feed.arrays for feed in feeds),
        **more,
    )
    repair(model, wish, output, check=verify, calibration=feeds, force=force)
