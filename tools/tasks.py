"""One table of tasks: `python tools/tasks.py [--only NAME] [--output docs/results/tasks.md]`.

A tiny model of each, random weights, is exported by both exporters, diagnosed for CUDA, repaired to half precision and
to int8 (weight-only where dynamic int8 misses its limit), and each result is held against torch: the largest relative
L2 error on rows of its own, in how many of them the choice is the same, and for a decoder 32 greedy tokens. Ends with 1
where an export, a repair in half or a generation fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = {
    **SIZES,
    "vocab_size": 99,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GQA = {**TEXT, "num_key_value_heads": 2}
VISION = {**SIZES, "image_size": 32, "patch_size": 8}
SOUND = {"conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2}
SOUND |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 20, "mask_time_prob": 0.0}
SPECTRA = {"max_length": 64, "num_mel_bins": 32, "frequency_stride": 8, "time_stride": 8, "patch_size": 8}
WITH_PAST = "text-generation-with-past"
TOKENS = 32
Arrays = dict[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class Task:
    """`model`: class in transformers; `config`: its config's class and values."""

    name: str
    model: str
    config: str
    values: dict[str, Any]
    task: str = ""


def _bert(kind: str, name: str, **more: Any) -> Task:
    return Task(name, kind, "BertConfig", {**TEXT, **more})


TASKS = (
    _bert("BertForSequenceClassification", "text classification", num_labels=3),
    _bert("BertForTokenClassification", "token classification", num_labels=5),
    _bert("BertForQuestionAnswering", "question answering"),
    Task("cross-encoder", "XLMRobertaForSequenceClassification", "XLMRobertaConfig", {**TEXT, "num_labels": 1}),
    Task("embeddings", "ModernBertModel", "ModernBertConfig", {
        **TEXT, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 64,
    }),
    Task("masked words", "ModernBertForMaskedLM", "ModernBertConfig", {
        **TEXT, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 64,
    }),
    Task("generation", "LlamaForCausalLM", "LlamaConfig", GQA, WITH_PAST),
    Task("generation", "Qwen3ForCausalLM", "Qwen3Config", {**GQA, "head_dim": 8}, WITH_PAST),
    Task("generation", "GPT2LMHeadModel", "GPT2Config", {
        "vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1,
        "eos_token_id": 2,
    }, WITH_PAST),
    Task("images", "ViTForImageClassification", "ViTConfig", {**VISION, "num_labels": 5}),
    Task("images", "ConvNextForImageClassification", "ConvNextConfig", {
        "hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "image_size": 32, "num_labels": 5,
    }),
    Task("images and texts", "CLIPModel", "CLIPConfig", {
        "text_config": {**TEXT}, "vision_config": VISION, "projection_dim": 16,
    }),
    Task("images and texts", "SiglipModel", "SiglipConfig", {"text_config": {**TEXT}, "vision_config": VISION}),
    Task("speech", "Wav2Vec2ForCTC", "Wav2Vec2Config", {**SIZES, **SOUND}),
    Task("sounds", "ASTForAudioClassification", "ASTConfig", {**SIZES, **SPECTRA, "num_labels": 5}),
)  # fmt: skip


def row(task: Task, exporter: str, folder: Path) -> list[str]:
    """The cells of one task by one exporter."""
    import onnxfix

    export: Any = onnxfix.export
    file = folder / f"{task.model}-{exporter}.onnx"
    made = export(folder / task.model, output=file, exporter=exporter, task=task.task or None, force=True)
    before = onnxfix.diagnose(made.path, target="cuda")
    source = answers(made.path, made.path)
    half = onnxfix.repair(made.path, precision="fp16", output=made.path.with_suffix(".fp16.onnx"), force=True)
    scheme, small = "dynamic", attempt(made.path, "dynamic")
    if small is None:
        scheme, small = "weight-only", attempt(made.path, "weight-only")
    cells = [task.name, task.model, exporter, f"{made.comparison.rel_l2:.0e}"]
    cells.append(f"{len(before.plan.copies)} → {len(half.after.plan.copies) if half.after.plan else '?'}")
    for path in (half.output, small):
        cells.append(held(source, answers(made.path, path), path is small, scheme) if path is not None else "declined")
    cells.append(generation(folder / task.model, made.path, half.output) if task.task else "")
    return cells


def attempt(path: Path, scheme: str) -> Path | None:
    """None where the result is beyond its limit: nothing is written then."""
    import onnxfix

    try:
        repair: Any = onnxfix.repair
        result = path.with_suffix(f".{scheme}.onnx")
        done = repair(path, precision="fp32", int8=scheme, target="cpu", output=result, force=True)
    except onnxfix.OnnxfixError:
        return None
    output: Path | None = done.output
    return output


def answers(source: Path, path: Path) -> list[Arrays]:
    """Of ONNX Runtime on the CPU, on feeds that the source's inputs make."""
    import onnxruntime

    from onnxfix.eval.inputs.feeds import make_feeds
    from onnxfix.nouns.model import Model

    model = Model.open(source)
    sounds = (
        [{"input_values": (2, 9000)}]
        if any(v.name == "input_values" and len(v.shape or ()) == 2 for v in model.graph.inputs)
        else [None]
    )
    feeds = [feed for shapes in sounds for feed in make_feeds(model, seed=5, shapes=shapes)[:2]]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return [dict(zip(names, session.run(None, feed.arrays), strict=True)) for feed in feeds]


