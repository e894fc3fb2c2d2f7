"""Tiny checkpoints with random weights and a tokenizer, and what torch makes of a few texts with each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

TEXTS = ["the quick brown fox jumps over the lazy dog", "a cat sits", "the mat on the dog on the mat"]
PROMPT = ["the quick brown fox"]
NEW_TOKENS = 12
_SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
_WORDS = sorted({word for text in TEXTS for word in text.split()})
_SIZES = {
    "vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A class of transformers, what it is made from, and the output that is compared; `pooling` of a sentence model."""

    name: str
    architecture: str
    config: str = "BertConfig"
    output: str = "logits"
    pooling: str = ""
    decodes: bool = False


KINDS = (
    Kind("classes", "BertForSequenceClassification"),
    Kind("modern", "ModernBertForSequenceClassification", "ModernBertConfig"),
    Kind("tokens", "BertForTokenClassification"),
    Kind("answers", "BertForQuestionAnswering", output="start_logits"),
    Kind("features", "BertModel", output="last_hidden_state"),
    Kind("mean", "BertModel", output="last_hidden_state", pooling="mean"),
    Kind("cls", "BertModel", output="last_hidden_state", pooling="cls"),
    Kind("llama", "LlamaForCausalLM", "LlamaConfig", decodes=True),
    Kind("qwen", "Qwen3ForCausalLM", "Qwen3Config", decodes=True),
)


def saved(kind: Kind, folder: Path) -> Path:
    """A checkpoint of a kind, as transformers, or sentence-transformers, saves one."""
    transformers.utils.logging.disable_progress_bar()
    more: dict[str, Any] = {"pad_token_id": 0}
    if kind.decodes:
        more |= {"num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 1, "eos_token_id": None}
    if kind.config == "ModernBertConfig":
        more |= {"bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
    torch.manual_seed(0)
    config = getattr(transformers, kind.config)(**_SIZES, **more)
    getattr(transformers, kind.architecture)(config).save_pretrained(folder)
    _tokenizer().save(str(folder / "tokenizer.json"))
    # a class that transformers 4 and 5 and transformers.js have
    named = dict(zip(("pad_token", "cls_token", "sep_token", "unk_token", "mask_token"), _SPECIAL, strict=True))
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **named}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    if kind.pooling:
        _sentence_transformer(folder, kind.pooling)
    return folder


def _tokenizer() -> Tokenizer:
    vocabulary = {word: index for index, word in enumerate((*_SPECIAL, *_WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return made


def _sentence_transformer(folder: Path, pooling: str) -> None:
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(paths.items())
    ]
    mode = {f"pooling_mode_{name}": name.startswith(pooling) for name in ("cls_token", "mean_tokens", "max_tokens")}
    (folder / "1_Pooling").mkdir()
    for name, content in {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": _SIZES["hidden_size"], **mode},
        "sentence_bert_config.json": {"max_seq_length": 64, "do_lower_case": False},
        "config_sentence_transformers.json": {"similarity_fn_name": "cosine"},
    }.items():
        (folder / name).write_text(json.dumps(content))


def expected(kind: Kind, checkpoint: Path) -> dict[str, Any]:
    """Token ids and mask of the texts, and torch's answer: an output's shape and numbers, or what it generates."""
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(checkpoint)
    given = tokenizer(PROMPT if kind.decodes else TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False)
    module = getattr(transformers, kind.architecture).from_pretrained(checkpoint).eval()
    found: dict[str, Any] = {name: tensor.tolist() for name, tensor in given.items()}
    with torch.inference_mode():
        output = module(**given)[kind.output]
        if kind.decodes:
            found["generated"] = module.generate(**given, max_new_tokens=NEW_TOKENS, do_sample=False).tolist()
    return found | {"output": kind.output, "shape": list(output.shape), "numbers": output.flatten().tolist()}
