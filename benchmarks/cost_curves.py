"""What a token costs, against the length of rows and against how full a batch is: `python benchmarks/cost_curves.py
[--rounds 5] [--images docs/images]`.

ModernBERT-base's shape with random weights, exported by torch's dynamo exporter: 3 layers, the first of which is global
and two local. ONNX Runtime on one thread runs the export, the graph with attention in one operator, and that of
`onnxfix optimize` in fp32 and with int8 linears, in rounds. Times are CPU seconds of the process, medians. A local
layer's own cost is half of what 3 layers take more than the global one alone.

Prints two tables and draws them. Ends with 0 when a token of a local layer costs at most twice as much in rows of the
greatest length as in rows of 512, 1 when it costs more.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import onnxruntime
from fastest_graphs import DEFAULT_CACHE, WORDS, Load, exported

import onnxfix

TOKENS = 8192
LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)
FULL_BIAS = 2048
"""The longest rows of what adds a bias to all scores: at 8,192 these are 3.2 GB in each copy."""
FILLS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
LINEAR = 2.0
GRAPHS = ("export", "fused", "optimize", "optimize --int8 dynamic")
COLOURS = ("#555555", "#0072b2", "#d55e00", "#009e73", "#cc79a7")
PRICE = "CPU ms a thousand tokens of the batch"
Times = dict[str, dict[float, float]]


def files(layers: int, cache: Path) -> dict[str, Path]:
    source = exported("modernbert", layers, cache)
    made = {"export": source}
    for name, recipe, int8 in zip(GRAPHS[1:], ("fused", "fastest", "fastest"), (None, None, "dynamic"), strict=True):
        path = cache / f"{source.stem}.curve-{recipe}{'-int8' if int8 else ''}.onnx"
        onnxfix.repair(
            source, output=path, target="cpu", precision="fp32", recipe=recipe, int8=int8, verify=False, force=True,
            max_error=1.0 if int8 else None,
        )  # type: ignore[arg-type]  # fmt: skip
        made[name] = path
    return made


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.enable_cpu_mem_arena = False  # what one length took is free for the next
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def timed(sessions: dict[str, onnxruntime.InferenceSession], load: Load, rounds: int) -> dict[str, float]:
    """CPU milliseconds a thousand places of the batch, padding included, by name."""
    arrays = load.arrays(WORDS)
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(rounds + 1):
        for name, each in sessions.items():
            begun = time.process_time()
            each.run(None, arrays)
            if turn:  # the first warms
                seconds[name].append(time.process_time() - begun)
    return {name: 1e6 * median(found) / (load.rows * load.length) for name, found in seconds.items()}


def by_length(three: dict[str, Path], one: dict[str, Path], rounds: int) -> Times:
    found: Times = {name: {} for name in (*GRAPHS, "a local layer of optimize")}
    for length in LENGTHS:
        load = Load(TOKENS // length, length, 1.0)
        names = [name for name in GRAPHS if length <= FULL_BIAS or name not in ("export", "fused")]
        sessions = {name: session(three[name]) for name in names} | {"one layer": session(one["optimize"])}
        took = timed(sessions, load, rounds)
        for name in names:
            found[name][length] = took[name]
        found["a local layer of optimize"][length] = (took["optimize"] - took["one layer"]) / 2
        say(f"{length:6}", found, length)
    return found


def by_fill(three: dict[str, Path], rounds: int) -> Times:
    found: Times = {name: {} for name in GRAPHS}
    sessions = {name: session(three[name]) for name in GRAPHS}
    for fill in FILLS:
        for name, took in timed(sessions, Load(8, 512, fill), rounds).items():
            found[name][fill] = took
        say(f"{fill:6.0%}", found, fill)
    return found


def say(first: str, found: Times, place: float) -> None:
    sys.stdout.write(first + "".join(f"{times.get(place, float('nan')):28.1f}" for times in found.values()) + "\n")
    sys.stdout.flush()


def drawn(found: Times, title: str, *, log: bool, path: Path) -> None:
    import vl_convert

    values = [{"v": n, "x": x, "y": y} for n, times in found.items() for x, y in times.items()]
    places = sorted({value["x"] for value in values})
    scale: dict[str, Any] = {"type": "log", "nice": False} if log else {"zero": True}
    axis = {"values": places, "format": "~g" if log else "%", "grid": False, "labelOverlap": True}
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json", "background": "white", "width": 560,
        "height": 300, "data": {"values": values}, "mark": {"type": "line", "point": True, "strokeWidth": 2},
        "config": {"font": "DejaVu Sans", "legend": {"labelLimit": 320}},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "scale": scale, "axis": axis, "title": title},
            "y": {"field": "y", "type": "quantitative", "scale": scale, "title": PRICE},
            "color": {"field": "v", "type": "nominal", "title": None, "sort": list(found),
                      "scale": {"domain": list(found), "range": list(COLOURS[: len(found)])}},
        },
    }  # fmt: skip
    path.write_bytes(vl_convert.vegalite_to_png(spec, scale=2))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--images", type=Path, help="draw there, too")
    given = parser.parse_args()
    three, one = files(3, given.cache), files(1, given.cache)
    sys.stdout.write("tokens" + "".join(f"{name:>28}" for name in (*GRAPHS, "a local layer of optimize")) + "\n")
    lengths = by_length(three, one, given.rounds)
    sys.stdout.write("\n  full" + "".join(f"{name:>28}" for name in GRAPHS) + "\n")
    fills = by_fill(three, given.rounds)
    if given.images:
        drawn(lengths, "tokens a row, 8,192 in each batch", log=True, path=given.images / "cost-by-length.png")
        drawn(fills, "part of 8 rows of 512 that are tokens", log=False, path=given.images / "cost-by-fill.png")
    local = lengths["a local layer of optimize"]
    grown = local[LENGTHS[-1]] / local[512]
    sys.stdout.write(
        f"\na token of a local layer, {LENGTHS[-1]:,} by 512 tokens a row: {grown:.2f}, target at most {LINEAR}: "
    )
    sys.stdout.write("met\n" if grown <= LINEAR else "missed\n")
    return int(grown > LINEAR)


if __name__ == "__main__":
    sys.exit(main())
