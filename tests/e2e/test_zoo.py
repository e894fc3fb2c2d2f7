"""A seeded sample of the zoo: the forecast against the real runtime, and no copy left after repair.

All members: `make zoo`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from oracle.runtime import Oracle
from zoo.architectures import ARCHITECTURES, BY_NAME, EXPORTERS, WINDOW
from zoo.make import export
from zoo.table import measure

MEMBERS = [(a.name, exporter) for a in ARCHITECTURES if a.small for exporter in EXPORTERS]
SAMPLE = sorted(random.Random(7).sample(MEMBERS, 6))


def test_the_zoo_has_what_it_promises() -> None:
    assert {a.model for a in ARCHITECTURES} >= {
        "ModernBertModel", "BertModel", "RoFormerModel", "LlamaModel", "Qwen3Model", "GPTNeoXModel", "NomicBertModel",
        "EuroBertModel",
    }  # fmt: skip
    assert len(MEMBERS) >= 72 and {e for _, e in SAMPLE} == set(EXPORTERS)
    assert BY_NAME["modernbert-large"].settings["num_hidden_layers"] == 28 and WINDOW["local_attention"] == 8


@pytest.mark.parametrize(("name", "exporter"), SAMPLE)
def test_forecast_and_repair(oracle: Oracle, tmp_path: Path, name: str, exporter: str) -> None:
    path = export(BY_NAME[name], exporter, tmp_path)
    assert path is not None, (tmp_path / f"{name}-{exporter}.failed").read_text()
    row = measure(path, oracle)
    assert row.differences == () and row.errors == ()
    assert row.copies[1:] == (0, 0), "copies after repair in fp32 and in fp16"
