"""The `onnxfix` command: one module a sub-command, imported only when that command runs, so that --help is fast."""

from __future__ import annotations

import difflib
import gc
import importlib
import io
import signal
import sys
import threading
from collections.abc import Sequence

import click

from onnxfix.nouns.errors import OnnxfixError, spoken
from onnxfix.nouns.process import deadline

from . import voice

# Name and one-line help live here so that `onnxfix --help` imports no command module.
COMMANDS = {
    "export": "Export a torch or transformers checkpoint to ONNX and verify it against torch.",
    "diagnose": "Say why a model is slow, wrong or not really quantized.",
    "repair": "Repair a model, convert its precision or quantize it, and verify the result.",
    "optimize": "Write a model anew to be as fast as its target allows, and verify the result.",
    "diff": "Say what changed between two models, module by module.",
    "extract": "Cut a part out of a model, with the inputs it had inside it.",
    "bench": "Compare models with torch in latency, memory, size and task metrics.",
    "explain": "Explain a finding code or a repair pass.",
    "doctor": "Say what is installed here, and what it can do.",
    "demo": "Do all of it on the bundled two-head ModernBERT and print one table.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"onnxfix.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0].lower(), COMMANDS, 1)
            guess = f"diagnose {args[0]}" if args[0].endswith(".onnx") else next(iter(near), "")
            there = f"did you mean 'onnxfix {guess}'?" if guess else f"there are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command is called '{args[0]}'; {there}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="onnxfix", prog_name="onnxfix")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--isolated", is_flag=True, help="Read no onnxfix.toml or pyproject.toml.")
@click.pass_context
def cli(ctx: click.Context, debug: bool, isolated: bool) -> None:
    """Find out why an ONNX export is slow, wrong or not really quantized, repair the graph, prove the result.

    Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 the tool or its input failed.
    """
    ctx.obj = {"debug": debug}
    name = ctx.invoked_subcommand
    command = cli.get_command(ctx, name) if name is not None and not isolated else None
    if name is not None and command is not None:
        ctx.default_map = {name: settings(command, name)}


def settings(command: click.Command, name: str) -> dict[str, object]:
    """What a project's file says of a command's options."""
    from pathlib import Path

    from .options import settings

    return settings.of(command, name, Path.cwd())


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; turns every failure into one line and exit code 2."""
    # Graphs are hundreds of thousands of small objects that live to the end: collecting every 700 of them took a third
    # of the time of diagnosing a 28-layer model.
    gc.set_threshold(200_000, 20, 20)
    _write_anywhere()
    _end_by_signal()
    deadline.last_resort = _end
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    # Accept --debug behind the sub-command too: that is where people type it after a failure.
    arguments = (["--debug"] if debug else []) + [a for a in arguments if a != "--debug"]
    try:
        status = cli.main(args=arguments, prog_name="onnxfix", standalone_mode=False)
    except click.exceptions.Abort:
        _fail("interrupted")
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "onnxfix"
        _fail(f"{error.format_message().splitlines()[0]} (see '{path} --help')")
    except BrokenPipeError:
        sys.exit(2)
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror or error}")
    except Exception as error:
        if debug:
            import traceback

            _say(traceback.format_exc())
        _fail(_one_line(error))
    gc.freeze()  # the interpreter's last collection would look at every node again, for 0.4 s
    sys.exit(status if isinstance(status, int) else 0)


def _write_anywhere() -> None:
    """Let no character of a report end the command whose result is written: a pipe's encoding may lack arrows."""
    import codecs

    from onnxfix.render.words import spelled

    codecs.register_error("onnxfix.spelled", spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="onnxfix.spelled")


def _end_by_signal() -> None:
    """Let signals that end a process end it as an error does, so that temporary folders are cleared away."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # nohup's child goes on when the terminal closes
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _ended)


def _ended(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # the second of two must not end the clearing
    sys.exit(128 + number)


def _one_line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        from onnxfix.nouns.runtime.extras import missing

        error = missing(error) or error
    if isinstance(error, OnnxfixError):
        return spoken(error.sentence, voice.option)
    text = " ".join(str(error).split())[:300]
    return f"internal error: {type(error).__name__}: {text}; run again with --debug for the traceback"


def _end(error: OnnxfixError) -> None:
    """For native code that is late and listens to nothing: what would be done on the way out, and then no more."""
    import atexit
    import os

    _say(f"onnxfix: error: {_one_line(error)}")
    atexit._run_exitfuncs()  # temporary folders, and processes of ours
    os._exit(2)


def _fail(message: str) -> None:
    _say(f"onnxfix: error: {message}")
    sys.exit(2)


def _say(text: str) -> None:
    from . import console

    console.echo(text, err=True)
