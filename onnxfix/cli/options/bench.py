"""The options of `onnxfix bench`, in the order in which --help lists them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from . import bench_provider, file, together, without


class Numbers(click.ParamType[tuple[int, ...]]):
    """Numbers from 1, separated by commas."""

    name = "N,N,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is no list of numbers such as 1,8,64", param, ctx)
        if min(found) < 1 or len(set(found)) < len(found):
            self.fail(f"'{value}' holds a number below 1 or one twice", param, ctx)
        return found


def _path(*names: str, **more: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(*names, type=file, **more)


options = together(
    click.option(
        "--sweep",
        multiple=True,
        type=click.Choice(["seed", "repaired", "all"]),
        help="Rows by name, made for it; repeatable.",
    ),
    _path("--checkpoint", metavar="DIR|ORG/NAME", help="A folder, or of the Hub. Default: what the file records."),
    click.option("--factory", default="", metavar="MODULE:FUNCTION", help="Function that returns the torch module."),
    _path("--data", metavar="FILE", help="Texts: .parquet, .csv, .tsv or .jsonl."),
    click.option("--text", default="text", show_default=True, metavar="COLUMN", help="Column of the texts."),
    click.option("--label", multiple=True, metavar="HEAD[=COLUMN]", help="Labels of an output; repeatable."),
    click.option("--metric", default="", metavar="MODULE:FUNCTION", help="Own metric of (gold, logits), beside F1."),
    click.option("--batch", type=Numbers(), default="16", show_default=True, help="Rows a batch; several: a sweep."),
    click.option("--seq", type=Numbers(), default=(), help="Tokens a row. Default: the data's own lengths."),
    click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Timed rounds."),
    click.option("--limit", type=click.IntRange(min=1), metavar="ROWS", help="Use the first rows only."),
    click.option(
        "--batching",
        type=click.Choice(["padded", "sorted", "both"]),
        default="padded",
        show_default=True,
        help="Rows in data order, padded per batch; sorted by length first, as a batching server would; or both.",
    ),
    click.option("--bucket", is_flag=True, help="Short for --batching sorted."),
    click.option(
        "--max-length", type=click.IntRange(min=8), metavar="TOKENS", help="Default: the tokenizer's, max. 512."
    ),
    click.option(
        "--threads", type=click.IntRange(min=0), default=0, help="CPU threads. Default: each runtime's choice."
    ),
    click.option("--provider", type=bench_provider, default="auto", show_default=True),
    without("--no-torch", "torch", "Compare the ONNX files with each other only."),
    click.option(
        "--torchao/--no-torchao",
        default=None,
        help="Torch with int8 linears by torchao as well. Default: where it is installed.",
    ),
    click.option(
        "--at-once", type=click.IntRange(min=1), default=4, show_default=True, help="Variants loaded side by side."
    ),
    click.option("--ratio-to", default="", metavar="VARIANT", help="The baseline of ratios. Default: torch bf16."),
    _path("--baseline", metavar="FILE", help="results.parquet of an earlier bench: say what is worse now."),
    click.option(
        "--tolerance",
        type=click.FloatRange(min=0),
        default=10.0,
        show_default=True,
        metavar="PERCENT",
        help="Of time, memory and size, with --baseline.",
    ),
    click.option("--profile", is_flag=True, help="Where the time of ONNX files goes: by operator, module, provider."),
    click.option("--resume", is_flag=True, help="Go on with an interrupted bench of the same settings."),
    without("--no-verify", "verify", "With --sweep: make files without running them; the bench does."),
    _path("-o", "--output", default="bench", show_default=True, help="Folder of the report."),
    click.option("--force", is_flag=True, help="Replace files in that folder that no bench made."),
    click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True),
)
