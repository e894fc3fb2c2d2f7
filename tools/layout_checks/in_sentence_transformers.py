"""Runs in the environment of sentence-transformers: loads a folder by the expression that onnxfix printed, encodes
texts, and does so with the checkpoint in torch.

Standard input: jobs as JSON. Standard output: a line of JSON for each.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
from typing import Any


def main() -> None:
    load = importlib.import_module("sentence_transformers").SentenceTransformer
    version = f"sentence-transformers {importlib.metadata.version('sentence-transformers')}"
    for job in json.load(sys.stdin):
        found: dict[str, Any]
        try:
            model = eval(job["load"], {"SentenceTransformer": load})
            found = {"numbers": model.encode(job["texts"]).flatten().tolist()}
            found["expected"] = load(job["checkpoint"]).encode(job["texts"]).flatten().tolist()
        except Exception as error:  # whatever the library says of a folder
            found = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
        sys.stdout.write(f"RESULT {json.dumps({**found, 'by': version})}\n")


if __name__ == "__main__":
    main()
