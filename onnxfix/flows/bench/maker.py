"""The worker of the workshop: makes one file as the command that a user would type makes it, but without a terminal."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from onnxfix.nouns.errors import OnnxfixError, one_line


def answer(request: tuple[str, Path, dict[str, Any]]) -> None:
    """`export`, `repair` or `optimize` of a source with keywords, or another's converter by its name in
    surgery.engines.

    Raises OnnxfixError.
    """
    gc.set_threshold(200_000, 20, 20)  # graphs are hundreds of thousands of small objects that live to the end
    verb, source, options = request
    try:
        if verb == "export":
            from onnxfix.flows.export import export

            export(source, **options)
        elif verb == "repair":
            from onnxfix.flows.repair.asked import repair

            repair(source, **options)
        elif verb == "optimize":
            from onnxfix.flows.repair.fastest.asked import optimize

            optimize(source, **options)
        else:
            from onnxfix.surgery import engines

            getattr(engines, verb)(source, options["output"])
    except OnnxfixError:
        raise
    except Exception as error:
        raise OnnxfixError(f"internal error: {type(error).__name__}: {one_line(error)}") from error
