"""Advice: the repair of a finding as a line that can be pasted, which names the file and the target it was found on.

A rule knows neither: it says `onnxfix repair --precision fp32`, and where that is to be done to another file
`onnxfix repair --int8 dynamic on the float original, which …`. What does not begin so is advice in words, and stays.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from onnxfix.diagnose.remedy import FASTER
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model, tensors
from onnxfix.nouns.provenance import made_for, source_of
from onnxfix.nouns.report import Report
from onnxfix.nouns.runtime.provider import Provider, named, providers
from onnxfix.nouns.types.input_roles import role
from onnxfix.render import command
from onnxfix.surgery.sites.linear import linears

R = TypeVar("R", bound=Report)

_VERBS = ("repair", "optimize")
_ELSEWHERE = re.compile(r"on (the (?:float original|fp32 model)\b.*)")
FLOAT = "FLOAT.onnx"
"""Stands for the float original where nobody said which file that is."""


def addressed(report: R, path: Path | None, libraries: Sequence[Path] = (), original: Path | None = None) -> R:
    """The report with repairs of the file `path`, None for a model in memory, whose repairs are calls of Python.
    `original`: the float model that it was quantized from, as far as known."""
    target = named(str(report.target["provider"]))
    said = {text: _said(text, path, target, libraries, original) for text in {f.repair for f in report.findings}}
    return replace(report, findings=tuple(replace(f, repair=said[f.repair]) for f in report.findings))


def float_original(model: Model, path: Path | None) -> Path | None:
    """What repair made a model from, where that is there and in float; None where it is not, or nobody said so."""
    source = source_of(model.ir, path)
    with contextlib.suppress(OnnxfixError):
        return source if source is not None and not linears.is_quantized(Model.look(source)) else None
    return None


def next_step(report: Report, model: Model, path: Path | None) -> str:
    """What to do with a model that nothing was found in but what could be faster: convert it, or time it where that is
    done or of no use."""
    if (
        any(finding.code not in FASTER for finding in report.findings)
        or report.plan.load_error
        or not report.plan.nodes
    ):
        return ""
    target = named(str(report.target["provider"]))
    kinds = {tensor.dtype.name for tensor in tensors(model.ir)}
    converted = made_for(model.ir) or report.quantization["quantized"] or kinds & {"FLOAT16", "BFLOAT16"}
    if converted or (target.is_host and not report.quantization["linears"]):
        files = [str(each) for each in (source_of(model.ir, path), path) if each is not None]
        bench = " ".join(["onnxfix bench", *map(command.file, files), "--no-torch"])
        return bench if path else command.python("onnxfix.bench", "model", {"torch": False})
    wish = "onnxfix repair --int8 dynamic" if target.is_host else "onnxfix repair --precision fp16"
    if target.is_host and _attends_to_tokens(model):
        wish = "onnxfix optimize --int8 dynamic"
    return _said(wish, path, target, model.custom_op_libraries, None)


def _attends_to_tokens(model: Model) -> bool:
    """Whether it is of texts, whose padding and attention can be cheaper than they are written."""
    reads = any(role(value) == "ids" for value in model.graph.inputs)
    return reads and any(node.op_type in ("Softmax", "Attention") for node in model.nodes())


def _said(text: str, path: Path | None, target: Provider, libraries: Sequence[Path], original: Path | None) -> str:
    verb, options, rest = _options(text)
    if not verb:
        return text
    given = dict(options)
    if where := _where(target, verb, given.get("--int8", ""), given.get("--precision", "")):
        given["--target"] = where
    elsewhere, source, remark = _ELSEWHERE.fullmatch(rest), path, rest
    if elsewhere:
        source, remark = original or Path(FLOAT), elsewhere[1]
        if original is None:
            remark = f"{FLOAT}: {remark}"
    if source is None:
        return command.python(f"onnxfix.{verb}", "model", {_keyword(n): _value(n, v) for n, v in given.items()}, remark)
    words = [word for name, value in given.items() for word in ([name, value] if value else [name])]
    words += [word for library in libraries for word in ("--custom-op-library", str(library))]
    return command.shell(("onnxfix", verb), str(source), words, remark)


def _options(text: str) -> tuple[str, list[tuple[str, str]], str]:
    """The command of a line, its options with their values, and the words behind them; empty for what is none."""
    words = text.split()[:2]
    if words not in [["onnxfix", verb] for verb in _VERBS]:
        return "", [], text
    rest = text.split(maxsplit=2)[2] if len(text.split()) > 2 else ""
    found: list[tuple[str, str]] = []
    while match := re.match(r"(--[\w-]+)(?: (?!--|on the )('[^']*'|[^\s,:]+))?\s*", rest):
        found.append((match[1], shlex.split(match[2])[0] if match[2] else ""))
        rest = rest[match.end() :]
    return words[1], found, rest


def _where(target: Provider, verb: str, int8: str, precision: str) -> str:
    """The target to name; empty where the command takes it by itself, or where what is asked does not run on it."""
    if verb == "optimize":
        return "" if target is named("cpu") else target.name
    default = next(each for each in providers() if int8 not in each.refuses)
    return "" if target is default or {int8, precision} & set(target.refuses) else target.name


def _keyword(option: str) -> str:
    return option.removeprefix("--").removeprefix("no-").replace("-", "_")


def _value(option: str, value: str) -> Any:
    return value or not option.startswith("--no-")
