"""What precision_zoo.py measures of a converted model, against its fp32 source on the same inputs.

Errors are those of valid positions: what a model makes of padding is nobody's business. Half precision is looked at in
three ways: in ONNX Runtime on the CPU with optimisation off and on, which computes it in fp32, and in an emulation that
rounds every node's result to its declared type, as a GPU would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from onnxfix.eval.inputs.feeds import Feed, required_inputs
from onnxfix.eval.inputs.graph_limits import longest_sequence, table_rows
from onnxfix.eval.numerics.compare import compare
from onnxfix.eval.numerics.emulator import HALVES, emulated
from onnxfix.eval.run.runners import Array, LoadFailure, OrtRunner, RunFailure, Runner
from onnxfix.eval.run.session import Level, on_disk
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.inline_functions import InlineFunctions
from onnxfix.surgery.sites.attention import rotary

LENGTHS = (2048, 1024, 512, 504, 256, 64, 16)
"""Longest lengths to try; 504, because RoBERTa's table of 512 rows has no row for the last two positions."""
SHORT = 300
SPECIAL = 3  # ids below are padding, start and end in the zoo's configurations
WAYS: dict[str, Level] = {"emulated": "none", "none": "none", "all": "all"}
"""Way of running → optimisation level of the session."""
FLOAT = "tensor(float)"
LIMITS = {"fp16": 5e-3, "bf16": 4e-2}
"""Largest relative L2 error that is right; bf16 has three bits less than fp16, eight times its rounding error."""
LEAST_HALF, LARGEST, LARGE_MB = 0.95, 0.55, 10.0
NO_KERNEL = "Could not find an implementation"  # ONNX Runtime's CPU provider has few kernels for bfloat16
RUNS = {"emulated": "in the emulator", "none": "in ONNX Runtime, optimisation off", "all": "in ONNX Runtime"}


