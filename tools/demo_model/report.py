"""Write the figures of training.json into DATA.md, between its markers, so that the two cannot disagree.

Run as `PYTHONPATH=tools python -m demo_model.report` after training.
"""

from __future__ import annotations

import json
import re
from typing import Any

from onnxfix.eval.demo import HERE, RECORD

DOCUMENT = HERE / "DATA.md"
BLOCK = re.compile(r"(<!-- figures:(\w+) -->\n).*?(<!-- /figures -->)", re.DOTALL)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def snapshot(record: dict[str, Any]) -> str:
    """The archive's releases, one a line."""
    return "".join(f"* {release}\n" for release in record["split"]["releases"])


def rows(record: dict[str, Any]) -> str:
    """Rows per label and part."""
    split = record["split"]
    parts = list(split["rows"])
    body = [["all rows", *(str(split["rows"][part]) for part in parts)]]
    for head, labels in split["labels"]["train"].items():
        body += [[f"{head}: {label}", *(str(split["labels"][part][head][label]) for part in parts)] for label in labels]
    return table(["label", *parts], body)


def duplicates(record: dict[str, Any]) -> str:
    """Distribution of the holdout's nearest Jaccard index."""
    figures = record["split"]["holdout_to_train"]
    points = ["p50", "p90", "p99", "max"]
    body = [[name.replace("_", " "), *(f"{figures[name][point]:.3f}" for point in points)] for name in figures]
    return table(["nearest Jaccard index, holdout to train", *points], body)


def quality(record: dict[str, Any]) -> str:
    """Baseline, model and ablations, macro F1 on the holdout."""
    heads = list(record["baseline"])
    measured = {
        "TF-IDF + logistic regression": {head: record["baseline"][head]["holdout"] for head in heads},
        "demo model": record["macro_f1"]["holdout"],
        "demo model, attention outputs zeroed": record["ablations"]["attention"],
        "demo model, MLP outputs zeroed": record["ablations"]["mlp"],
        "demo model, on validation": record["macro_f1"]["validation"],
        "TF-IDF, on validation": {head: record["baseline"][head]["validation"] for head in heads},
    }
    body = [[name, *(f"{f1[head]:.3f}" for head in heads)] for name, f1 in measured.items()]
    return table(["macro F1", *heads], body)


def model(record: dict[str, Any]) -> str:
    """Size, time, lengths and settings."""
    chosen = {head: {key: best[key] for key in ("C", "class_weight")} for head, best in record["baseline"].items()}
    facts = {
        "parameters": record["parameters"],
        "training time, CPU minutes": record["training_cpu_minutes"],
        "holdout tokens per row": record["holdout_tokens"],
        "settings": record["settings"],
        "baseline settings chosen": chosen,
    }
    return "".join(f"* {name}: `{json.dumps(value)}`\n" for name, value in facts.items())


SECTIONS = {"snapshot": snapshot, "rows": rows, "duplicates": duplicates, "quality": quality, "model": model}


def main() -> None:
    """Rewrite every marked block of DATA.md."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    text = DOCUMENT.read_text(encoding="utf-8")
    text = BLOCK.sub(lambda block: block[1] + SECTIONS[block[2]](record) + block[3], text)
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
