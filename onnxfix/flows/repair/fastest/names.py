"""Recipes by name: how much of a graph is written anew to be faster, and what each target takes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from onnxfix.nouns.errors import OnnxfixError, arg

if TYPE_CHECKING:
    from onnxfix.surgery.recipes import Wish

Name = Literal["fastest", "fused", "packed", "packed-bands", "packed-rows"]
NAMES: tuple[Name, ...] = get_args(Name)

_PARTS: dict[Name, tuple[str, ...]] = {
    "fused": ("fuse",),
    "packed": ("fuse", "pack"),
    "packed-bands": ("fuse", "pack", "bands"),
    "packed-rows": ("fuse", "pack", "rows"),
    "fastest": ("fuse", "pack", "bands", "rows"),
}


def named(name: Name | None, wish: Wish) -> Wish:
    """The wish with what its recipe says, as far as the target has operators for it. Raises OnnxfixError where nothing
    of it can be done."""
    if name is None:
        if wish.max_seq:
            raise OnnxfixError(f"{arg('max_seq')} needs {arg('recipe')}", "add it, or leave both out")
        return wish
    parts = set(_PARTS[name])
    if wish.flash and wish.precision != "fp32":
        parts = set(_PARTS["fastest"]) if "pack" in parts else set()  # a mask of whole rows leaves the slow kernel
    else:
        parts &= wish.target.provider.faster if wish.precision == "fp32" else {"pack"}
    if not parts:
        raise OnnxfixError(
            f"{arg('recipe', name)} needs {arg('target', 'cpu')} and {arg('precision', 'fp32')}, or {arg('int8')}",
            f"name another, as {arg('recipe', 'fastest')}",
        )
    done = {part: part in parts or getattr(wish, part) for part in _PARTS["fastest"]}
    return replace(wish, wherever=True, fuse=done["fuse"], pack=done["pack"], bands=done["bands"], rows=done["rows"])


def shorter(name: Name) -> tuple[Name, ...]:
    """The recipes that do a part of what one does, itself last."""
    return tuple(sorted((n for n in NAMES if set(_PARTS[n]) <= set(_PARTS[name])), key=lambda n: len(_PARTS[n])))
