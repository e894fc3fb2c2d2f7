"""Files of a checkpoint that go beside a graph: where they are, and which of known names there are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from onnxfix.export.hub.known_files import CONFIG, FAST_TOKENIZER, VOCABULARIES
from onnxfix.nouns.errors import OnnxfixError, arg

FOLDER_OF_GRAPHS = "onnx"


def there(checkpoint: Path, names: Iterable[str]) -> list[str]:
    """Those of the names that are files of a checkpoint's folder."""
    return [name for name in names if (checkpoint / name).is_file()]


def require_tokenizer(checkpoint: Path, library: str) -> None:
    """Raise OnnxfixError for a folder in which no tokenizer lies."""
    if not there(checkpoint, (FAST_TOKENIZER, *VOCABULARIES)):
        raise OnnxfixError(
            f"{checkpoint} has no tokenizer ({FAST_TOKENIZER}), which {library} cannot do without",
            "save the tokenizer there with save_pretrained()",
        )


def checkpoint_beside(model: Path, recorded: str) -> Path:
    """The folder that has the config of a model: of the checkpoint that it was exported from, where that is still
    there, else its own, or the one above it where it lies in `onnx`. Raises OnnxfixError where there is none."""
    own = model.resolve().parent
    places = [Path(recorded)] if recorded else []
    places += [own, *([own.parent] if own.name == FOLDER_OF_GRAPHS else [])]
    found = next((place for place in places if (place / CONFIG).is_file()), None)
    if found is None:
        raise OnnxfixError(
            f"nothing says which checkpoint {model.name} is of, whose config and tokenizer a layout has",
            f"name its folder with {arg('checkpoint', 'DIR')}",
        )
    return found
