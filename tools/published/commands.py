"""One model through each command as a user runs it, and what each came to; a written result is checked by `own`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from corpus.judged import LEAKS

from published.pins import LABELS
from published.wheels import Found

Verdict = Literal["passed", "declined", "unchecked", "FAILED"]
COMMANDS: dict[str, tuple[str, ...]] = {
    "diagnose cuda": ("diagnose", "{}", "--target", "cuda"),
    "diagnose cpu": ("diagnose", "{}", "--target", "cpu"),
    "fp32": ("repair", "{}", "--precision", "fp32"),
    "fp16": ("repair", "{}"),
    "int8 dynamic": ("repair", "{}", "--int8", "dynamic"),
    "int8 weight-only": ("repair", "{}", "--int8", "weight-only"),
    "optimize": ("optimize", "{}"),
    "optimize int8": ("optimize", "{}", "--int8", "dynamic"),
}
# The product's own limits are for inputs that it makes; ours are others, and a CPU without VNNI saturates some sums.
LIMITS = {"fp32": 1e-5, "fp16": 2e-2, "int8 dynamic": 1e-1, "int8 weight-only": 1e-1}
LIMITS |= {"optimize": 1e-4, "optimize int8": 2e-1}
# On sentences: the least cosine of an embedding, and the least share of tokens or texts that get the same label.
LEAST = {"cosine": 0.99, "labels": 0.99}
GRACE = 1.5
"""Times the deadline it is told, after which a command that has not given up itself is ended, and failed."""
TOOLS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Outcome:
    """What one command came to on one model, and why, on one line. `error`: of a result, by our own sessions; `kept`:
    what it says of sentences as its source does, in words."""

    model: Found
    command: str
    verdict: Verdict
    reason: str = ""
    error: float | None = None
    seconds: float = 0.0
    kept: str = ""


def outcome(model: Found, command: str, timeout_s: float) -> Outcome:
    """Run one command on one model, with a deadline in seconds."""
    begun = time.monotonic()
    verdict, reason, error = _judged(model, command, timeout_s)
    feeds = _feeds(model, command, timeout_s) if verdict == "declined" and "--feeds" in reason else None
    if feeds:
        verdict, reason, error = _judged(model, command, timeout_s, "--feeds", str(feeds))
    kept = ""
    if verdict == "passed" and _by_sentences(model, command):
        verdict, reason, kept = _on_sentences(model, command, timeout_s)
    reason = _without_places(reason, model)
    return Outcome(model, command, verdict, reason, error, time.monotonic() - begun, kept)


def _judged(model: Found, command: str, timeout_s: float, *more: str) -> tuple[Verdict, str, float | None]:
    result = _result(model, command)
    arguments = [word.format(model.path) for word in COMMANDS[command]] + ["--timeout", f"{timeout_s:g}", *more]
    if command in LIMITS:
        result.parent.mkdir(exist_ok=True)
        arguments += ["--output", str(result)]
    done = _run([str(Path(sys.executable).with_name("onnxfix")), *arguments], timeout_s * GRACE)
    if done is None:
        return "FAILED", f"did not keep its deadline of {timeout_s:g} s", None
    said = f"{done.stdout}\n{done.stderr}"
    leak = next((line for line in said.splitlines() if LEAKS.search(line)), "")
    if leak:
        return "FAILED", f"its words: {leak}", None
    last = (done.stderr.strip().splitlines() or [""])[-1].removeprefix("onnxfix: error: ")
    if done.returncode == 2:
        return ("FAILED", f"declined, yet wrote: {last}", None) if result.exists() else ("declined", last, None)
    if done.returncode not in (0, 1):
        return "FAILED", f"exit code {done.returncode}: {last}", None
    if command not in LIMITS:
        return "passed", "", None
    if not result.exists():
        return "declined", _nothing_written(done.stdout), None
    return _checked(model, result, command, timeout_s)


def _feeds(model: Found, command: str, timeout_s: float) -> Path | None:
    """Inputs that the source runs on; None where we find none either."""
    path = model.path.parent / f"{command.replace(' ', '-')}.npz"
    _run([sys.executable, "-m", "published.own", str(model.path), str(path)], timeout_s)
    return path if path.exists() else None


def _result(model: Found, command: str) -> Path:
    return model.path.parent / "results" / f"{command.replace(' ', '-')}.onnx"


def _by_sentences(model: Found, command: str) -> bool:
    return model.tokenizer is not None and command in LIMITS and command != "fp32"


def _on_sentences(model: Found, command: str, timeout_s: float) -> tuple[Verdict, str, str]:
    """Whether a result says the same of texts: by labels where the model chooses one, else by the cosine."""
    what = "labels" if model.package in LABELS else "cosine"
    asked = [str(model.path), str(_result(model, command)), str(model.tokenizer)]
    done = _run([sys.executable, "-m", "published.sentences", *asked], timeout_s * GRACE)
    if done is None or done.returncode:
        return "FAILED", "our own session did not end well on sentences", ""
    found: dict[str, Any] = json.loads(done.stdout)
    if "failed" in found:
        return "FAILED", f"on sentences: {found['failed']}", ""
    said = f"cosine {found['cosine']:.3f}" if what == "cosine" else f"labels {100 * found['labels']:.1f} %"
    if found[what] < LEAST[what]:
        return "FAILED", f"on sentences: {said}, under {LEAST[what]:g}", said
    return "passed", "", said


def _checked(model: Found, result: Path, command: str, timeout_s: float) -> tuple[Verdict, str, float | None]:
    source = model.path
    done = _run([sys.executable, "-m", "published.own", str(source), str(result)], timeout_s * GRACE)
    if done is None:
        return "unchecked", f"our own sessions took more than {timeout_s * GRACE:g} s", None
    if done.returncode:
        return "FAILED", f"our own session ended with {done.returncode}", None
    found: dict[str, Any] = json.loads(done.stdout)
    if "unchecked" in found:
        return "unchecked", str(found["unchecked"]), None
    shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in found.get("inputs", {}).items())
    if "failed" in found:
        return "FAILED", f"{found['failed']} (inputs: {shapes})", None
    error = float(found["error"])
    if _by_sentences(model, command):
        return "passed", "", error  # what comes of random tokens and masks says little; sentences follow
    if error > LIMITS[command]:
        own = _weights_alone(source, "8 bits" if "int8" in command else "half", timeout_s)
        return "FAILED", f"differs by {error:.2g}, over {LIMITS[command]:g}{own} (inputs: {shapes})", error
    return "passed", "", error


def _weights_alone(source: Path, kind: str, timeout_s: float) -> str:
    """What of a difference the precision itself makes, in words."""
    done = _run([sys.executable, "-m", "published.own", str(source), kind], timeout_s)
    if done is None or done.returncode:
        return ""
    return f"; the source with its weights alone rounded to {kind} differs by {json.loads(done.stdout)['error']:.2g}"


def _run(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str] | None:
    """None where it had to be ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "1000", "PYTHONPATH": str(TOOLS)}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment)
    except subprocess.TimeoutExpired:
        return None


def _nothing_written(said: str) -> str:
    """What a command that ended well and wrote nothing says of it: its last line."""
    return (said.strip().splitlines() or ["nothing was written"])[-1]


def _without_places(reason: str, model: Found) -> str:
    """Without this machine's folders."""
    return re.sub(re.escape(str(model.path.parent)) + "/?", "", reason)
