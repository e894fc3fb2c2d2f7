"""What commands print and write: JSON that every parser takes, files that are whole or absent, text they share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.render import shown

from . import console, voice


def emit_json(document: object) -> None:
    """Print one JSON document on stdout, with characters that its encoding lacks as JSON writes them in ASCII."""
    text = json_text(document)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text)
    console.echo(text)


def json_text(document: object) -> str:
    """JSON in the words of the command line."""
    return shown.json_text(document, voice.option)


def check_destination(
    path: Path, endings: tuple[str, ...], read: Mapping[str, Any], *, keyword: str = "output", force: bool = False
) -> None:
    """Refuse, before any work, a file that is read, is no report of ours, or whose ending is none's: a model must never
    become one. `read` are the call's other values, by keyword."""
    from onnxfix.flows.outputs import keep_foreign, keep_inputs

    option = "-o" if keyword == "output" else f"--{keyword}"
    if not path.parent.is_dir():
        raise OnnxfixError(f"folder {path.parent} does not exist", f"create it or name another file with {option}")
    if path.suffix.lower() not in endings:
        raise OnnxfixError(f"{path} does not end in {' or '.join(endings)}", f"name another file with {option}")
    keep_inputs({keyword: path}, read)
    keep_foreign(keyword, path, force)


def write_report(path: Path, text: str, sources: Iterable[Path]) -> None:
    """Write a report, all or nothing, and never over one of the model's own files."""
    from onnxfix.nouns.model import staged

    if any(path.exists() and source.exists() and path.samefile(source) for source in sources):
        raise OnnxfixError(f"{path} belongs to the model", "name another output with -o")
    with staged(path.parent) as stage:
        draft = stage / path.name
        draft.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
        draft.replace(path)
