"""What commands print: JSON that every parser takes, and small pieces of text output they share."""

from __future__ import annotations

import json
import math
from typing import Any

import click


def emit_json(document: object) -> None:
    """Print one JSON document on stdout; NaN and infinities become null, which JSON knows."""
    click.echo(json.dumps(_finite(document), indent=2, ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def megabytes(count: int) -> str:
    """Bytes as a human reads them: 1,583 MB, 0.4 MB, 12 kB."""
    if count < 1e5:
        return f"{count / 1e3:,.0f} kB"
    return f"{count / 1e6:,.0f} MB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
