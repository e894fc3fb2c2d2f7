"""Check: what is asked of a result before it is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnxfix.surgery.passes.convert_to_half import HALVES
from onnxfix.surgery.recipes import Wish

from .made_up import MadeUp

# Largest relative L2 error of any output that is still written. fp16 carries 11 bits (5e-4 a rounding), bf16 8 bits,
# int8 7 bits of each weight channel; ONNX Runtime's fusions differ by up to 2e-6 between equal fp32 graphs.
LIMITS = {"fp32": 2e-6, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2, "int4": 0.3}

# Sums of another order in each of 22 layers: blocks of keys for rows, a row of real tokens for a batch.
OF_ANOTHER_ORDER = 2e-5

OF_THE_SAME_GRAPH = 1e-4
"""Of what was written anew for a GPU, in fp32 beside its source: one key that a token should not see errs by more."""


def limit_of(wish: Wish) -> float:
    """The largest error of what a wish makes where nobody asked for another."""
    fused = wish.fuse or wish.pack
    return max(LIMITS[wish.kind], OF_ANOTHER_ORDER) if fused else LIMITS[wish.kind]


@dataclass(frozen=True)
class Check:
    """What is asked of a result: `exact` wants equal bits without optimisation, else errors up to `limit`. `precision`
    is what its activations are computed in."""

    exact: bool
    kind: str
    limit: float
    precision: str
    padding: bool = True
    """Whether rows of padding are compared, too: an operator may answer something else there, which nothing reads."""
    made_up: MadeUp = field(default_factory=MadeUp)
    """How inputs are made up where none are given."""
    scheme: str = ""
    """Of a quantization: dynamic, static or weight-only."""

    @property
    def half(self) -> bool:
        return self.precision in HALVES
