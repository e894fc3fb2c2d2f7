"""A checkpoint of the Hub as a folder: the cache's snapshot, downloaded first where there is network.

All of it goes through huggingface_hub, so that its cache, its settings (HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE,
HF_ENDPOINT) and its tokens are those of every other library here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxfix.nouns.errors import OnnxfixError, arg

from . import known_files, refusals

MAIN = "main"
_ID = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95})(?:@([\w./-]+))?", re.ASCII)


@dataclass(frozen=True)
class HubId:
    """`org/name`, and the branch, tag or commit that is wanted."""

    name: str
    revision: str = MAIN

    def __str__(self) -> str:
        return self.name if self.revision == MAIN else f"{self.name}@{self.revision}"

    @staticmethod
    def of(given: str | Path, revision: str = "") -> HubId | None:
        """What a caller names, None where that is a folder or a file that is there, or no id: `org/name` or
        `org/name@revision`. Raises OnnxfixError for a revision of what has none, or for two of them."""
        text = given.as_posix() if isinstance(given, Path) else given
        found = None if Path(given).exists() else _ID.fullmatch(text)
        if found is None:
            if revision:
                raise OnnxfixError(
                    f"{arg('revision', revision)} is of a checkpoint on the Hub, and {text} is a path", "leave it out"
                )
            return None
        if revision and found[2] and revision != found[2]:
            raise OnnxfixError(f"{text} and {arg('revision', revision)} name two revisions", "name one")
        if ".." in (revision or found[2] or ""):  # it becomes a part of a path
            raise OnnxfixError(f"{revision or found[2]} is no revision", "name a branch, a tag or a whole commit hash")
        return HubId(found[1], revision or found[2] or MAIN)


def folder_of(wanted: HubId, *, weights: bool = True, progress: Callable[[str], None] = lambda step: None) -> Path:
    """The snapshot's folder; `weights` False: all but those. Online it is brought up to date first; without network,
    or with HF_HUB_OFFLINE, what the cache holds is taken. Raises OnnxfixError, a line that says what to do."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = list(known_files.ALL if weights else known_files.TEXTS)
    bar = _bar(wanted, progress)
    try:
        if not constants.HF_HUB_OFFLINE:
            progress(f"asking the Hub for {wanted}")
            found = huggingface_hub.snapshot_download(
                wanted.name, revision=wanted.revision, allow_patterns=patterns, tqdm_class=bar
            )
            return _checked(Path(found), wanted, weights)
    except LocalEntryNotFoundError as error:  # no network; of what was downloaded before less may be enough
        why = refusals.no_network(error)
    except (HfHubHTTPError, ValueError) as error:
        raise refusals.of_the_hub(error, wanted.name, wanted.revision) from error
    except OnnxfixError:
        raise
    except Exception as error:  # whatever a network does in the middle of a file
        raise refusals.of_a_download(error, wanted.name) from error
    else:
        why = "HF_HUB_OFFLINE is set"
    cached = _cached(wanted)
    if cached is None:
        raise refusals.not_cached(wanted.name, wanted.revision, why)
    return _checked(cached, wanted, weights)


def _cached(wanted: HubId) -> Path | None:
    """The snapshot in the cache, if it has a config: what else was asked for then may be of another library."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = huggingface_hub.snapshot_download(
            wanted.name, revision=wanted.revision, allow_patterns=[known_files.CONFIG], local_files_only=True
        )
    except (LocalEntryNotFoundError, ValueError):
        return None
    return Path(found) if (Path(found) / known_files.CONFIG).is_file() else None


def _checked(folder: Path, wanted: HubId, weights: bool) -> Path:
    if not (folder / known_files.CONFIG).is_file():
        raise refusals.no_config(wanted.name, wanted.revision)
    if weights and not any(folder.glob("*.safetensors")):
        raise refusals.no_weights(wanted.name, wanted.revision, folder)
    return folder


def _bar(wanted: HubId, progress: Callable[[str], None]) -> Any:
    """A tqdm that tells our own progress how much there is, and writes nothing itself."""
    import os

    from tqdm import tqdm

    class Told(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "file": open(os.devnull, "w"), "mininterval": 1.0})  # noqa: SIM115, PTH123

        def display(self, *args: Any, **options: Any) -> None:
            if self.unit == "B" and self.total:
                progress(f"{wanted}: {self.n / 1e6:,.0f} of {self.total / 1e6:,.0f} MB")

    return Told
