"""What a command costs as a process of its own: seconds on the clock and memory, of it and of the processes it starts.

Only the standard library is imported here: Linux counts what the parent held at the fork into a child's ru_maxrss, so a
measuring process that has loaded onnx or torch would report its own memory as that of a small command.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

MB = 1e6
SAMPLE_SECONDS = 0.02


class CommandFailedError(Exception):
    """The command ended with an exit code that means it did not do its work. The text is the end of its stderr."""


@dataclass(frozen=True)
class Cost:
    """`seconds`: wall time from start to exit; `cpu_seconds`: of all its processes, which a busy machine changes less.
    `resident_mb`: the kernel's peak of resident memory of the largest process (ru_maxrss of wait4, what
    `/usr/bin/time -v` prints), in MB of 10^6 bytes. `tree_mb`: the peak of the sum over all its processes, pages they
    share counted once (Pss), sampled every 20 ms; 0 where it was not."""

    seconds: float
    cpu_seconds: float
    resident_mb: float
    tree_mb: float = 0.0


def run(command: Sequence[str], accepted: Sequence[int] = (0,), sampled: bool = False) -> Cost:
    """Run a command to its end. Raises CommandFailedError for an exit code that is not in `accepted`.

    Sampling stops the command for as long as its pages are counted, so a sampled run says nothing about time.
    """
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        child = subprocess.Popen(list(command), stdout=subprocess.DEVNULL, stderr=errors)
        with _sampling(child.pid) if sampled else contextlib.nullcontext([0.0]) as peaks:
            _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
        if child.returncode not in accepted:
            errors.seek(0)
            tail = errors.read().decode(errors="replace").strip()[-400:]
            raise CommandFailedError(f"{' '.join(command)} ended with {child.returncode}: {tail}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / MB, peaks[0])


def measure(command: Sequence[str], runs: int, accepted: Sequence[int] = (0,)) -> Cost:
    """Median times and largest memory of `runs` runs and one more that is sampled and not timed.

    From the second run on what is read from files comes from the page cache.
    """
    watched = run(command, accepted, sampled=True)
    costs = [run(command, accepted) for _ in range(runs)]
    seconds, cpu_seconds = median(c.seconds for c in costs), median(c.cpu_seconds for c in costs)
    return Cost(seconds, cpu_seconds, max(c.resident_mb for c in costs), watched.tree_mb)


@contextlib.contextmanager
def _sampling(pid: int) -> Iterator[list[float]]:
    """A list of one number: the largest sum so far, in MB."""
    done, peaks = threading.Event(), [0.0]

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            peaks[0] = max(peaks[0], sum(_proportional_bytes(p) for p in _tree(pid)) / MB)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield peaks
    finally:
        done.set()
        sampler.join()


def _tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found, pending = [], [pid]
    while pending:
        current = pending.pop()
        found.append(current)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{current}/task").iterdir():
                pending += [int(child) for child in (task / "children").read_text().split()]
    return found


def _proportional_bytes(pid: int) -> int:
    """Pss of a process, 0 once it has gone."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
