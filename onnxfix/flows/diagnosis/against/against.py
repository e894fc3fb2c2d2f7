"""A quantized model against its float original: the noise of every layer, and why the worst are noisy."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg, one_line
from onnxfix.nouns.layer_noise import NOTHING_DB, Against, LayerNoise, NoiseCause, decibels
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer
from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import Array
from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.passes.inline_functions import InlineFunctions
from onnxfix.surgery.sites.constants import constant_tensor, mover
from onnxfix.surgery.sites.linear import linears, quantized_weights
from onnxfix.surgery.sites.tokens.packed.packs import packs

from . import absorbed
from .layer_causes import noise_cause

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.eval.numerics.side_by_side import Spread

# Layers whose cause is looked for: the noisiest, where 8 bits could do better.
EXPLAINED, GOOD_DB = 12, 30.0
# Feeds that both models run on side by side; ranges of channels are of the same ones.
FEEDS = 4
PAIR = f"name the float model that it was made from with {arg('against')}"

Progress = Callable[[str], None]


def against(
    reference: Model, quantized: Model, feeds: Sequence[Feed], progress: Progress = lambda step: None
) -> Against:
    """Measure, as on a CPU whose sums of int8 products are exact, and as on one without VNNI, whatever this one is.

    Values are matched by name, which exporters give and quantizers keep. Raises OnnxfixError when the two have nothing
    in common, or one cannot be run.
    """
    from onnxfix.eval.numerics.saturation import exact, saturated

    taken = list(feeds)[:: max(1, len(feeds) // FEEDS)][:FEEDS]
    reference, quantized = _inlined(reference), _inlined(quantized)
    _refuse_strangers(reference, quantized)
    names = _shared(reference, quantized)
    if not names:
        raise OnnxfixError(
            f"{reference.path.name} and {quantized.path.name} have no value of one name in common",
            PAIR,
        )
    watched, clips = _behind_rounding(quantized, names), absorbed.ranges(reference, quantized)
    progress("float and int8 side by side")
    summed = exact(quantized)
    own = _spreads(reference, summed, taken, watched, clips, isolated=True)
    whole = _spreads(reference, summed, taken, watched, clips)
    layers = [LayerNoise(one.site, _snr(one), _snr(other)) for one, other in zip(own, whole, strict=True)]
    progress("as on a CPU without VNNI")
    without, error_without = saturated(quantized), None
    if len(without.graph) != len(quantized.graph):  # something can saturate
        error_without = _output_error(reference, without, taken)
        narrow = {x.site.value: _snr(x) for x in _spreads(reference, without, taken, watched, clips, isolated=True)}
        layers = [replace(x, without_vnni=narrow.get(x.site.value)) for x in layers]
    progress("causes")
    layers.sort(key=lambda layer: layer.snr)
    noisy = [layer for layer in layers if layer.snr < GOOD_DB][:EXPLAINED]
    explained = _explained(reference, quantized, noisy, names, taken)
    error = _output_error(reference, summed, taken)
    return Against(str(reference.path), len(taken), error, error_without, (*explained, *layers[len(noisy) :]))


def _spreads(
    reference: Model,
    candidate: Model,
    feeds: Sequence[Feed],
    only: Collection[str],
    clips: absorbed.Ranges,
    *,
    isolated: bool = False,
) -> list[Spread]:
    from onnxfix.eval.numerics.side_by_side import OF_FLOAT, profile
    from onnxfix.eval.run.runners import LoadFailure, RunFailure

    try:
        return profile(reference, candidate, *feeds, isolated=isolated, only=only, limit=OF_FLOAT, clips=clips)
    except (LoadFailure, RunFailure) as error:
        if packs(candidate) and not packs(reference):
            raise OnnxfixError(
                f"{candidate.path.name} packs its tokens, so that its layers have no rows that those of "
                f"{reference.path.name} could be held against",
                f"look at what {arg('int8')} makes without {arg('pack_tokens', True)}: its linears are the same",
            ) from error
        raise OnnxfixError(
            f"{candidate.path.name} cannot be held against {reference.path.name}: {one_line(error)}", PAIR
        ) from error


def _snr(spread: Spread) -> float:
    """In dB; the least there is where anything became NaN or infinite."""
    return decibels(math.inf if spread.lost else spread.rel_l2)


def _refuse_strangers(reference: Model, quantized: Model) -> None:
    one, other = ({v.name for v in m.graph.inputs if not v.is_initializer()} for m in (reference, quantized))
    if missing := sorted(str(name) for name in other - one):
        raise OnnxfixError(f"{reference.path.name} has no input '{missing[0]}', which {quantized.path.name} has", PAIR)


def _inlined(model: Model) -> Model:
    if not model.ir.functions:
        return model
    copy = model.clone()
    run(InlineFunctions(), copy)
    return copy


def _output_error(reference: Model, quantized: Model, feeds: Sequence[Feed]) -> float:
    """The worst relative L2 error of an output, without optimisation, which the emulation needs."""
    from onnxfix.eval.numerics.compare import compare
    from onnxfix.eval.run.runners import OrtRunner
    from onnxfix.eval.run.session import on_disk

    with on_disk(reference) as one, on_disk(quantized) as other:
        runners = [OrtRunner(p, level="none", custom_op_libraries=reference.custom_op_libraries) for p in (one, other)]
        found = compare(runners[0], runners[1], feeds, valid_only=True)
        for runner in runners:
            runner.close()
    if wrong := next((d for d in found.differences if d.shape_mismatch), None):
        said = f"the output '{wrong.output}' differs in shape ({wrong.shape_mismatch})"
        raise OnnxfixError(f"{quantized.path.name} is not made from {reference.path.name}: {said}", PAIR)
    return found.rel_l2


def _explained(
    reference: Model,
    quantized: Model,
    layers: Sequence[LayerNoise],
    names: Collection[str],
    feeds: Sequence[Feed],
) -> list[LayerNoise]:
    from onnxfix.eval.numerics.activations import activation_rows

    ours = _by_landing(reference, names)
    theirs = _by_landing(quantized, names)
    wanted = [ours[x.site.value] for x in layers if x.site.value in ours]
    inputs = {
        str(x.node.inputs[0].name)
        for x in wanted
        if x.node.inputs[0] is not None
        and x.node.graph is reference.graph
        and constant_tensor(x.node.inputs[0]) is None
    }
    rows = activation_rows(reference, inputs, feeds) if inputs else {}
    makers = {str(v.name): node.op_type for node in quantized.graph for v in node.outputs}
    return [
        replace(
            layer,
            cause=absorbed.cause(layer, makers.get(layer.site.value, ""))
            or _cause(ours.get(layer.site.value), theirs.get(layer.site.value), names, rows, layer),
        )
        for layer in layers
    ]


def _cause(
    ours: linears.Linear | None,
    theirs: linears.Linear | None,
    names: Collection[str],
    rows: Mapping[str, Array],
    layer: LayerNoise,
) -> NoiseCause:
    if layer.snr <= NOTHING_DB:
        return NoiseCause("not-finite", "NaN or infinite where the float model's result is not")
    if ours is None:
        return NoiseCause("not-a-linear", f"{layer.site.op_type} is no linear layer, and computes with rounded numbers")
    stored = quantized_weights.read(theirs) if theirs is not None else None
    weight = _weight(ours)
    activation = rows.get(str(ours.node.inputs[0].name)) if ours.node.inputs[0] is not None else None
    if stored is None or weight is None or activation is None or not _reads_the_same(theirs, ours, names):
        return NoiseCause()
    if stored.values.shape != weight.shape or activation.shape[1] != weight.shape[0]:
        return NoiseCause()
    return noise_cause(activation, weight, stored)


def _reads_the_same(theirs: linears.Linear | None, ours: linears.Linear, names: Collection[str]) -> bool:
    """Whether the quantized product's activation comes, through rounding alone, from the float product's."""
    value = theirs.node.inputs[0] if theirs is not None else None
    source = ours.node.inputs[0]
    while value is not None and source is not None:
        if value.name == source.name:
            return True
        producer = value.producer()
        if producer is None or producer.op_type not in _ROUNDING:
            return False
        value = producer.inputs[0]
    return False


_ROUNDING = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Identity", "Reshape"})


def _shared(reference: Model, quantized: Model) -> set[str]:
    """Names of values that nodes of both main graphs make."""
    made = ({v.name for node in m.graph for v in node.outputs if v.name} for m in (reference, quantized))
    one, other = made
    return {name for name in one & other if name}


def _behind_rounding(quantized: Model, names: Collection[str]) -> set[str]:
    """Shared values that are computed from the shared ones before them with quantized operators between."""
    rounded: set[ir.Value] = set()
    found: set[str] = set()
    for node in quantized.graph:
        if node.op_type in linears.QUANT_OPS or any(v in rounded for v in node.inputs if v is not None):
            found.update(str(v.name) for v in node.outputs if v.name in names)
            rounded.update(v for v in node.outputs if v.name not in names)
    return found


def _by_landing(model: Model, names: Collection[str]) -> dict[str, linears.Linear]:
    """Value of both models → the linear whose result first becomes it."""
    found: dict[str, linears.Linear] = {}
    for linear in linears.find(model):
        landing = _landing(linear.node, names)
        if landing:
            found.setdefault(landing, linear)
    return found


def _landing(node: ir.Node, names: Collection[str]) -> str:
    for _ in range(8):
        for value in node.outputs:
            if value.name in names:
                return str(value.name)
        readers = node.outputs[0].consumers()
        if not readers:
            return ""
        node = readers[0]
    return ""


def _weight(linear: linears.Linear) -> Array | None:
    """The float weight as the product reads it: [channels, columns]."""
    tensor = constant_tensor(linear.weight.source)
    if (
        tensor is None
        or linear.node.op_type not in linears.FLOAT_PRODUCTS
        or linear.node.inputs[1]
        is not (linear.weight.path[-1].outputs[0] if linear.weight.path else linear.weight.source)
    ):
        return None
    array = weight_data.array(tensor)
    for node in linear.weight.path:
        move = mover(node)
        if move is None:
            return None
        array = move(array)
    if integer(linear.node, "transB", 0):
        array = array.T
    return array.astype("float32") if array.ndim == 2 else None
