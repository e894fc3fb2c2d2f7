"""What people run instead, for `fastest_graphs.py`: torch, OpenVINO and CTranslate2, each on one thread."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

Arrays = dict[str, np.ndarray[Any, Any]]
Run = Callable[[Arrays], Any]


def of_torch(model: torch.nn.Module, kind: str) -> dict[str, Run]:
    """Rows as padded, and each alone without its padding, which the best sorting of a batch comes near to."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[kind]
    model = model.to(dtype)
    return {
        f"torch {kind}": lambda arrays: _padded(model, arrays),
        f"torch {kind}, each row alone": lambda arrays: _alone(model, arrays),
    }


def _padded(model: torch.nn.Module, arrays: Arrays) -> Any:
    with torch.inference_mode():
        return model(*(torch.from_numpy(array) for array in arrays.values())).float().numpy()


def _alone(model: torch.nn.Module, arrays: Arrays) -> Any:
    found: Any = None
    for row, count in enumerate(arrays["attention_mask"].sum(axis=1)):
        answer = _padded(model, {key: array[row : row + 1, :count] for key, array in arrays.items()})
        if found is None:
            found = np.zeros((*arrays["input_ids"].shape, answer.shape[-1]), np.float32)
        found[row, :count] = answer[0]
    return found


def of_openvino(files: Mapping[str, Path]) -> dict[str, Run]:
    """Files by the name of their row; none where OpenVINO is not installed."""
    if importlib.util.find_spec("openvino") is None:
        sys.stdout.write("openvino is not installed: its rows are left out\n")
        return {}
    from onnxfix.eval.run.engines.openvino import OpenvinoRunner

    runners = {name: OpenvinoRunner(path, threads=1) for name, path in files.items()}
    return {name: lambda arrays, runner=runner: runner.run(arrays)["y"] for name, runner in runners.items()}  # type: ignore[misc]


def of_ctranslate2(model: Any, folder: Path) -> dict[str, Run]:
    """A transformers BERT in fp32 and int8, which leave padding out by themselves; none where it is not installed."""
    if importlib.util.find_spec("ctranslate2") is None:
        sys.stdout.write("ctranslate2 is not installed: its rows are left out (pip install ctranslate2==4.8.5)\n")
        return {}
    import ctranslate2
    import transformers

    # its converter asks for what transformers 5 dropped (OpenNMT/CTranslate2, converters/transformers.py)
    transformers.BertConfig.position_embedding_type = "absolute"
    source = folder / "ctranslate2-source"
    shutil.rmtree(source, ignore_errors=True)
    model.save_pretrained(source)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(model.config.vocab_size - 5))]
    (source / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizer(str(source / "vocab.txt")).save_pretrained(source)
    converted = folder / "ctranslate2"
    ctranslate2.converters.TransformersConverter(str(source)).convert(str(converted), force=True)
    made: dict[str, Run] = {}
    for kind, compute in (("fp32", "float32"), ("int8", "int8")):
        encoder = ctranslate2.Encoder(
            str(converted), device="cpu", compute_type=compute, intra_threads=1, inter_threads=1
        )
        made[f"CTranslate2 {kind}"] = lambda arrays, encoder=encoder: _encoded(encoder, arrays)  # type: ignore[misc]
    return made


def _encoded(encoder: Any, arrays: Arrays) -> Any:
    import ctranslate2

    view = ctranslate2.StorageView.from_array
    ids, lengths = arrays["input_ids"].astype(np.int32), arrays["attention_mask"].sum(axis=1).astype(np.int32)
    return np.array(encoder.forward_batch(view(ids), view(lengths)).last_hidden_state)
