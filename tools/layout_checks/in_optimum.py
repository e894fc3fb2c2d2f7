"""Runs in optimum's environment: loads a folder by the expression that onnxfix printed, and says what it answers.

Standard input: jobs as JSON. Standard output: a line of JSON for each.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
from typing import Any

import torch

NEW_TOKENS = 12


def answer(job: dict[str, Any], classes: dict[str, Any]) -> dict[str, Any]:
    model = eval(job["load"], classes)
    ids, mask = (torch.tensor(job["expected"][name]) for name in ("input_ids", "attention_mask"))
    found = {"numbers": model(input_ids=ids, attention_mask=mask)[job["expected"]["output"]].flatten().tolist()}
    if "generated" in job["expected"]:
        made = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False)
        found["generated"] = made.tolist()
    return found


def main() -> None:
    library = importlib.import_module("optimum.onnxruntime")
    classes = {name: getattr(library, name) for name in dir(library) if name.startswith("ORTModelFor")}
    version = f"optimum-onnx {importlib.metadata.version('optimum-onnx')}"
    for job in json.load(sys.stdin):
        try:
            found = answer(job, classes)
        except Exception as error:  # whatever the library says of a folder
            found = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
        sys.stdout.write(f"RESULT {json.dumps({**found, 'by': version})}\n")


if __name__ == "__main__":
    main()
