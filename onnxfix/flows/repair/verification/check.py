"""Check: what is asked of a result before it is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnxfix.nouns.comparison import Comparison
from onnxfix.surgery.passes.convert_to_half import HALVES
from onnxfix.surgery.recipes import Wish

from .metric import LARGEST, Metric, metric_error
from .source.made_up import MadeUp

# Largest relative L2 error of any output that is still written. fp16 carries 11 bits (5e-4 a rounding), bf16 8 bits,
# int8 7 bits of each weight channel; ONNX Runtime's fusions differ by up to 2e-6 between equal fp32 graphs.
LIMITS = {"fp32": 2e-6, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2, "int4": 0.3}

# Sums of another order in each of 22 layers: blocks of keys for rows, a row of real tokens for a batch.
OF_ANOTHER_ORDER = 2e-5

OF_THE_SAME_GRAPH = 1e-4
"""Of what was written anew for a GPU, in fp32 beside its source: one key that a token should not see errs by more."""


# Unlike numbers of one size differ by 1.4, and a transposed or permuted weight gave 0.9: beyond these a result is
# another one, and no rough one, whatever a metric says of it.
LARGEST_ROUNDING, LEAST_COSINE = 0.5, 0.85


def limit_of(wish: Wish, metric: Metric = "rel-l2") -> float:
    """The largest error of what a wish makes where nobody asked for another."""
    if wish.int8 and metric != "rel-l2":
        return LARGEST[metric]
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

    metric: Metric = "rel-l2"
    """What `limit` is measured by."""

    whole: frozenset[str] = frozenset()
    """Outputs of tokens that the mask of padding says nothing of, as a decoder's beside its encoder's."""

    def allows(self, comparison: Comparison, limit: float | None = None) -> bool:
        """Whether a comparison is within the limit, or another one. A choice may stand where the numbers are others:
        by any metric they have to be the source's, rounded."""
        largest = self.limit if limit is None else limit
        if self.metric != "rel-l2" and not is_rounding(comparison):
            return False
        return comparison.sound and metric_error(comparison, self.metric) <= largest

    @property
    def rounding(self) -> float:
        """The largest relative L2 error that the limit leaves room for."""
        return self.limit if self.metric == "rel-l2" else LARGEST_ROUNDING

    @property
    def half(self) -> bool:
        return self.precision in HALVES


def is_rounding(comparison: Comparison) -> bool:
    """Whether every output is still the source's, if a rough one: all finite, of its shape, and pointing its way. What
    mixes up rows or columns has the size of the source and another direction; 4 bits a weight err by 0.2."""
    return comparison.sound and all(
        d.rel_l2 <= LARGEST_ROUNDING and not d.cosine < LEAST_COSINE for d in comparison.differences
    )
