"""The command with both ways of batching, on the bundled model and its labelled rows."""

from __future__ import annotations

import json
from pathlib import Path

from terminal import onnxfix


def test_both_ways_in_one_table(exports: dict[str, Path], tmp_path: Path) -> None:
    asked = ("--no-torch", "--provider", "cpu", "--limit", "24", "--batch", "8", "--rounds", "1", "--threads", "1")
    done = onnxfix("bench", exports["legacy"], *asked, "--batching", "both", "-o", tmp_path / "bench")
    assert done.returncode == 0, done.stderr
    assert "batch 8, padded and sorted, 1 rounds" in " ".join(done.stdout.split())
    document = json.loads((tmp_path / "bench" / "summary.json").read_text())
    assert [row["batching"] for row in document["rows"]] == ["padded", "sorted"] == list(document["by_batching"])
    assert [point["batching"] for point in document["points"]] == ["padded", "sorted"]
    padded, ordered = document["rows"]
    assert {head: padded[f"f1_{head}"] for head in document["heads"]} == {
        head: ordered[f"f1_{head}"] for head in document["heads"]
    } and document["heads"]  # fmt: skip
    report = (tmp_path / "bench" / "REPORT.md").read_text()
    assert "**as padded by the tokenizer, in data order**" in report and "**the same rows sorted by length**" in report