def held(one: list[Arrays], other: list[Arrays], integers: bool, scheme: str) -> str:
    """The largest error of an output, and rows of logits whose largest is the same."""
    errors, same, rows = [0.0], 0, 0
    for a, b in zip(one, other, strict=True):
        for name, value in a.items():
            errors.append(float(np.linalg.norm(value - b[name]) / max(float(np.linalg.norm(value)), 1e-9)))
            if "logits" in name and value.shape[-1] > 1:
                agree = value.argmax(-1) == b[name].argmax(-1)
                same, rows = same + int(agree.sum()), rows + agree.size
    kind = f" ({scheme})" if integers else ""
    return f"{max(errors):.0e}" + (f", {same} of {rows}" if rows else "") + kind


def generation(checkpoint: Path, *paths: Path | None) -> str:
    """Greedy tokens behind a prompt that torch and each file agree on, of 32."""
    import torch
    import transformers

    module = transformers.AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    prompt = np.array([[5, 17, 42, 8]])
    wanted = module.generate(torch.tensor(prompt), max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False,
                             pad_token_id=0, attention_mask=torch.ones(1, 4, dtype=torch.long))  # fmt: skip
    made = [greedy(path, prompt) for path in paths if path is not None]
    equal = [
        int(np.argmin([*(w == m for w, m in zip(wanted[0, 4:].tolist(), tokens, strict=True)), False]))
        for tokens in made
    ]
    return ", ".join(f"{count} of {TOKENS}" for count in equal)


def greedy(path: Path, prompt: np.ndarray[Any, Any]) -> list[int]:
    """Tokens of a file with a cache, which is fed back; eos is left out, as `min_new_tokens` does."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs, names = {each.name: each for each in session.get_inputs()}, [each.name for each in session.get_outputs()]
    dtypes = {"tensor(float16)": np.float16, "tensor(float)": np.float32}
    past: Arrays = {
        n: np.zeros((1, v.shape[1], 0, v.shape[3]), dtypes[v.type]) for n, v in inputs.items() if "past" in n
    }
    tokens: list[int] = []
    new = prompt
    while len(tokens) < TOKENS:
        before = next(iter(past.values())).shape[2]
        feed: Arrays = {"input_ids": new, "attention_mask": np.ones((1, before + new.shape[1]), np.int64), **past}
        if "position_ids" in inputs:
            feed["position_ids"] = before + np.arange(new.shape[1])[None]
        made = dict(zip(names, session.run(None, feed), strict=True))
        logits = made["logits"][0, -1].astype(np.float32)
        logits[2] = -np.inf
        tokens.append(int(logits.argmax()))
        new = np.array([[tokens[-1]]])
        past = {name: made[name.replace("past_key_values", "present")] for name in past}
    return tokens


def saved(task: Task, folder: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    config: Callable[..., Any] = getattr(transformers, task.config)
    module = getattr(transformers, task.model)(config(**task.values)).eval()
    for parameter in module.parameters():  # as they are made, logits hardly depend on anything
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=1.2 / parameter.shape[-1] ** 0.5)
    module.save_pretrained(folder / task.model)


def rows(only: str, folder: Path) -> Iterator[list[str]]:
    for task in TASKS:
        if only.lower() not in f"{task.name} {task.model}".lower():
            continue
        saved(task, folder)
        for exporter in ("dynamo", "legacy"):
            begun = time.monotonic()
            try:
                cells = row(task, exporter, folder)
            except Exception as error:  # the next task is still worth its row
                cells = [task.name, task.model, exporter, f"FAILED: {error}", "", "", "", ""]
            sys.stderr.write(f"{task.model} {exporter}: {time.monotonic() - begun:.0f} s\n")
            yield cells


HEADS = (
    "task",
    "model",
    "exporter",
    "export against torch",
    "Memcpy on CUDA, fp16",
    "fp16",
    "int8 on a CPU",
    "32 tokens as torch: fp32, fp16",
)
NOTE = (
    "Tiny models with random weights, made by `python tools/tasks.py`. Errors are relative L2 on feeds that nothing\n"
    "was verified on, beside them in how many rows of logits the largest is the same; copies are forecast for the\n"
    "export and for its repair in half precision.\n"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="tasks and models with this in their name")
    parser.add_argument("--output", type=Path, help="write the table here too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onnxfix-tasks-") as folder:
        found = list(rows(given.only, Path(folder)))
    lines = [HEADS, tuple("---" for _ in HEADS), *map(tuple, found)]
    page = f"# Tasks\n\n{NOTE}\n" + "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
    if given.output:
        given.output.write_text(page, encoding="utf-8")
    sys.stdout.write(page)
    broken = any(cells[3].startswith("FAILED") or cells[5] == "declined" for cells in found)
    short = any(cells[7] and not cells[7].startswith(f"{TOKENS} of") for cells in found)
    return int(not found or broken or short)


if __name__ == "__main__":
    sys.exit(main())
