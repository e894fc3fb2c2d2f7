"""What the masks of freshly exported models mean, beside what their configurations say.

All members of the zoo: `python tests/zoo/masks.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from zoo.architectures import ARCHITECTURES, BY_NAME
from zoo.make import export
from zoo.masks import EXPECTED, measure

# A band, a causal band and a bias, each from another exporter.
SAMPLE = [("modernbert", "dynamo"), ("mistral", "legacy"), ("mpnet", "unoptimized")]


def test_every_small_member_has_a_meaning() -> None:
    assert set(EXPECTED) == {a.name for a in ARCHITECTURES if a.small}


@pytest.mark.parametrize(("name", "exporter"), SAMPLE)
def test_masks_mean_what_the_configuration_says(tmp_path: Path, name: str, exporter: str) -> None:
    path = export(BY_NAME[name], exporter, tmp_path)
    assert path is not None, (tmp_path / f"{name}-{exporter}.failed").read_text()
    assert measure(path, name).wrong == ()
