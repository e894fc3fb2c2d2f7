"""Finds every rule by walking the folder: a new rule is a new file and nothing else."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil

from onnxfix.finding import Rule


@functools.cache
def all_rules() -> dict[str, type[Rule]]:
    """Rule classes by code, in code order. Raises ValueError when two rules share a code."""
    from . import rules

    found: dict[str, type[Rule]] = {}
    for info in pkgutil.iter_modules(rules.__path__):
        module = importlib.import_module(f"{rules.__name__}.{info.name}")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ != module.__name__ or not hasattr(kind, "code"):
                continue
            if kind.code in found:
                raise ValueError(f"{kind.__name__} and {found[kind.code].__name__} share the code {kind.code}")
            found[kind.code] = kind
    return dict(sorted(found.items()))
