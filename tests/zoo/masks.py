"""What the masks of the zoo's members mean, as their configurations say: `python tests/zoo/masks.py [FOLDER]` reads all
members that are there and prints what is said of each, with what is not so.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from onnxfix.nouns.model import Model
from onnxfix.surgery.sites.attention.masks import softmax_masks
from onnxfix.surgery.sites.attention.masks.mask import Mask
from zoo.architectures import BY_NAME, EXPORTERS
from zoo.make import DEFAULT_FOLDER

PADDING = "padding of attention_mask"
CAUSAL = f"{PADDING}, causal"
BY_DISTANCE = f"{PADDING}, bias by distance and head"
DECODERS = ("llama", "qwen3", "gpt-neox", "gemma", "phi", "granite", "gpt2", "clip-text")
ENCODERS = (
    "bert roformer nomic-bert eurobert distilbert deberta-v2 xlm-roberta electra albert esm"
).split()  # fmt: skip

EXPECTED: dict[str, tuple[str, ...]] = {
    # local_attention 8: four tokens to each side, in every second of four layers
    "modernbert": (PADDING, f"{PADDING}, band of 4 and 4") * 2,
    # sliding_window 8: the token itself and seven before it
    "mistral": (f"{CAUSAL}, band of 7 and 0",) * 2,
    "t5-encoder": (BY_DISTANCE,) * 2,
    "mpnet": (BY_DISTANCE,) * 2,
    "vit": ("none",) * 2,
    "whisper-encoder": ("none",) * 2,
    "convnext": (),
    **dict.fromkeys(DECODERS, (CAUSAL,) * 2),
    **dict.fromkeys(ENCODERS, (PADDING,) * 2),
}
"""Of each Softmax, in the order of the layers."""


@dataclass(frozen=True)
class Row:
    """One member: what was said of its masks, in how many seconds, and what is wrong with it."""

    name: str
    said: tuple[str, ...]
    seconds: float
    wrong: tuple[str, ...]


def measure(path: Path, architecture: str) -> Row:
    """Read the masks of one member and compare."""
    model = Model.open(path)
    begun = time.perf_counter()
    found = [mask for _, mask in softmax_masks.find(model)]
    seconds = time.perf_counter() - begun
    said = tuple(str(mask) for mask in found)
    wrong = [] if said == EXPECTED[architecture] else [f"{said} and not {EXPECTED[architecture]}"]
    for mask in (each for each in found if isinstance(each, Mask) and each.padding is not None):
        wrong += [] if mask.padded_rows == ("nothing" if architecture == "deberta-v2" else "as others") else ["rows"]
        lowest = (float("-inf"), (-3.4028234663852886e38))
        wrong += [] if mask.hidden in lowest else [f"hidden {mask.hidden}"]
        wrong += [] if mask.empty_row == ("nan" if mask.hidden == lowest[0] else "mean") else [f"{mask.empty_row}"]
        wrong += [] if mask.longest >= 600 else [f"longest {mask.longest}"]
        wrong += [] if mask.untried is None else [f"untried {mask.untried}"]
        wrong += [] if len(mask.scores) == (3 if architecture == "deberta-v2" else 1) else ["scores"]
    return Row(path.stem, said, seconds, tuple(wrong))


def rows(folder: Path) -> Iterator[Row]:
    """Of all members that are there."""
    for name in sorted(EXPECTED):
        for exporter in EXPORTERS:
            path = folder / f"{BY_NAME[name].name}-{exporter}.onnx"
            if path.exists():
                yield measure(path, name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER)
    bad = members = 0
    for row in rows(parser.parse_args().folder):
        members, bad = members + 1, bad + bool(row.wrong)
        each = {words: row.said.count(words) for words in row.said}
        sys.stdout.write(f"{row.name:30}{row.seconds:6.2f} s  {'; '.join(f'{n} × {w}' for w, n in each.items())}\n")
        sys.stdout.writelines(f"    {line}\n" for line in row.wrong)
        sys.stdout.flush()
    sys.stdout.write(f"{members} members, {bad} with something wrong\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
