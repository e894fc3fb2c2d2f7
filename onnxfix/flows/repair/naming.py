"""Naming: what a result is called by default, after its source and what was made of it: none takes another's place."""

from __future__ import annotations

from pathlib import Path

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.surgery.recipes import Wish

from .fastest.names import NAMES

PRECISIONS = ("fp32", "fp16", "bf16")
SCHEMES = ("int8-dynamic", "int8-static", "w8", "w4")
AGAIN = "repaired"
_PACKED = "packed-inputs"


def default_output(source: Path, wish: Wish, recipe: str = "") -> Path:
    """`model.onnx` → `model.fp16.onnx`, `model.int8-dynamic.onnx`, `model.w4.onnx` or `model.fp16.w8.onnx`, beside it;
    by a recipe `model.fastest.onnx` or `model.fastest-int8-dynamic.onnx`.

    What the source's own name says of that is replaced: `model.fp16.onnx` → `model.bf16.onnx`. Where the result would
    take the source's name it is `model.fp16.repaired.onnx`.
    """
    if not source.name:
        raise OnnxfixError(f"{source} is a folder", "name the file of a model")
    base, precision, scheme = _parts(source.stem)
    if wish.int8:
        scheme = f"w{wish.bits}" if wish.int8 == "weight-only" else f"int8-{wish.int8}"
        # fp32 is then what is not asked for, and said by no name
        precision = wish.precision if wish.precision != "fp32" else precision.replace("fp32", "")
    else:
        precision = wish.precision
    precision = "" if precision == base else precision  # a file that is called fp16.onnx
    inputs = _PACKED if wish.packed_inputs else ""
    if recipe:
        base, precision, scheme = (
            _of_no_recipe(base),
            "",
            "-".join(filter(None, (recipe, precision.replace("fp32", ""), scheme if wish.int8 else "", inputs))),
        )
        inputs = ""
    made = source.with_name(".".join(part for part in (base, precision, scheme, inputs, "onnx") if part))
    return source.with_name(f"{made.stem}.{AGAIN}.onnx") if made.name == source.name else made


def _of_no_recipe(base: str) -> str:
    """Without the recipes that a name says."""
    rest, dot, last = base.rpartition(".")
    tags = (*PRECISIONS, *SCHEMES, _PACKED)
    of_one = any(last == name or last.startswith(tuple(f"{name}-{tag}" for tag in tags)) for name in NAMES)
    return _of_no_recipe(rest) if dot and rest and of_one else base


def _parts(stem: str) -> tuple[str, str, str]:
    """What a file's name says: what it is of, its precision, and how it is quantized; the last two may be empty."""
    base, precision, scheme = stem, "", ""
    while True:
        rest, dot, last = base.rpartition(".")
        if not dot or not rest or last not in (*PRECISIONS, *SCHEMES):
            return base, precision, scheme
        precision = precision or (last if last in PRECISIONS else "")
        scheme = scheme or (last if last in SCHEMES else "")
        base = rest
