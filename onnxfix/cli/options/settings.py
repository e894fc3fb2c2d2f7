"""Settings of a project: what options are where nobody types them, from `onnxfix.toml` or `[tool.onnxfix]` of
`pyproject.toml`, in the current folder or the nearest above it within the same repository."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from onnxfix.nouns.errors import OnnxfixError

NAMES = ("onnxfix.toml", "pyproject.toml")
TYPED = ("script", "script-last", "custom-op-library", "output", "force")
"""What runs somebody's code, and where something is written, is typed: a folder that was fetched may hold any file."""


def of(command: click.Command, name: str, folder: Path) -> dict[str, Any]:
    """Defaults by parameter for one command: the file's own keys, as far as it has such options, and those of the
    command's table, of which it must have all. Raises OnnxfixError for a file that is none, and for wrong keys."""
    file = next(_files(folder), None)
    if file is None:
        return {}
    table = _table(file)
    options = {option: p for p in command.params if isinstance(p, click.Option) for option in _spelled(p)}
    found = {}
    for key, value in _own(table, name, file).items():
        if key not in options:
            near = difflib.get_close_matches(key, options, 1)
            hint = f"did you mean {near[0]}?" if near else f"see 'onnxfix {name} --help'"
            raise OnnxfixError(f"{file}: {name} has no option {key}", hint)
        if key in TYPED:
            raise OnnxfixError(f"{file}: {key} is taken from nobody's file", f"type --{key} instead")
        found[key] = value
    shared = {key: value for key, value in table.items() if key in options and key not in TYPED}
    return {str(options[k].name): _placed(options[k], v, file.parent) for k, v in {**shared, **found}.items()}


def _own(table: Mapping[str, Any], name: str, file: Path) -> Mapping[str, Any]:
    own = table.get(name, {})
    if not isinstance(own, Mapping):
        raise OnnxfixError(f"{file}: {name} is no table", f"write [{name}] above its options")
    return own


def _files(folder: Path) -> Iterator[Path]:
    """Those that have settings, the nearest first. A repository's root is where looking ends."""
    for each in (folder, *folder.parents):
        for name in NAMES:
            file = each / name
            if file.is_file() and (name == NAMES[0] or _table(file)):
                yield file
        if (each / ".git").exists():
            return


def _table(file: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OnnxfixError(f"{file} cannot be read: {error}", "mend it, or use --isolated") from error
    found = content.get("tool", {}).get("onnxfix", {}) if file.name != NAMES[0] else content
    if not isinstance(found, Mapping):
        raise OnnxfixError(f"{file}: tool.onnxfix is no table", "write [tool.onnxfix] above its options")
    return found


def _spelled(option: click.Option) -> list[str]:
    """`max-memcpy`, and `verify` of `--verify/--no-verify`."""
    return [each.removeprefix("--") for each in option.opts if each.startswith("--")]


def _placed(option: click.Option, value: Any, folder: Path) -> Any:
    """A path from the file's own folder, whoever reads it from wherever; one of what may be several as a list."""
    if option.multiple and not isinstance(value, list):
        value = [value]
    if not isinstance(option.type, click.Path):
        return value
    if isinstance(value, list):
        return [str(folder / each) for each in value]
    return str(folder / value) if isinstance(value, str) else value
