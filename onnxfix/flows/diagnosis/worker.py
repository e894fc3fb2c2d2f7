"""The process that diagnoses one of several models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .asked import diagnose
from .diagnosis import Diagnosis


def answer(request: tuple[Path, dict[str, Any]]) -> Diagnosis:
    file, keywords = request
    return diagnose(file, **keywords)
