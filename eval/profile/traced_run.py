"""A session with ONNX Runtime's profiler on: when each operator ran, what shapes it made, and the graph that ran.

The graph that ran is written by the session itself, so that its names are those of the events.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onnxfix.eval.run import session
from onnxfix.eval.run.runners import LoadFailure, RunFailure
from onnxfix.nouns.errors import OnnxfixError, one_line
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.nouns.types.opening.optimised import read

from .events import Event, by_run

Array = np.ndarray[Any, Any]
Feeds = Sequence[Mapping[str, Array]]

# The profiler keeps a million events and drops what comes later without a word.
MOST_EVENTS = 1_000_000


@dataclass(frozen=True)
class TracedRun:
    """One run on one feed. `wall_ms` is around the call, `session_ms` what the profiler says for it."""

    wall_ms: float
    session_ms: float
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Traced:
    """Runs in the order they ran: each feed once, then all again. `graph` is what ran, after optimisation; its weights
    have shapes and no data. `untraced_ms` are the same runs with the profiler off, which costs some 10 us a node."""

    runs: tuple[TracedRun, ...]
    untraced_ms: tuple[float, ...]
    graph: ir.Model


def trace(
    path: Path,
    feeds: Feeds,
    *,
    level: session.Level = "all",
    provider: Literal["cpu", "cuda"] = "cpu",
    threads: int = 0,
    custom_op_libraries: Sequence[Path] = (),
    warmup: int = 1,
    runs: int = 1,
    untraced: int = 0,
    name: str = "",
) -> Traced:
    """Run every feed `warmup`, `runs` and `untraced` times. The optimised graph goes to a temporary folder, which for
    that time holds all weights again. Raises LoadFailure and RunFailure with the runtime's own message about `name`,
    the file's where not given."""
    name = name or path.name
    with Scratch() as folder:
        optimised = folder / "optimised.onnx"
        options = _profiling(session.options(level, threads, custom_op_libraries), optimised)
        opened = _open(path, options, provider, name)
        _run(opened, feeds, warmup, name)
        walls = _run(opened, feeds, runs, name)
        events = json.loads(Path(opened.end_profiling()).read_text(encoding="utf-8"))
        untraced_ms = _run(opened, feeds, untraced, name)
        graph = read(optimised)
        del opened
        session.give_back_memory()
    if len(events) >= MOST_EVENTS:
        raise RunFailure(f"{name} makes more events than ONNX Runtime's profiler holds", "profile fewer runs")
    traced = by_run(events)[len(feeds) * warmup :]
    return Traced(
        tuple(TracedRun(wall, ms, inside) for wall, (ms, inside) in zip(walls, traced, strict=True)),
        tuple(untraced_ms),
        graph,
    )


@contextlib.contextmanager
def named(path: Path, custom_op_libraries: Sequence[Path] = ()) -> Iterator[tuple[Model, Path]]:
    """The model with local functions inlined and a file of it in which every node has a name of its own, which is the
    given file where that is so: events know nodes by name alone."""
    model = Model.open(path, tuple(custom_op_libraries))
    changed = bool(model.ir.functions)
    if changed:
        InlinePass()(model.ir)
    nodes = list(model.nodes())
    if not changed and len({n.name for n in nodes if n.name}) == len(nodes):
        yield model, path
        return
    taken: set[str] = set()
    for number, node in enumerate(nodes):
        wanted = node.name or f"{node.op_type}_{number}"
        name, count = wanted, 1
        while name in taken:
            name, count = f"{wanted}_{count}", count + 1
        taken.add(name)
        node.name = name
    with session.beside(model, path) as file:
        yield model, file


def _profiling(options: Any, optimised: Path) -> Any:
    options.enable_profiling = True
    options.profile_file_prefix = str(optimised.with_name("profile"))
    options.optimized_model_filepath = str(optimised)
    # protobuf holds at most 2 GB: weights go into a file beside the graph
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    return options


def _open(path: Path, options: Any, provider: Literal["cpu", "cuda"], name: str) -> Any:
    try:
        return session.open_session(path, options, provider)
    except OnnxfixError as error:
        raise LoadFailure(error.message, error.next_step) from error
    except Exception as error:  # the runtime's own types have no common base
        raise LoadFailure(f"ONNX Runtime cannot load {name}: {one_line(error)}") from error


def _run(opened: Any, feeds: Feeds, times: int, name: str) -> list[float]:
    """Milliseconds of each run."""
    outputs = [output.name for output in opened.get_outputs()]
    found = []
    for _ in range(times):
        for feed in feeds:
            try:
                values = {key: session.to_ort(array) for key, array in feed.items()}
                how = session.run_options()
                start = time.perf_counter()
                opened.run_with_ort_values(outputs, values, how)
                found.append(1e3 * (time.perf_counter() - start))
            except Exception as error:
                raise RunFailure(f"{name} fails in ONNX Runtime: {one_line(error)}") from error
    return found