@dataclass
class Figures:
    """One result. `rel_l2`, `lost` (NaN and infinities at valid positions) and `lost_in_padding`: way → feed → figure;
    `refused`: way → why it did not load or run. `half` of `products` MatMul and Gemm read half only, `single` MatMul,
    Gemm and Einsum read fp32; rotary angles are not counted. Ratios are result to source: of the files with their
    external data, and of the weights alone."""

    rel_l2: dict[str, dict[str, float]] = field(default_factory=dict)
    lost: dict[str, dict[str, int]] = field(default_factory=dict)
    lost_in_padding: dict[str, dict[str, int]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    products: int = 0
    half: int = 0
    single: int = 0
    file_ratio: float = 0.0
    weight_ratio: float = 0.0
    source_megabytes: float = 0.0

    @property
    def worst(self) -> float:
        """The largest error in the emulator, 0 where it did not run."""
        return max(self.rel_l2.get("emulated", {}).values(), default=0.0)

    @property
    def size(self) -> tuple[float, str]:
        """What is to be halved: the files, or the weights alone where the graph is a large part of a small file."""
        large = self.source_megabytes > LARGE_MB
        return (self.file_ratio, "files") if large else (self.weight_ratio, "weights")


class Recorded:
    """The source's outputs, so that it runs once for all converters and is not in memory beside their results."""

    def __init__(self, source: Runner, feeds: Sequence[Feed]) -> None:
        self.name, self.output_names = source.name, source.output_names
        self.answers = [(feed.arrays, source.run(feed.arrays)) for feed in feeds]
        whole = compare(self, self, feeds, valid_only=True)
        self.valid = {(d.feed, d.output): d.compared for d in whole.differences}
        if not all(self.valid.values()):
            raise OnnxfixError("the source itself gives no finite number where there is a token")

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        return next(outputs for arrays, outputs in self.answers if arrays is feed)

    def close(self) -> None:
        self.answers.clear()


def reference(model: Model, path: Path, seed: int) -> tuple[Recorded, list[Feed]]:
    """Inputs as long as the model takes, and what its source makes of them, without optimisation.

    Text: three rows of 300 tokens padded at the right, the last one by 160; one row of 300 tokens; one row of the
    longest of `LENGTHS`. Anything else: one batch of two. Raises OnnxfixError when the source does not load or run.
    """
    source = OrtRunner(path, level="none", name="source")
    limit = longest_sequence(model) or LENGTHS[0]
    failure = ""
    try:
        for longest in (n for n in LENGTHS if n <= limit):
            feeds = list(_feeds(model, longest, seed))
            try:
                return Recorded(source, feeds), feeds
            except RunFailure as error:
                failure = failure or error.message
    finally:
        source.close()
    raise OnnxfixError(failure)


def _feeds(model: Model, longest: int, seed: int) -> Iterator[Feed]:
    rng = np.random.default_rng(seed)
    inputs = [(str(v.name), v) for v in required_inputs(model)]
    rows = {name: table_rows(v) or 1 for name, v in inputs if name.endswith("_ids")}
    if not rows:
        sizes = {name: [d if isinstance(d, int) else 2 for d in v.shape or ()] for name, v in inputs}
        yield Feed("inputs", {name: rng.standard_normal(s).astype(np.float32) for name, s in sizes.items()})
        return
    short = min(SHORT, longest)
    plans = {"padded": (3, short), str(short): (1, short), str(longest): (1, longest)}
    for plan, (batch, length) in plans.items():
        mask = np.ones((batch, length), dtype=np.int64)
        if batch > 1:
            mask[1, length - length // 8 :] = 0
            mask[2, length - length * 8 // 15 :] = 0
        ids = {n: rng.integers(min(SPECIAL, high // 2), high, (batch, length)) for n, high in rows.items()}
        yield Feed(plan, ids | {name: mask for name, _ in inputs if "mask" in name})


def figures(source: Model, recorded: Recorded, feeds: Sequence[Feed], path: Path) -> Figures:
    """Everything about the result in `path`. The files must be there still; sessions are closed one after another."""
    found = Figures()
    for way in ("none", "all"):
        _run(way, path, recorded, feeds, found)
    result = Model.open(path)
    found.source_megabytes = source.file_bytes / 1e6
    found.file_ratio = result.file_bytes / source.file_bytes
    found.weight_ratio = result.weights_bytes / source.weights_bytes
    result.graph.sort()  # onnxruntime.transformers puts its casts at the end, where onnx-ir cannot clone them
    graph_pass.run(InlineFunctions(), result)  # what is inside functions is counted and rounded too
    _count_products(result, found)
    for node in result.nodes():
        for value in node.outputs:  # AutoCast declares wrong shapes, by which ONNX Runtime shares buffers of new casts
            value.shape = value.shape if value.is_graph_output() else None
    if NO_KERNEL in found.refused.get("none", NO_KERNEL):
        with on_disk(emulated(result)) as rounded:
            _run("emulated", rounded, recorded, feeds, found)
    return found


def _run(way: str, path: Path, recorded: Recorded, feeds: Sequence[Feed], found: Figures) -> None:
    try:
        candidate = OrtRunner(path, level=WAYS[way])
        for feed in feeds:
            differences = compare(recorded, candidate, [feed], valid_only=True).differences
            if mismatch := next((d.shape_mismatch for d in differences if d.shape_mismatch), ""):
                raise RunFailure(f"{feed.name}: other shape, {mismatch}")
            lost = sum(recorded.valid[d.feed, d.output] - d.compared for d in differences)
            found.rel_l2.setdefault(way, {})[feed.name] = max(d.rel_l2 for d in differences)
            found.lost.setdefault(way, {})[feed.name] = lost
            found.lost_in_padding.setdefault(way, {})[feed.name] = sum(d.new_nonfinite for d in differences) - lost
        candidate.close()
    except LoadFailure as error:
        found.refused[way] = f"does not load: {error.message.partition(': ')[2]}"
    except RunFailure as error:
        found.refused[way] = f"does not run: {error.message.partition(': ')[2]}"


def _count_products(model: Model, found: Figures) -> None:
    types = infer(model.ir)
    angles = {node for site in rotary.find(model, types) for node in site.nodes}
    for node in model.nodes():
        if node.op_type not in ("MatMul", "Gemm", "Einsum") or not is_standard(node) or node in angles:
            continue
        read = {types.get(v) for v in node.inputs if v is not None}
        found.single += FLOAT in read
        if node.op_type != "Einsum":
            found.products += 1
            found.half += read <= set(HALVES)


def failures(found: Figures, precision: str, limit: float) -> Iterator[tuple[str, str]]:
    """(kind, text) of everything that is not as it should be, the gravest first."""
    for way, why in found.refused.items():
        if precision != "bf16" or NO_KERNEL not in why:
            kind, _, cause = why.partition(": ")
            yield kind, f"{kind} {RUNS[way]}: {cause}"
    for kind, lost in (("NaN", found.lost), ("NaN in padding", found.lost_in_padding)):
        for way, feed, count in ((w, f, n) for w, counts in lost.items() for f, n in counts.items() if n):
            yield kind, f"{kind}: {count:,} values at {feed} {RUNS[way]}"
    for way, feed, error in ((w, f, e) for w in RUNS for f, e in found.rel_l2.get(w, {}).items() if not e <= limit):
        yield "error", f"error {error:.1e} at {feed} {RUNS[way]}"
    if found.single:
        yield "fp32 products", f"{found.single} products in fp32"
    if found.half < LEAST_HALF * found.products:
        yield "fp32 products", f"{found.half} of {found.products} MatMul and Gemm in half precision"
    ratio, what = found.size
    if ratio > LARGEST:
        yield "size", f"{what} {ratio:.2f} of the source's"
