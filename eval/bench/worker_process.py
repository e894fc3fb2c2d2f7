"""The child side of a worker: loads one variant, runs and times it, and knows how much memory that took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxfix.eval.inputs.workload import Arrays
from onnxfix.eval.roofline.peak_rates import Peaks
from onnxfix.eval.run import energy
from onnxfix.eval.run.engine import Engine, Loaded
from onnxfix.eval.run.runners import LoadFailure, RunFailure
from onnxfix.nouns.errors import OnnxfixError, one_line
from onnxfix.nouns.runtime.provider import named

from .variant import Variant
from .worker import Memory, Opened, Settings, Timed

WARM_RUNS, WARM_S = 10, 20.0


class Host:
    """The loaded variant and the memory of the process before it was loaded."""

    def __init__(self) -> None:
        self._loaded: Loaded | None = None
        self._before = Memory(0, None)
        self._cuda = False
        self._on_device = False

    def prepare(self, engine: Engine, threads: int) -> None:
        """Import what every variant of the engine needs."""
        engine.start(threads)

    def open(self, variant: Variant, settings: Settings) -> Opened:
        self._cuda = bool(named(settings.provider).device)
        self._on_device = self._cuda and variant.engine.on_provider
        free, used = self._vram()
        self._before = Memory(peak_rss(), used, vram_free=free)
        start = time.perf_counter()
        found = variant.engine.load(
            variant.source, provider=settings.provider, threads=settings.threads, name=variant.name
        )
        self._loaded = found
        return Opened(time.perf_counter() - start, found.weights_bytes, list(found.runner.output_names))

    def run(self, arrays: Arrays) -> Arrays:
        assert self._loaded is not None
        outputs = self._loaded.runner.run(self._loaded.inputs(arrays))
        # the parent may lack ml_dtypes, which bfloat16 arrays need; fp32 holds each of their values
        return {
            n: a if a.dtype.kind in "biuf" and a.dtype.isbuiltin else a.astype(np.float32) for n, a in outputs.items()
        }

    def warm(self, arrays: Arrays) -> None:
        """At least 3 runs, at most 10 or 20 s: until one takes no less than 90 % of the shortest before it.

        A first run allocates and compiles; torch.compile and TensorRT spend minutes in it.
        """
        call = self._prepared(arrays)
        taken = [_seconds(call), _seconds(call)]
        start = time.perf_counter()
        while len(taken) < WARM_RUNS and time.perf_counter() - start < WARM_S:
            taken.append(_seconds(call))
            if taken[-1] >= 0.9 * min(taken[:-1]):
                return

    def time(self, batches: Sequence[Arrays]) -> Timed:
        calls = [self._prepared(arrays) for arrays in batches]
        calls[0]()
        before = energy.joules() if self._cuda else None
        seconds = [_seconds(call) for call in calls]
        after = energy.joules() if self._cuda else None
        return Timed(seconds, after - before if before is not None and after is not None else None)

    def profile(self, variant: Variant, settings: Settings, arrays: Arrays, peaks: Peaks) -> dict[str, Any]:
        from .profiling import document

        return document(variant, settings, arrays, peaks)

    def memory(self) -> Memory:
        vram, before = self._vram()[1], self._before.vram
        # the figure is of the whole device: it falls below the first one when another process frees memory
        more = max(vram - before, 0) if vram is not None and before is not None and self._on_device else None
        free = self._before.vram_free
        most = max(peak_rss() - self._before.peak_rss, 0)
        return Memory(most, more, most, self._before.peak_rss, free)

    def _prepared(self, arrays: Arrays) -> Callable[[], object]:
        assert self._loaded is not None
        return self._loaded.runner.prepared(self._loaded.inputs(arrays))

    def _vram(self) -> tuple[int | None, int | None]:
        """Bytes free and in use by everybody on the current CUDA device; None on the CPU and without torch."""
        if not self._cuda:
            return None, None
        with contextlib.suppress(ImportError, RuntimeError, AssertionError):
            import torch

            free, total = torch.cuda.mem_get_info()
            return int(free), int(total - free)
        return None, None


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_rss() -> int:
    """Peak resident bytes of this process.

    From /proc where there is one: `ru_maxrss` of a child starts at the peak of the parent it was forked from. Windows
    has neither.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def answer(request: tuple[str, tuple[Any, ...]]) -> Any:
    """One of the host's verbs with its arguments. Raises OnnxfixError with what the runtime said, on one line."""
    verb, arguments = request
    try:
        return getattr(_HOST, verb)(*arguments)
    except Exception as error:  # whatever a variant raises is a row of the report, never the end of the bench
        cause = _cause(error)
        raise cause if isinstance(cause, OnnxfixError) else OnnxfixError(one_line(cause)) from error


def _cause(error: Exception) -> BaseException:
    """The runtime's own error inside ours: the row already names the variant."""
    cause = error.__cause__
    ours = isinstance(error, (LoadFailure, RunFailure))
    return cause if ours and cause is not None and not isinstance(cause, OnnxfixError) else error


_HOST = Host()
