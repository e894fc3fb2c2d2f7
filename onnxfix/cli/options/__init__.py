"""Options of commands in groups: each a decorator, in the order in which --help lists them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from onnxfix.export.layouts.layout import NAMES as LAYOUTS
from onnxfix.flows.repair.fastest.names import NAMES
from onnxfix.nouns.runtime.provider import meant, providers

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class File(click.Path):
    """A path that is no stream: a graph is looked at in several places at once, and what is written is whole or absent,
    so that `-` would be a file of that name."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "-":
            self.fail("'-' is no file: standard input and output are not taken here; name a file", param, ctx)
        return super().convert(value, param, ctx)


class Target(click.Choice[str]):
    """A provider by its name, or what was probably meant by another."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        near = meant(str(value))
        if value not in self.choices and near in self.choices:
            self.fail(f"'{value}' is no target; did you mean {near}? There are {', '.join(self.choices)}", param, ctx)
        return super().convert(value, param, ctx)


file = File()


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def without(flag: str, keyword: str, said: str) -> Decorator:
    """A flag that takes away what is done by default: `--no-verify` is `verify=False`."""
    return click.option(flag, keyword, is_flag=True, flag_value=False, default=True, help=said)


conversion = together(
    click.option("--precision", type=click.Choice(["fp32", "fp16", "bf16"]), help="Default: fp16; fp32 with --int8."),
    click.option("--keep-rotary-fp32/--no-keep-rotary-fp32", default=True, show_default=True),
    click.option("--block-op", multiple=True, metavar="OP", help="Keep operators of a type as they are."),
    click.option(
        "--block-node",
        multiple=True,
        metavar="REGEX",
        help="Keep nodes by name (first output where there is none) or torch scope.",
    ),
    click.option(
        "--block-scope",
        multiple=True,
        metavar="PATTERN",
        help="Keep torch modules, as in 'layers.3.*'.",
    ),
    click.option(
        "--keep-fp32-like",
        multiple=True,
        type=click.Choice(["rotary", "norms", "softmax", "mask"]),
        help="Keep places of a kind in fp32.",
    ),
    click.option(
        "--converter",
        type=click.Choice(["onnxfix", "onnxconverter-common", "onnxruntime"]),
        default="onnxfix",
        show_default=True,
        help="Who converts to fp16; the graph is prepared so that each does it right.",
    ),
    click.option(
        "--io-types",
        type=click.Choice(["keep", "half"]),
        default="keep",
        show_default=True,
        help="Types of the model's inputs and outputs.",
    ),
)
"""What a conversion of precision does, and what it leaves alone."""

max_seq = click.option(
    "--max-seq",
    type=click.IntRange(1, 1_000_000),
    metavar="TOKENS",
    help="The longest row that a faster graph will get: short ones want no blocks. Default: not known.",
)
packed_inputs = click.option(
    "--packed-inputs",
    is_flag=True,
    help="Take real tokens alone, one behind the other, and cu_seqlens and token_offset in the place of a mask.",
)
quantization = together(
    click.option("--int8", type=click.Choice(["dynamic", "static", "weight-only"]), help="Quantize the linears."),
    click.option(
        "--bits",
        type=click.Choice([8, 4]),
        default=8,
        show_default=True,
        help="Of weights, with --int8 weight-only.",
    ),
    click.option(
        "--block-size",
        type=click.Choice([32, 64, 128]),
        help="Weights that share a scale, with --int8 weight-only. Default: 128; 32 with --bits 4.",
    ),
    click.option(
        "--calibration",
        type=click.Choice(["minmax", "entropy", "percentile"]),
        default="minmax",
        show_default=True,
        help="How --int8 static takes ranges from the inputs of --calibrate.",
    ),
    click.option(
        "--migrate-outliers/--no-migrate-outliers",
        default=True,
        show_default=True,
        help="Move outliers of activations into weights first, by the inputs of --calibrate.",
    ),
    click.option(
        "--fuse-attention",
        is_flag=True,
        help="With --int8 for a CPU: attention and rotary products in one operator each, which is faster.",
    ),
    click.option(
        "--pack-tokens",
        is_flag=True,
        help="Compute what is of one token alone (linears, norms) without the padding of a batch.",
    ),
    click.option(
        "--recipe",
        type=click.Choice(NAMES),
        help="Write the graph anew to be faster, as far as it goes: see optimize.",
    ),
    max_seq,
    packed_inputs,
    click.option(
        "--reduce-range", is_flag=True, help="7-bit weights, for CPUs without VNNI, where 8 bits can saturate."
    ),
    click.option(
        "--quantize-heads", is_flag=True, help="Quantize the small last linears, which decide the classes, too."
    ),
    click.option(
        "--prepare/--no-prepare",
        default=True,
        show_default=True,
        help="With --int8 dynamic: prepare the graph, or run the quantizer alone.",
    ),
)
"""How linears are quantized."""

search = together(
    click.option(
        "--search",
        is_flag=True,
        help="Find the few nodes to keep in fp32, or in float with --int8, for --max-error.",
    ),
    click.option("--search-log", type=file, metavar="FILE", help="Default: OUTPUT.search.jsonl."),
)
"""Finding the few nodes that have to stay as they are."""

metric = together(
    click.option(
        "--metric",
        type=click.Choice(["rel-l2", "cosine", "argmax", "f1"]),
        help="What --max-error is of, with --int8, and what --search measures: argmax and, without labels, f1 are "
        "against the source's choices.",
    ),
    click.option(
        "--label",
        multiple=True,
        metavar="[OUTPUT=]COLUMN",
        help="Labels in the table of --calibrate: the limit of --int8 is by how much F1 falls.",
    ),
)
"""How an error is measured."""

real_inputs = together(
    click.option("--text", default="text", show_default=True, metavar="COLUMN", help="Texts of a table given."),
    click.option(
        "--checkpoint",
        type=file,
        metavar="DIR|ORG/NAME",
        help="Tokenizer of texts, a folder or of the Hub; default: the export's own.",
    ),
)
"""How texts of a table become inputs."""

gate = together(
    click.option("--select", multiple=True, metavar="CODE", help="Only findings whose codes begin so, or of a name."),
    click.option("--ignore", multiple=True, metavar="CODE", help="No findings whose codes begin so, or of a name."),
    click.option("--max-memcpy", type=click.IntRange(0), metavar="N", help="Fail where there are more copies."),
    click.option("--max-bytes", type=click.IntRange(0), metavar="N", help="Fail where file and weights are larger."),
    click.option(
        "--min-quantized", type=click.FloatRange(0, 1), metavar="SHARE", help="Fail where less of the linears is."
    ),
    click.option("--baseline", type=file, metavar="FILE", help="Findings that are accepted: only new ones count."),
    click.option("--update-baseline", is_flag=True, help="Write what is found into --baseline."),
)
"""Which findings count, and what else a model is held to."""

scripts = together(
    click.option(
        "--script",
        multiple=True,
        metavar="FILE.py[:FUNCTION]",
        help="Run your onnx_graphsurgeon function first.",
    ),
    click.option(
        "--script-last",
        multiple=True,
        metavar="FILE.py[:FUNCTION]",
        help="Run one on what repair made.",
    ),
)
"""Functions of the user's own."""

layout = click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    help="Write a folder as a library loads it, with config and tokenizer: --output names it.",
)
timeout = click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Give up after so long, and say at what. Default: a run of the model has a minute, and more with its weights.",
)
libraries = click.option("--custom-op-library", multiple=True, type=file, metavar="FILE.so")
target = Target([each.name for each in providers()])
bench_provider = Target(["auto", *sorted(each.name for each in providers() if each.array_device)])
