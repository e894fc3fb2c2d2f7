"""measure: the plan that a real ONNX Runtime session makes of a model file, beside what the forecast says.

The session is made in a child process at basic optimisations, where forecast and runtime compare line by line; it stops
before kernels are made, so it needs a CUDA device but none of its memory. A second one with all optimisations then
says whether the model really loads, and with how many copies.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from onnxfix.nouns.errors import OnnxfixError, arg, one_line
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.process.children import Child, CrashedError, RefusedError
from onnxfix.nouns.target import Target

from .comparison import Assigned, merge
from .log import SessionLog

# Planning ModernBERT-large takes a session 2.4 to 20 s, loading it onto a device a little longer.
TIMEOUT_S = 600.0

_OUT_OF_MEMORY = re.compile(r"out of memory|Failed to allocate memory|bad_alloc|CUDA failure")

_WORKER = "onnxfix.diagnose.placement.measured.session_worker"


class MeasurementError(Exception):
    """No session told anything: the provider does not load, or the process ended without an answer. One line."""


@dataclass(frozen=True)
class Session:
    """What one real session said; `error` is the runtime's message if it does not load the model."""

    assigned: tuple[Assigned, ...]
    log: SessionLog
    error: str = ""


def measure(model: Model, target: Target, forecast: Plan, library_path: Path | None = None) -> Plan:
    """The forecast corrected by the real session, which `differences` lists. Raises MeasurementError.

    `library_path`: a folder to find CUDA's libraries in. What is in it may only plan, so no session is loaded then.
    """
    if not model.path.is_file():
        raise MeasurementError(f"{model.path} is not there any more")
    planned = run_session(model, target, "basic", library_path)
    plan = merge(forecast, planned.assigned, planned.log, planned.error)
    if planned.error or library_path is not None:
        return plan
    try:
        loaded = run_session(model, target, "all")
    except MeasurementError as error:
        return _noted(plan, f"with all optimisations {error}")
    if not loaded.error:
        copied = f" with {loaded.log.memcpy} Memcpy" if target.provider.device else ""
        return _noted(plan, f"a session with all optimisations loads{copied}")
    if _OUT_OF_MEMORY.search(loaded.error):  # of this device, at this moment: the plan stands
        return _noted(plan, f"a session with all optimisations does not load: {loaded.error}")
    return merge(forecast, planned.assigned, planned.log, loaded.error)


def run_session(model: Model, target: Target, level: str, library_path: Path | None = None) -> Session:
    """One session in a process of its own, `basic`: planned only, `all`: loaded. Raises MeasurementError."""
    request = {
        "model": str(model.path.resolve()),
        "providers": target.ep_names(),
        "level": level,
        "libraries": [str(p.resolve()) for p in model.custom_op_libraries],
        "preload": library_path is None and bool(target.provider.device),
    }
    with Child(_WORKER, _environment(library_path)) as child:
        answer, ended = {}, ""
        try:
            answer = child.ask(request, TIMEOUT_S)
        except (CrashedError, RefusedError, TimeoutError) as lost:
            ended = str(lost)
        said = SessionLog.parse(child.log())
    if target.provider.device and said.not_loaded:
        raise MeasurementError(f"{_provider(target)} does not load: {said.not_loaded}")
    if ended:
        raise MeasurementError(f"the process of the real session {ended}")
    if answer.get("absent"):
        raise MeasurementError(answer["absent"])
    # no device, or a driver too old for the runtime's CUDA: the machine's fault, not the model's
    if level == "basic" and "CUDA failure" in answer["error"]:
        raise MeasurementError(f"{_provider(target)} does not start: {one_line(RuntimeError(answer['error']))}")
    error = one_line(RuntimeError(answer["error"])) if answer["error"] else ""
    return Session(tuple(Assigned(*row) for row in answer.get("assigned", ())), said, error)


def _environment(library_path: Path | None) -> dict[str, str]:
    if library_path is None:
        return {}
    before = os.environ.get("LD_LIBRARY_PATH", "")
    return {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, (str(library_path), before)))}


def _provider(target: Target) -> str:
    return f"the {target.provider.label} provider of ONNX Runtime"


def _noted(plan: Plan, note: str) -> Plan:
    return replace(plan, note="; ".join(filter(None, (plan.note, note))))


def required(model: Model, target: Target, forecast: Plan) -> Plan:
    """`measure` for who insists on it. Raises OnnxfixError."""
    try:
        return measure(model, target, forecast)
    except MeasurementError as error:
        raise OnnxfixError(f"cannot measure: {error}", f"use {arg('engine', 'forecast')}") from error


def preferred(model: Model, target: Target, forecast: Plan) -> Plan:
    """`measure` where it works, else the forecast with the reason as a note."""
    try:
        return measure(model, target, forecast)
    except MeasurementError as error:
        return _noted(forecast, f"not measured: {error}")
