"""One case through diagnose and both repairs, and what each came to: judged here, not by the product's own verdict."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from onnxfix import diagnose, repair
from onnxfix.nouns.errors import OnnxfixError

from .cases import Case

COMMANDS = ("diagnose", "fp32", "fp16")
Verdict = Literal["passed", "declined", "FAILED"]

# A result is wrong past these shares of its own size. Half carries 11 bits and some cases are deep: recurrences,
# sums of products, losses.
LIMITS = {"fp32": 1e-5, "fp16": 1e-2}
NEVER, LOWEST = -1e30, -65504.0
HALVES = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
# Nothing a user should read: C++ names, source files, the runtime's own prefix, Python's words for its own errors.
LEAKS = re.compile(
    r"::|onnxruntime/|\.(?:cc|cpp|cxx|h|hpp|cuh?):\d|\bwas false\b|ONNXRuntimeError|\bstd\b|\bconst\b|\bStatus\b|"
    r"\b(?:gsl|size_t|int64_t)\b|'NoneType'|object has no attribute|Traceback|\b(?:Key|Type|Value|Index)Error\b|"
    r"please report|internal error|<[a-z_.]+ object at|\n|0x[0-9a-f]{6}"
)


@dataclass(frozen=True)
class Outcome:
    """What one command came to on one case, and why, on one line."""

    case: str
    command: str
    verdict: Verdict
    reason: str = ""


def judge(case: Case, command: str, folder: Path) -> Outcome:
    """Run one command. `folder` is for the files."""
    source = folder / "model.onnx"
    source.write_bytes(case.model.SerializeToString())
    try:
        verdict, reason = _diagnosed(case, source) if command == "diagnose" else _repaired(case, source, command)
    except OnnxfixError as error:
        said = str(error)
        verdict, reason = ("FAILED", f"its words: {said}") if LEAKS.search(said) else ("declined", said)
    except Exception as error:  # whatever the product let through
        verdict, reason = "FAILED", f"internal error: {_where(error)}"
    return Outcome(case.name, command, verdict, reason)


def _diagnosed(case: Case, source: Path) -> tuple[Verdict, str]:
    report = diagnose(source)
    for finding in report.findings:
        leak = LEAKS.search(finding.message)
        if leak:
            return "FAILED", f"{finding.code}'s words: {finding.message}"
        if finding.code == "K004" and not isinstance(_answers(source.read_bytes(), case.inputs), str):
            return "FAILED", f"said not to load, but it does: {finding.message}"
    return "passed", ""


def _repaired(case: Case, source: Path, precision: Any) -> tuple[Verdict, str]:
    result = source.with_name("result.onnx")
    done = repair(source, precision=precision, feeds=case.inputs, output=result)
    wrong = next(filter(LEAKS.search, (done.verified, *done.outcome.notes)), "")
    if wrong:
        return "FAILED", f"its words: {wrong}"
    onnx.checker.check_model(result)
    half = any(
        info.type.tensor_type.elem_type in HALVES for info in (*case.model.graph.input, *case.model.graph.output)
    )
    limit = LIMITS["fp16"] if half else LIMITS[precision]  # a half source rounds each node, its widening does not
    return _held(case, source.read_bytes(), result.read_bytes(), limit)


def _held(case: Case, source: bytes, result: bytes, limit: float) -> tuple[Verdict, str]:
    """A result's outputs beside what the case expects or, where ONNX Runtime answers otherwise, its source does."""
    before, after = _answers(source, case.inputs), _answers(result, case.inputs)
    if isinstance(after, str):
        return ("FAILED", f"the result does not run: {after}") if not isinstance(before, str) else ("passed", "")
    rounded = _answers(source, {name: _in_half(value) for name, value in case.inputs.items()})
    accepted = [case.outputs, *(each for each in (before, rounded) if not isinstance(each, str))]
    for name, value in after.items():
        wanted = [each[name] for each in accepted if name in each]
        errors = [_error(_with_halfs_never(each, value) if limit == LIMITS["fp16"] else each, value) for each in wanted]
        if min(errors, default=0.0) > limit:
            return "FAILED", f"output {name} is wrong by {min(errors):.2g}"
    return "passed", ""


def _answers(model: bytes, inputs: dict[str, Any]) -> dict[str, Any] | str:
    """A model's outputs without optimisations; the first line of the runtime's message where it does not run."""
    import onnxruntime

    from onnxfix.eval.run import session as values

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        if any(not isinstance(value, np.ndarray) or value.dtype.kind in "OU" for value in inputs.values()):
            return dict(zip(names, session.run(names, inputs), strict=True))
        given = {name: values.to_ort(value) for name, value in inputs.items()}
        found = session.run_with_ort_values(names, given)
        return {n: values.from_ort(v) if v.is_tensor() else v.numpy() for n, v in zip(names, found, strict=True)}
    except Exception as error:  # one class per status code, with no common base of their own
        return " ".join(str(error).split())[:200] or type(error).__name__


def _in_half(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_half(each) for each in value]
    if isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float64):
        with np.errstate(over="ignore"):
            return value.astype(np.float16).astype(value.dtype)
    return value


def _with_halfs_never(expected: Any, actual: Any) -> Any:
    """Scores that are hidden are -3.4e38 in fp32, which half does not have: there they are its lowest number."""
    arrays = (expected, actual)
    if not all(isinstance(each, np.ndarray) and each.dtype.kind == "f" for each in arrays):
        return expected
    if expected.shape != actual.shape:
        return expected
    return np.where((expected <= NEVER) & (actual <= LOWEST), actual, expected)


def _error(expected: Any, actual: Any) -> float:
    """Relative L2 error, of exact kinds the share that differs; infinite where shapes, NaN or infinities differ."""
    if isinstance(expected, list) or isinstance(actual, list):
        if not (isinstance(expected, list) and isinstance(actual, list)) or len(expected) != len(actual):
            return np.inf
        return max((_error(e, a) for e, a in zip(expected, actual, strict=True)), default=0.0)
    if expected is None or actual is None:
        return 0.0 if expected is actual else np.inf
    expected, actual = np.asarray(expected), np.asarray(actual)
    if expected.shape != actual.shape:
        return np.inf
    if expected.dtype.kind in "OUSbiu":
        return float(np.mean(expected != actual)) if expected.size else 0.0
    wanted, found = (_wide(each) for each in (expected, actual))
    finite = np.isfinite(wanted)
    if not np.array_equal(wanted[~finite], found[~finite], equal_nan=True) or not np.isfinite(found[finite]).all():
        return np.inf
    scale = float(np.linalg.norm(wanted[finite]))
    error = float(np.linalg.norm(found[finite] - wanted[finite]))
    return error / scale if scale else error


def _wide(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _where(error: Exception) -> str:
    """An exception with the last place of ours that it passed."""
    place, at = "", error.__traceback__
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        if "/tests/" not in file and "site-packages" not in file and "/lib/python" not in file:
            place = f"{'/'.join(Path(file).parts[-3:])}:{at.tb_lineno}"
        at = at.tb_next
    return f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:200]}"
