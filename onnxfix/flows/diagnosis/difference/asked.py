"""A difference as asked for by keywords, of files or of models in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .difference import Difference, Side

if TYPE_CHECKING:
    from onnxfix.flows.source import ModelLike, Source
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.process.progress import Advance

    from .placed import Placement


def diff(
    before: ModelLike,
    after: ModelLike,
    *,
    target: str | None = None,
    batch: int = 64,
    seq: int = 512,
    custom_op_library: Sequence[str | Path] = (),
    timeout: float | None = None,
    progress: Advance = lambda step: None,
) -> Difference:
    """Say what changed between two models: interface, operators by torch module, weights, and what stayed the same.

    Nodes are paired by what they compute and read, and weights by their numbers, whatever they are called; nothing is
    run. Weights are read one at a time. `target`: also where that provider runs the nodes of both, and which copies
    are between, for `batch` rows of `seq` tokens. `timeout`: seconds after which it gives up. Raises OnnxfixError.
    """
    from onnxfix.flows.source import on_disk
    from onnxfix.flows.values import at_least, several
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.plan import Sizes
    from onnxfix.nouns.process.deadline import limited
    from onnxfix.nouns.target import Target

    from .placed import placed

    at_least("batch", batch, 1, whole=True)
    at_least("seq", seq, 1, whole=True)
    at_least("timeout", timeout, 0)
    where = Target.resolve(target, "auto") if target is not None else None
    libraries = tuple(map(Path, several(custom_op_library)))
    with contextlib.ExitStack() as stack:
        sources = stack.enter_context(on_disk(before)), stack.enter_context(on_disk(after))
        advance = stack.enter_context(limited("diff", timeout, sum(s.bytes for s in sources), progress))
        advance("reading")
        models = Model.open(sources[0].path, libraries), Model.open(sources[1].path, libraries)
        plans = placed(models, where, Sizes(batch, seq), advance) if where is not None else None
        return _compared(models, sources, advance, plans)


def _compared(
    models: tuple[Model, Model], sources: tuple[Source, Source], progress: Advance, plans: Placement | None
) -> Difference:
    from onnxfix.diagnose.insides import inlined

    from .facts import facts
    from .graph.graphs import Graphs
    from .interface import Axes, ports
    from .weights.changes import changes
    from .weights.contents import Contents
    from .weights.pairs import Pairing
    from .weights.stored import stored

    inside = inlined(models[0]), inlined(models[1])
    tensors = stored(inside[0]), stored(inside[1])
    contents = Contents((each.tensor for side in tensors for each in side), progress)
    progress("weights")
    pairing = Pairing(*tensors, contents)
    pairing.run(*inside)
    progress("graphs")
    graphs = Graphs(inside, contents)
    graphs.match(pairing.pairs)
    pairing.read_alike(graphs.read_alike(*tensors))
    progress("modules")
    axes = Axes()
    interface = [*ports("input", graphs.inputs, axes), *ports("output", graphs.outputs, axes)]
    found = tuple(facts(*models, inside))
    counting = any(port.counts for port in interface) or any(fact.counts for fact in found)
    sides = [_side(model, source) for model, source in zip(models, sources, strict=True)]
    files = tuple(file for m, s in zip(models, sources, strict=True) for file in (s.path, *m.external_files))
    return Difference(
        before=sides[0],
        after=sides[1],
        same=graphs.are_equal and not counting,
        ports=tuple(interface),
        facts=found,
        nodes=graphs.nodes(),
        names=graphs.names(),
        operators=graphs.operators(),
        modules=graphs.modules(),
        weights=changes(pairing, inside, tensors, contents),
        placement=plans,
        files=files,
    )


def _side(model: Model, source: Source) -> Side:
    nodes = sum(1 for _ in model.nodes())
    return Side(str(source.shown), nodes, model.opset, model.ir.ir_version, model.file_bytes)
