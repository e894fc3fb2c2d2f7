"""`onnxfix repair`: change a model, verify the result against the original, then write it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import console, options
from .output import check_destination, emit_json, json_text, write_report

if TYPE_CHECKING:
    from onnxfix.flows.repair.repair import Repaired


# Texts of a table that a calibration runs on: activations are what is looked at, not answers. Ranges that int8 fixes
# want more of them than a search for what overflows (the bundled model's F1: within 0.008 with 64, 0.002 with 128).
HALF_ROWS, INT8_ROWS = 64, 128


def _positive(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuses what no error can be compared with: NaN and negative numbers."""
    if value is not None and not value >= 0:
        raise click.BadParameter(f"{value} is not a number of 0 or more", context, parameter)
    return value


@click.command("repair", short_help="Repair a model, convert its precision or quantize it, and verify the result.")
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: MODEL.fp16.onnx and the like.")
@click.option(
    "--target",
    type=options.target,
    help="Default: cuda; cpu with --int8 dynamic or static.",
)
@options.conversion
@options.quantization
@click.option("--max-error", type=float, callback=_positive, help="Largest relative L2 error that is still written.")
@click.option("--feeds", type=click.Path(path_type=Path), metavar="FILE.npz", help="Inputs to verify on.")
@click.option(
    "--calibrate",
    "calibrate_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Real inputs (.npz, or a table of texts): for ranges of --int8, and to keep what half precision harms.",
)
@options.scripts
@options.search
@options.real_inputs
@click.option("--no-verify", is_flag=True, help="Write without running the result; it says 'unverified' then.")
@click.option("--report", "report_file", type=click.Path(path_type=Path), help="Write the JSON report to a file.")
@click.option("--force", is_flag=True, help="Replace an existing file that is no earlier result of repair.")
@click.option("--dry-run", is_flag=True, help="Do everything but write the model.")
@click.option("--diff", "show_diff", is_flag=True, help="List every change to the graph.")
@options.libraries
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(model: Path | None, output: Path | None, form: str, **given: Any) -> int:
    """Repair MODEL (default: model.onnx here), verify the result against it, and write it beside the original."""
    from onnxfix.diagnose.placement.optimised import compiler

    compiler.shared().start()  # its imports run beside ours and beside reading the model
    from onnxfix.flows.inputs import feeds_of_arrays
    from onnxfix.flows.repair.repair import repair
    from onnxfix.surgery.recipes import Wish
    from onnxfix.surgery.script import Script
    from onnxfix.surgery.sites.half.block_list import BlockList
    from onnxfix.surgery.sites.half.half_plan import HalfOptions

    source = model or Path("model.onnx")
    if given["report_file"]:
        check_destination(given["report_file"], (".json",), "--report")
    calibration = _calibration(given, source)
    wish = Wish(
        target=_target(given["target"], given["int8"]),
        precision=given["precision"] or ("fp32" if given["int8"] else "fp16"),
        int8=given["int8"] or "",
        bits=int(given["bits"]),
        block_size=int(given["block_size"] or 0),
        inputs=tuple(feed.arrays for feed in calibration) if given["int8"] else (),
        method=given["method"],
        migrate=given["migrate"],
        fuse=given["fuse"],
        reduce_range=given["reduce_range"],
        heads=given["quantize_heads"],
        prepare=given["prepare"],
        scripts=tuple(map(Script.load, given["scripts"])),
        scripts_last=tuple(map(Script.load, given["scripts_last"])),
        converter=given["converter"],
        half=HalfOptions(
            keep_rotary_fp32=given["keep_rotary_fp32"],
            blocked=BlockList(given["block_ops"], given["block_nodes"], given["block_scopes"]),
            keep_like=tuple(dict.fromkeys(given["keep_likes"])),
            io_types=given["io_types"],
        ),
    )
    search = _search(given, wish, source, output)
    with console.progress("repair") as advance:
        result = repair(
            source,
            wish,
            output,
            check=not given["no_verify"],
            max_error=None if search and search.metric != "rel-l2" else given["max_error"],
            feeds=feeds_of_arrays(given["feeds"], source, given["libraries"]),
            calibration=calibration,
            search=search,
            checkpoint=given["checkpoint"],
            dry_run=given["dry_run"],
            force=given["force"],
            custom_op_libraries=given["libraries"],
            progress=advance,
        )
    document = result.as_dict()
    if given["show_diff"]:
        document["diff"] = [c.as_dict() for c in result.outcome.changes]
    if given["report_file"]:
        write_report(given["report_file"], json_text(document), ())
    if form == "json":
        emit_json(document)
    else:
        _show(result, given["show_diff"])
    return 1 if result.after.fails("error") else 0


