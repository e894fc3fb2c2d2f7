"""Attention and rotations of real exports: all of them are read, and right once fused.

All members: `python tests/zoo/recognition.py`.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from zoo.architectures import ARCHITECTURES, BY_NAME, EXPORTERS, Architecture
from zoo.make import export
from zoo.recognition import measure
from zoo.rotary import ROTARY

NAMES = sorted(a.name for a in ARCHITECTURES if a.small and a.name != "convnext")
# The TorchScript exporter takes a second, dynamo 10 to 30.
LEGACY = sorted(random.Random(16).sample(NAMES, 9))
DYNAMO = sorted(random.Random(5).sample([(name, e) for name in NAMES for e in EXPORTERS if e != "legacy"], 2))
LIMIT = 1e-5
KINDS = {"eager": {"attn_implementation": "eager"}, "sdpa": {"attn_implementation": "sdpa"}}


def check(architecture: Architecture, exporter: str, folder: Path) -> None:
    path = export(architecture, exporter, folder)
    assert path is not None, (folder / f"{architecture.name}-{exporter}.failed").read_text()
    row = measure(path, architecture)
    fused, there = row.attentions
    layers = architecture.settings.get("num_hidden_layers", 2)
    assert fused == there == layers, row.refusals
    assert row.rotations == (2 * layers if architecture.name in ROTARY else 0) and row.refusals == ()
    assert row.error <= LIMIT


def test_the_samples_are_of_many_kinds() -> None:
    assert ROTARY & set(LEGACY) and {name for name, _ in DYNAMO} - set(LEGACY)
    assert len(NAMES) * len(EXPORTERS) >= 72


@pytest.mark.parametrize("name", LEGACY)
def test_all_of_a_torchscript_export(name: str, tmp_path: Path) -> None:
    check(BY_NAME[name], "legacy", tmp_path)


@pytest.mark.parametrize(("name", "exporter"), DYNAMO)
def test_all_of_a_dynamo_export(name: str, exporter: str, tmp_path: Path) -> None:
    check(BY_NAME[name], exporter, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "modernbert", "qwen3"])
def test_all_of_either_implementation(name: str, kind: str, tmp_path: Path) -> None:
    known = BY_NAME[name]
    check(replace(known, settings={**known.settings, **KINDS[kind]}), "legacy", tmp_path)
