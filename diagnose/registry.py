"""Finds every rule by walking the folder: a new rule is a new file and nothing else."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from typing import cast

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
            rule = cast("type[Rule]", kind)
            if rule.code in found:
                raise ValueError(f"{rule.name} and {found[rule.code].name} share the code {rule.code}")
            found[rule.code] = rule
    return dict(sorted(found.items()))
