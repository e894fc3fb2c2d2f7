"""The noise of each quantized layer against its float original: a sentence, and a table in each format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxfix.nouns.layer_noise import Against, LayerNoise
from onnxfix.render.markup import code, section, table, text
from onnxfix.render.words import plural, visible

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 10
"""Layers in a terminal and in a comment; the page and --format json have all."""
HEADS = ("layer", "own SNR", "as it runs", "without VNNI", "why")
# What a full bar stands for: int8 without outliers gives 30 to 45 dB.
FULL_DB, BAR = 50.0, 110
GOOD_DB, LOST_DB = 20.0, 10.0


def sentence(against: Against) -> str:
    """`against model.onnx on 4 feeds: relative L2 error 1.2e-02, and 0.41 on a CPU without VNNI`"""
    known = f"against {visible(against.reference)} on {plural(against.feeds, 'feed')}: relative L2 error "
    without = against.without_vnni
    return known + f"{against.error:.1e}" + ("" if without is None else f", and {without:.1e} on a CPU without VNNI")


def row(layer: LayerNoise) -> tuple[str, str, str, str, str]:
    """The cells of `HEADS`, as plain text."""
    without = "" if layer.without_vnni is None else _decibels(layer.without_vnni)
    where = layer.site.scope or layer.site.node or layer.site.value
    name = f"{where} ({layer.site.op_type})" if layer.site.scope else where
    return name, _decibels(layer.snr), _decibels(layer.accumulated), without, layer.cause.words


def show(against: Against, out: Console) -> None:
    """The noisiest layers as a table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    kept = [i for i in range(len(HEADS)) if HEADS[i] != "without VNNI" or against.without_vnni is not None]
    for i in kept:
        narrow = i in (1, 2, 3)
        drawn.add_column(HEADS[i], justify="right" if narrow else "left", no_wrap=narrow, overflow="fold")
    for layer in against.layers[:SHOWN]:
        cells = row(layer)
        drawn.add_row(*(Text(visible(cells[i]), style=_style(layer) if i == 1 else "") for i in kept))
    out.print(drawn)


def html(against: Against | None) -> str:
    """The section of the page, a bar for each layer; empty where nothing was measured."""
    if against is None or not against.layers:
        return ""
    hint = "In dB, of the float result over the difference: own, with float inputs, and as the model runs. "
    rows = [
        (code(name), _bar(layer), own, whole, without, text(why))
        for layer in against.layers
        for name, own, whole, without, why in [row(layer)]
    ]
    drawn = table((HEADS[0], "", *HEADS[1:]), rows, numeric=(2, 3, 4))
    return section("What quantization loses, layer by layer", text(hint + sentence(against)), [drawn])


def _bar(layer: LayerNoise) -> str:
    long = max(0.0, min(layer.snr, FULL_DB)) / FULL_DB * BAR
    kind = "lost" if layer.snr < LOST_DB else "noisy" if layer.snr < GOOD_DB else "fine"
    return (
        f'<svg class="snr" width="{BAR}" height="12" role="img" aria-label="{layer.snr:.0f} dB">'
        f'<rect class="{kind}" width="{max(long, 2):.0f}" height="12" rx="2"/></svg>'
    )


def _style(layer: LayerNoise) -> str:
    return "bold red" if layer.snr < LOST_DB else "yellow" if layer.snr < GOOD_DB else ""


def _decibels(number: float) -> str:
    return f"{number:.0f} dB"
