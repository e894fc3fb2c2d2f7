"""onnxfix: find out why an ONNX export is slow, wrong or not really quantized, repair the graph, prove the result.

    import onnxfix
    onnxfix.diagnose("model.onnx").findings
    onnxfix.repair("model.onnx", precision="fp16").output
    onnxfix.bench(["model.onnx", "model.fp16.onnx"]).best

Keywords are those of the command line; docs/python.md shows every function.
"""

from __future__ import annotations

import importlib
import os
import sys

if sys.argv[:1] == ["-m"] and "onnxfix" in sys.orig_argv and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109
    # `python -m onnxfix` looks for modules in the current folder first, and there may be a json.py beside a model:
    # so not at all, or, where this package is in it, last
    _here = sys.path.pop(0)
    if os.path.dirname(os.path.dirname(os.path.abspath(__file__))) == _here:  # noqa: PTH100, PTH120
        sys.path.append(_here)

# ONNX Runtime looks for it once, when it is imported: see nouns/runtime/onnx_runtime.py
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import bench as bench
    from .api import diagnose as diagnose
    from .api import diagnose_all as diagnose_all
    from .api import diff as diff
    from .api import doctor as doctor
    from .api import explain as explain
    from .api import export as export
    from .api import extract as extract
    from .api import optimize as optimize
    from .api import repair as repair
    from .flows.session import Session as Session
    from .nouns.errors import OnnxfixError as OnnxfixError
    from .nouns.finding import Finding as Finding
    from .nouns.model import Model as Model
    from .nouns.report import Report as Report
    from .nouns.target import Target as Target
    from .surgery.recipes import Wish as Wish
    from .version import __version__ as __version__

# Handed on by name at first use: importing onnxfix imports nothing that takes time.
_HOMES = {
    **dict.fromkeys(("diagnose", "repair", "optimize", "export", "bench", "explain", "extract"), "onnxfix.api"),
    **dict.fromkeys(("diagnose_all", "diff", "doctor"), "onnxfix.api"),
    "Session": "onnxfix.flows.session",
    "OnnxfixError": "onnxfix.nouns.errors",
    "Finding": "onnxfix.nouns.finding",
    "Model": "onnxfix.nouns.model",
    "Report": "onnxfix.nouns.report",
    "Target": "onnxfix.nouns.target",
    "Wish": "onnxfix.surgery.recipes",
    "__version__": "onnxfix.version",
}
__all__ = list(_HOMES)


class _Door:
    """A function of the door that a package shares its name with: `onnxfix.diagnose(...)` beside
    `onnxfix.diagnose.rules`. To `help` and `inspect` it is the function, and what that lacks is the package's."""

    def __init__(self, name: str) -> None:
        self.__name__, self.__module__ = name, "onnxfix.api"
        self.__qualname__ = name
        importlib.import_module(f"{__name__}.{name}")

    @property
    def __wrapped__(self) -> Any:
        return getattr(importlib.import_module("onnxfix.api"), self.__name__)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        doc: str | None = self.__wrapped__.__doc__
        return doc

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.__wrapped__(*args, **keywords)

    def __get__(self, instance: object, owner: type | None = None) -> _Door:
        return self  # having this, it is a routine to pydoc

    def __getattr__(self, name: str) -> Any:
        if name == "__name__":  # of a copy under way
            raise AttributeError(name)
        return getattr(importlib.import_module(f"{__name__}.{self.__name__}"), name)

    def __repr__(self) -> str:
        return f"<function {__name__}.{self.__name__}, and the package of its parts>"


# After the packages, which importing makes attributes of this one.
diagnose, export = _Door("diagnose"), _Door("export")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'onnxfix' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
