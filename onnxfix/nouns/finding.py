"""Finding: one defect of a model at one site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .site import Site

Scalar = str | int | float | bool | None


class Severity(StrEnum):
    """By harm: error = wrong or does not load, warning = slow or fragile, note = worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        return {"note": 0, "warning": 1, "error": 2}[self.value]


class Applicability(StrEnum):
    """exact = bit-identical, applied by default; numeric = applied when asked and then measured; manual = advice."""

    EXACT = "exact"
    NUMERIC = "numeric"
    MANUAL = "manual"


@dataclass(frozen=True)
class Finding:
    """What a rule says about one site. `evidence` holds JSON scalars only; `repair` is a command line or empty."""

    code: str
    name: str
    severity: Severity
    site: Site
    message: str
    evidence: Mapping[str, Scalar | list[str]] = field(default_factory=dict)
    repair: str = ""
    applicability: Applicability = Applicability.MANUAL

    def as_dict(self) -> dict[str, object]:
        return {
            "code": self.code,
            "name": self.name,
            "severity": self.severity.value,
            "site": self.site.as_dict(),
            "message": self.message,
            "evidence": dict(self.evidence),
            "repair": self.repair,
            "applicability": self.applicability.value,
        }
