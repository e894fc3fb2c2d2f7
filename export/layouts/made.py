"""What a result is, as far as a layout names files after it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Made:
    """`int8`: dynamic, static, weight-only or empty; `bits` of weights that are stored alone; `recipe` of optimize."""

    precision: str = "fp32"
    int8: str = ""
    bits: int = 8
    recipe: str = ""
    halves_inputs: bool = False
    """Inputs and outputs are in half precision as well."""

    @property
    def is_plain(self) -> bool:
        return self == Made()

    def __str__(self) -> str:
        scheme = f"{self.bits}-bit weights" if self.int8 == "weight-only" else f"int8 {self.int8}" if self.int8 else ""
        return " with ".join(part for part in (self.precision if self.precision != "fp32" else "", scheme) if part)
