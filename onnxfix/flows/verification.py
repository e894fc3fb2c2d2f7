"""Verification: a repaired model against its source on ONNX Runtime's CPU provider, with optimisation off and on.

That provider computes half precision in fp32, so half models are also run in an emulation that rounds every node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onnxfix.comparison import Comparison
from onnxfix.errors import OnnxfixError
from onnxfix.model import Model

if TYPE_CHECKING:
    from onnxfix.eval.feeds import Feed
    from onnxfix.eval.runners import Runner

# Largest relative L2 error of any output that is still written. fp16 carries 11 bits (5e-4 a rounding), bf16 8 bits,
# int8 7 bits of each weight channel; ONNX Runtime's fusions differ by up to 2e-6 between equal fp32 graphs. Emulated,
# fp16 stays within 5e-3 on nine of ten architectures of the zoo and reaches 7e-3 on T5.
LIMITS = {"fp32": 2e-6, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2}
HALVES = ("fp16", "bf16")
# Tokens of the longest feed for half precision: rotary angles in half are right for the first few hundred positions.
LONG = 2048
# Lengths to try when the source refuses made-up feeds: position tables that the graph does not show as such.
SHORTER = (None, 256, 64, 16)


@dataclass(frozen=True)
class Check:
    """What is asked of a result: `exact` wants equal bits without optimisation, else errors up to `limit`."""

    exact: bool
    kind: str
    limit: float


def verify(model: Model, result: Model, check: Check, feeds: Sequence[Feed] = ()) -> tuple[tuple[Comparison, ...], str]:
    """Both comparisons, and in words how the result was verified. Raises OnnxfixError when it is not within limits."""
    from onnxfix.eval.runners import LoadFailure, OrtRunner
    from onnxfix.eval.session import on_disk

    libraries = model.custom_op_libraries
    with on_disk(model) as source_path, on_disk(result) as result_path:
        try:
            source = OrtRunner(source_path, level="none", threads=1, custom_op_libraries=libraries, name="source")
        except LoadFailure as error:
            raise OnnxfixError(
                f"the source model itself does not load: {error.message}", "see 'onnxfix diagnose', or use --no-verify"
            ) from error
        chosen = usable_feeds(model, source, feeds, (LONG, *SHORTER) if check.kind in HALVES else SHORTER)
        _require_repeatable(source, chosen[0])
        source.close()
        levels: tuple[str, ...] = ("none", "all")
        try:
            OrtRunner(result_path, level="all", custom_op_libraries=libraries).close()
        except LoadFailure as error:
            if check.kind != "bf16" or "Could not find an implementation" not in str(error):
                raise OnnxfixError(
                    f"the repaired model does not load: {error.message}", "nothing was written"
                ) from error
            levels = ()  # the CPU provider has few bfloat16 kernels
        comparisons = list(_emulated(source_path, result, libraries, chosen, check))
        comparisons += [_compare(source_path, result_path, libraries, chosen, check, level) for level in levels]
    return tuple(comparisons), _in_words(comparisons, check, len(chosen), bool(levels))


def _emulated(
    source: Path, result: Model, libraries: Sequence[Path], feeds: Sequence[Feed], check: Check
) -> Iterator[Comparison]:
    """The result with every node rounded to its type, if it has half types."""
    from onnxfix.eval.emulator import emulated
    from onnxfix.eval.session import on_disk

    if check.kind in HALVES:
        with on_disk(emulated(result)) as path:
            yield _compare(source, path, libraries, feeds, check, "none", "half precision emulated node by node")


def _require_repeatable(source: Runner, feed: Feed) -> None:
    """A model that answers differently each time cannot be compared with anything. Raises OnnxfixError."""
    from onnxfix.eval.compare import compare

    again = compare(source, source, [feed])
    if not again.identical:
        raise OnnxfixError(
            f"the source model does not repeat its own outputs (they differ by {again.rel_l2:.1e}): it draws random "
            "numbers, as an export in training mode does",
            "export it in eval mode, or use --no-verify",
        )


def usable_feeds(
    model: Model, source: Runner, given: Sequence[Feed] = (), lengths: Sequence[int | None] = SHORTER
) -> list[Feed]:
    """The given feeds, or made-up ones that the source can run: shorter ones when the first are too long for it."""
    from onnxfix.eval.feeds import make_feeds
    from onnxfix.eval.runners import RunFailure

    failure = ""
    for longest in lengths:
        feeds = list(given) or make_feeds(model, longest=longest)
        try:
            for feed in feeds:
                source.run(feed.arrays)
        except RunFailure as error:
            failure = failure or error.message
            if given:
                break
        else:
            return feeds
    raise OnnxfixError(failure, "give inputs that the model takes with --feeds FILE.npz")


def _compare(
    source: Path,
    result: Path,
    libraries: Sequence[Path],
    feeds: Sequence[Feed],
    check: Check,
    level: str,
    how: str = "",
) -> Comparison:
    from onnxfix.eval.compare import compare
    from onnxfix.eval.runners import OrtRunner

    def open_runner(path: Path, name: str) -> OrtRunner:
        chosen: Literal["none", "all"] = "none" if level == "none" else "all"
        return OrtRunner(path, level=chosen, threads=1, custom_op_libraries=libraries, name=name)

    reference, candidate = open_runner(source, "source"), open_runner(result, "repaired")
    valid_only = check.kind in HALVES
    comparison = compare(
        reference,
        candidate,
        feeds,
        valid_only=valid_only,
        how=how or f"ONNX Runtime CPU, optimisation {level}, one thread",
    )
    reference.close()
    candidate.close()
    if len(comparison.never_compared) == len({d.output for d in comparison.differences}):
        raise OnnxfixError(
            "nothing could be compared: no output of the source holds a finite number on these inputs",
            "give other inputs with --feeds FILE.npz, or use --no-verify",
        )
    if check.exact and level == "none" and not comparison.identical:
        raise OnnxfixError(f"an exact repair changed the outputs by {comparison.rel_l2:.1e}", "please report this")
    if not comparison.within(check.limit):
        raise OnnxfixError(
            f"the repaired model differs from the source by {_worst(comparison)} (limit {check.limit:g})",
            "nothing was written; keep nodes in fp32 with --block-op or --block-node, or raise --max-error",
        )
    return comparison


def _in_words(comparisons: Sequence[Comparison], check: Check, feeds: int, ran: bool) -> str:
    how = "on CPU"
    if check.kind in HALVES:
        how = "every node rounded to its type" + (", and on CPU" if ran else "; no session could run it on this CPU")
    on = "1 feed" if feeds == 1 else f"{feeds} feeds"
    silent = sorted({name for c in comparisons for name in c.never_compared})
    but = f"; never finite and so not compared: {', '.join(silent)}" if silent else ""
    if all(c.identical for c in comparisons):
        return f"identical outputs on {on}, with optimisation off and on, {how}{but}"
    return f"relative L2 error at most {max(c.rel_l2 for c in comparisons):.1e} on {on}, {how}{but}"


def _worst(comparison: Comparison) -> str:
    worst = max(comparison.differences, key=lambda d: (bool(d.shape_mismatch), d.new_nonfinite, d.rel_l2))
    if worst.shape_mismatch:
        return f"shape in output {worst.output}: {worst.shape_mismatch}"
    if worst.new_nonfinite:
        return f"{worst.new_nonfinite} NaN or infinite values in output {worst.output}"
    return f"a relative L2 error of {worst.rel_l2:.1e} in output {worst.output}"
