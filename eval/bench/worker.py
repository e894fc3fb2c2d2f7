"""Worker: one variant in a process of its own, so that its memory is its own and its crash is nobody else's."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onnxfix.eval.inputs.workload import Arrays
from onnxfix.nouns.errors import OnnxfixError, Voice, one_line, python
from onnxfix.nouns.process.children import Child, CrashedError

from .variant import Variant

if TYPE_CHECKING:
    from onnxfix.eval.roofline.peak_rates import Peaks

# Long enough for a multi-gigabyte model on a slow disk or a batch on a slow CPU, short enough to end a deadlock.
REPLY_LIMIT_S = 1800.0


class VariantFailure(Exception):  # noqa: N818  a result of the bench, not an error of the tool
    """The variant failed; the message is one line without the variant's name."""


@dataclass(frozen=True)
class Settings:
    """How every variant runs. `threads` 0 leaves the number of CPU threads to each runtime; `voice` (a function that
    another process can import) says what fails."""

    provider: Literal["cpu", "cuda"] = "cpu"
    threads: int = 0
    voice: Voice = python


@dataclass(frozen=True)
class Opened:
    """What a worker knows once its variant is loaded. `weights_bytes` is 0 for ONNX files."""

    load_s: float
    weights_bytes: int
    output_names: list[str]


@dataclass(frozen=True)
class Memory:
    """Bytes beyond the same process with the runtime imported and nothing loaded; `vram` None where unknown.

    `peak_rss` is the peak of the host memory. `vram` is what the whole device holds more than before the load: the
    arenas of both runtimes never shrink, so after a run it is the peak too.
    """

    peak_rss: int
    vram: int | None
    largest_rss: int = 0
    """The same as `peak_rss` after the largest batch of all that will be timed."""
    base_rss: int = 0
    """What the process took before the load."""
    vram_free: int | None = None
    """What the device had free before the load."""


@dataclass(frozen=True)
class Timed:
    """`seconds`: one figure a batch; `joules`: of the device, over all of them, where it counts energy."""

    seconds: list[float]
    joules: float | None = None


class Worker:
    """Starts the process, which then imports its runtime. `environment`: variables it has beside ours.

    Everything raises VariantFailure when the variant fails or the process dies.
    """

    def __init__(self, variant: Variant, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        # not the child's own temporary folder: torch keeps compiled kernels in it, for the next process to find
        more = {"TMPDIR": tempfile.gettempdir(), **(environment or {})}
        self._variant, self._settings = variant, settings
        self._child = Child("onnxfix.eval.bench.worker_process", more, factories=not isinstance(variant.source, Path))
        self._child.send(("prepare", (variant.engine, settings.threads)))

    def ready(self) -> None:
        """Wait until the process has imported its runtime."""
        self._receive(REPLY_LIMIT_S)

    def open(self) -> Opened:
        """Load the variant."""
        opened: Opened = self._ask("open", self._variant, self._settings)
        return opened

    def run(self, arrays: Arrays) -> Arrays:
        """Output name → array on one batch."""
        outputs: Arrays = self._ask("run", arrays)
        return outputs

    def warm(self, arrays: Arrays) -> None:
        """Run one batch until its time has settled."""
        self._ask("warm", arrays)

    def time(self, batches: Sequence[Arrays]) -> Timed:
        """Seconds a batch. The first batch runs once untimed before: other workers have used the caches since."""
        timed: Timed = self._ask("time", list(batches), limit_s=REPLY_LIMIT_S * (1 + len(batches)))
        return timed

    def profile(self, variant: Variant, settings: Settings, arrays: Arrays, peaks: Peaks) -> dict[str, Any]:
        """Where the time of a batch goes (see bench_profile.document); needs no `open`."""
        found: dict[str, Any] = self._ask("profile", variant, settings, arrays, peaks)
        return found

    def memory(self) -> Memory:
        """Peak memory until now."""
        memory: Memory = self._ask("memory")
        return memory

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._child.alive()

    def close(self) -> None:
        """End the process; safe to call twice and after a failure."""
        self._child.close()

    def _ask(self, verb: str, *arguments: Any, limit_s: float = REPLY_LIMIT_S) -> Any:
        try:
            self._child.send((verb, arguments))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise VariantFailure(f"another process cannot import its factory: {error}") from error
        return self._receive(limit_s)

    def _receive(self, limit_s: float) -> Any:
        try:
            return self._child.answer(limit_s)
        except CrashedError as error:
            last = error.last_line if error.by_signal else ""
            raise VariantFailure(f"its process {error} {last}".rstrip()) from error
        except TimeoutError as error:
            raise VariantFailure(f"its process {error}") from error
        except OnnxfixError as error:
            raise VariantFailure(one_line(error, self._settings.voice)) from error