def _target(name: str | None, int8: str | None) -> Any:
    from onnxfix.nouns.target import Target

    # products of int8 activations are for the CPU: asking for them says where the model shall run
    return Target.resolve(name or ("cpu" if int8 in ("dynamic", "static") else "cuda"))


def _search(given: dict[str, Any], wish: Any, source: Path, output: Path | None) -> Any:
    """What to search for, None without --search."""
    from onnxfix.flows.repair.repair import default_output
    from onnxfix.flows.repair.search import SearchWish
    from onnxfix.flows.repair.verification import HALVES, LIMITS
    from onnxfix.nouns.errors import OnnxfixError

    if not given["searches"]:
        if given["metric"] != "rel-l2" or given["search_log"]:
            raise OnnxfixError("--metric and --search-log need --search", "add it, or leave them out")
        return None
    if not wish.int8 and wish.precision not in HALVES:
        raise OnnxfixError("--search needs --precision fp16 or bf16, or --int8", "leave it out")
    if not wish.prepare:
        raise OnnxfixError("--search needs a graph that is prepared", "leave --no-prepare out")
    target = output or default_output(source, wish)
    limit = given["max_error"] if given["max_error"] is not None else LIMITS[wish.kind]
    return SearchWish(limit, given["metric"], given["search_log"] or target.with_name(f"{target.name}.search.jsonl"))


def _calibration(given: dict[str, Any], source: Path) -> list[Any]:
    from onnxfix.flows.inputs import feeds_of
    from onnxfix.nouns.errors import OnnxfixError

    file, int8 = given["calibrate_file"], given["int8"]
    if file is None:
        return []
    if int8 == "weight-only" or (not int8 and given["precision"] == "fp32"):
        raise OnnxfixError("--calibrate needs --precision fp16 or bf16, or --int8 static or dynamic", "leave it out")
    return feeds_of(
        file,
        source,
        libraries=given["libraries"],
        checkpoint=given["checkpoint"],
        text=given["text"],
        rows=INT8_ROWS if int8 else HALF_ROWS,
    )


def _show(result: Repaired, show_diff: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from onnxfix.render.words import plural, quantity

    out = console.out()
    if show_diff:
        for change in result.outcome.changes:
            out.print(f"[dim]{change.pass_name}[/] {escape(str(change))}", soft_wrap=True)
        out.print()
    name = str(result.output) if result.output else f"{result.source} (dry run: nothing written)"
    sizes = f"{quantity(result.source_bytes)} → {'' if result.output else 'about '}{quantity(result.result_bytes)}"
    out.print(f"[bold]{escape(name)}[/]  {sizes}, for {result.before.target['provider']}")
    for step, count in Counter(c.pass_name for c in result.outcome.changes).items():
        out.print(f"  {step}: {plural(count, 'change')}")
    for note in result.outcome.notes:
        out.print(f"  {escape(note)}", style="dim")
    table = Table("finding", "before", "after", box=None, padding=(0, 2), header_style="bold")
    before = Counter(f"{f.severity} {f.code} {f.name}" for f in result.before.findings)
    after = Counter(f"{f.severity} {f.code} {f.name}" for f in result.after.findings)
    for key in dict.fromkeys([*before, *after]):
        table.add_row(key, str(before[key]), str(after[key]))
    copies = len(result.before.plan.copies), len(result.after.plan.copies)
    table.add_row("Memcpy nodes", str(copies[0]), str(copies[1]))
    coverage = [f"{r.quantization['quantized']} of {r.quantization['linears']}" for r in (result.before, result.after)]
    table.add_row("linears quantized", *coverage)
    out.print(table)
    for finding in result.after.findings:
        if finding.severity == "error":
            out.print(f"{finding.code} {finding.name}: {finding.message}", markup=False, soft_wrap=True)
    style = "" if result.comparisons else "yellow"
    out.print(f"verified: {result.verified}", style=style, markup=False, soft_wrap=True)
