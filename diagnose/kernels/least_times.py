"""Least times of an attention on a GPU, by its roofline: an estimate of what a kernel could be at best.

The larger of operations by the peak of arithmetic and bytes by that of memory (Williams, Waterman and Patterson, 2009).
A kernel that keeps no scores reads queries, keys and values and writes a result; one that does also writes all scores,
reads and writes them for the softmax, and reads them again.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnxfix.nouns.runtime.attention_kernels import LeastTime

from .cases import Case

PASSES_OF_SCORES = 4


@dataclass(frozen=True)
class Gpu:
    """Peaks that NVIDIA's data sheets state, without sparsity: `half` and `single` in operations a second, products of
    fp16 and bf16, and of fp32; `memory` in bytes a second."""

    name: str
    sm: int
    half: float
    single: float
    memory: float


GPUS = (
    Gpu("T4", 75, 65e12, 8.1e12, 320e9),
    Gpu("A100", 80, 312e12, 19.5e12, 1555e9),
    Gpu("H100", 90, 989e12, 67e12, 3350e9),
)
"""The 40 GB A100 and the SXM5 H100."""


def least_times(case: Case, rows: int, tokens: int) -> tuple[LeastTime, ...]:
    """Of `rows` of `tokens`, or as many as the file says; empty where sizes of heads are not known."""
    if not case.size or not case.value_size or not case.heads or not case.element:
        return ()
    queries, keys = case.queries or tokens, case.keys or tokens
    pairs = rows * case.heads * queries * keys
    operations = 2 * pairs * (case.size + case.value_size) * (0.5 if case.causal else 1.0)
    heads = case.heads * queries + (case.key_heads or case.heads) * keys
    moved = case.bytes * rows * heads * (case.size + case.value_size)
    scores = PASSES_OF_SCORES * case.bytes * pairs
    found = []
    for gpu in GPUS:
        computed = operations / (gpu.half if case.bytes == 2 else gpu.single)
        times = [1e3 * max(computed, size / gpu.memory) for size in (moved, moved + scores)]
        found.append(LeastTime(gpu.name, gpu.sm, rows, queries, *times))
    return tuple(found)
