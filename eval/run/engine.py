"""Engine: what a variant of a bench runs in, and SweepRow, a row of a bench by name, as data.

Each engine is one module in `engines/`, found by walking that folder.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from onnxfix.nouns.process.discovery import classes_in

from .runners import Array, Runner

Arrays = dict[str, Array]
# Returns (module, input names, output names). Must be picklable: a module-level function or a functools.partial of one.
TorchFactory = Callable[[], tuple[Any, Sequence[str], Sequence[str]]]
Source = Path | TorchFactory
NAMED, SEED, REPAIRED = "named", "seed", "repaired"
"""Beside the files that the user names; as in the report that gave up on ONNX; what onnxfix repair makes."""


@dataclass(frozen=True)
class SweepRow:
    """The torch module, or a file made of an `export`: by onnxfix repair, or another `verb`, with `options` (keywords),
    by a converter `alone`, or as it is. The option PROVIDER is that of the bench.
    """

    name: str
    engine: Engine
    export: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    alone: str = ""
    verb: str = "repair"
    calibrated: bool = False
    sweeps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """`inputs` picks from a batch what the model takes, in its types; `weights_bytes` 0: its file says its size."""

    runner: Runner
    inputs: Callable[[Arrays], Arrays] = dict
    weights_bytes: int = 0


class Engine:
    """One class a module: a frozen dataclass whose options are its fields. Its runner waits for its own device.

    Importing the module imports nothing that may be absent: a bench asks every engine for its rows and its colour.
    """

    kind: ClassVar[str]
    """Its name in reports."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions a report states."""
    modules: ClassVar[tuple[str, ...]] = ()
    """What every variant of it imports; the last is what must be there for its rows to be there unasked."""
    option: ClassVar[str] = ""
    """The option of `onnxfix bench` that asks for its rows or leaves them out; else they are always there."""
    series: ClassVar[int | None] = None
    """Place of its colour in plots; grey without."""
    on_provider: ClassVar[bool] = True
    """Whether it runs on the bench's provider; else on the CPU, whatever that is."""

    @property
    def rank(self) -> int:
        """The first that works of the lowest is the reference: 0 for torch in fp32, 1 for any torch."""
        return 2

    @property
    def is_baseline(self) -> bool:
        """Whether others' times are compared with its own where the user names no baseline."""
        return False

    @property
    def dtype(self) -> str:
        """What it computes in; empty where the file decides."""
        return ""

    @property
    def attention(self) -> str:
        """Another implementation of attention than that of the torch module it is given."""
        return ""

    @classmethod
    def rows(cls) -> tuple[SweepRow, ...]:
        """Rows of a bench that nobody needs to name."""
        return ()

    def target(self, provider: str) -> str:
        """The provider that `onnxfix diagnose` forecasts for it on a bench's; empty where it has nothing to say."""
        return ""

    def profiled(self, provider: str) -> dict[str, Any] | None:
        """Options of `op_profile.profile` to run it there; None where it has no profile."""
        return None

    def is_installed(self) -> bool:
        return all(importlib.util.find_spec(name.partition(".")[0]) is not None for name in self.modules[-1:])

    def start(self, threads: int) -> None:
        """Import what every variant needs, so that only the model counts as its memory and load time.

        What is not installed is left to `load`, which can say what to install, or may not need it (transformers).
        """
        for module in self.modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)

    def load(self, source: Source, *, provider: str, threads: int, name: str) -> Loaded:
        """Ready to run. `threads` 0: its own number. Raises LoadFailure, with what to install where that is why."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, ...]:
        """With the folders that engines are looked for in: another process must find the module as well."""
        from . import engines

        kind = type(self)
        return _again, (tuple(engines.__path__), kind.__module__, kind.__qualname__, vars(self))


def _again(folders: Sequence[str], module: str, name: str, options: dict[str, Any]) -> Engine:
    from . import engines

    engines.__path__.extend(folder for folder in folders if folder not in engines.__path__)
    engine: Engine = getattr(importlib.import_module(module), name)(**options)
    return engine


def all_engines() -> list[type[Engine]]:
    """Every engine, in the order of its module's name."""
    from . import engines

    return [kind for kind in classes_in(engines) if issubclass(kind, Engine)]
