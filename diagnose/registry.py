"""Every rule by its code."""

from __future__ import annotations

import functools
from typing import cast

from onnxfix.nouns.process.discovery import classes_in
from onnxfix.nouns.rule import Rule


@functools.cache
def all_rules() -> dict[str, type[Rule]]:
    """Rule classes by code, in code order. Raises ValueError when two rules share a code."""
    from . import rules

    found: dict[str, type[Rule]] = {}
    for kind in classes_in(rules):
        if not hasattr(kind, "code"):
            continue
        rule = cast("type[Rule]", kind)
        if rule.code in found:
            raise ValueError(f"{rule.name} and {found[rule.code].name} share the code {rule.code}")
        found[rule.code] = rule
    return dict(sorted(found.items()))
