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
    share counted once (Pss), and `child_mb`: resident memory of the largest process it started, sampled every 20 ms; 0
    where they were not. `least_seconds`: the fastest of the runs that `seconds` is the median of. `exit_code`: of the
    last run."""

    seconds: float
    cpu_seconds: float
    resident_mb: float
    tree_mb: float = 0.0
    child_mb: float = 0.0
    least_seconds: float = 0.0
    exit_code: int = 0


def run(command: Sequence[str], accepted: Sequence[int] = (0,), sampled: bool = False) -> Cost:
    """Run a command to its end. Raises CommandFailedError for an exit code that is not in `accepted`.

    Sampling stops the command for as long as its pages are counted, so a sampled run says nothing about time.
    """
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        child = subprocess.Popen(list(command), stdout=subprocess.DEVNULL, stderr=errors)
        with _sampling(child.pid) if sampled else contextlib.nullcontext([0.0, 0.0]) as peaks:
            _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
        if child.returncode not in accepted:
            errors.seek(0)
            tail = errors.read().decode(errors="replace").strip()[-400:]
            raise CommandFailedError(f"{' '.join(command)} ended with {child.returncode}: {tail}")
    return Cost(
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        resident_mb=usage.ru_maxrss * 1024 / MB,
        tree_mb=peaks[0],
        child_mb=peaks[1],
        least_seconds=seconds,
        exit_code=child.returncode,
    )


def measure(command: Sequence[str], runs: int, accepted: Sequence[int] = (0,)) -> Cost:
    """Median times and largest memory of `runs` runs and one more that is sampled and not timed.

    From the second run on what is read from files comes from the page cache.
    """
    watched = run(command, accepted, sampled=True)
    costs = [run(command, accepted) for _ in range(runs)]
    return Cost(
        seconds=median(c.seconds for c in costs),
        cpu_seconds=median(c.cpu_seconds for c in costs),
        resident_mb=max(c.resident_mb for c in costs),
        tree_mb=watched.tree_mb,
        child_mb=watched.child_mb,
        least_seconds=min(c.seconds for c in costs),
        exit_code=costs[-1].exit_code,
    )


@contextlib.contextmanager
def _sampling(pid: int) -> Iterator[list[float]]:
    """Two numbers in MB: the largest sum over the processes so far, and the largest of one that `pid` started."""
    done, peaks = threading.Event(), [0.0, 0.0]

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            memory = {process: _memory(process) for process in _tree(pid)}
            peaks[0] = max(peaks[0], sum(proportional for _, proportional in memory.values()))
            peaks[1] = max([peaks[1], *(resident for process, (resident, _) in memory.items() if process != pid)])

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


def _memory(pid: int) -> tuple[float, float]:
    """Resident memory of a process and its proportional share (Rss, Pss), in MB; 0 once it has gone."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return kilobytes["Rss"] * 1024 / MB, kilobytes["Pss"] * 1024 / MB
    return 0.0, 0.0
