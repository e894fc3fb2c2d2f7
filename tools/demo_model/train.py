"""Train the demo classifier and record how it compares with its baseline.

Run as `PYTHONPATH=tools python -m demo_model.train DATA`, where DATA is the folder that `demo_model.dataset` wrote.
Ships the checkpoint, the holdout and training.json beside the model. Every choice is made on the validation part; the
holdout is read once, at the end.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import polars as pl
import torch
from transformers import ModernBertConfig, PreTrainedTokenizerFast

from onnxfix.eval.demo import CHECKPOINT, HOLDOUT, RECORD
from onnxfix.eval.demo.model import MultiHeadClassifier

from .baseline import baseline_of_head
from .batches import Rows, rows_of
from .embed import initial_embeddings
from .evaluate import ablations, scores
from .fit import Settings, fit
from .labels import HEADS
from .teacher import soft_labels
from .tokenizer import encode, save_tokenizer, train_tokenizer

PARTS = ("train", "validation", "holdout")


def backbone_config(vocabulary: int, dropout: float) -> ModernBertConfig:
    """Two global and two local layers of width 128: both attention kinds and both rope thetas are in use."""
    return ModernBertConfig(
        vocab_size=vocabulary, hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
        global_attn_every_n_layers=3, local_attention=64, max_position_embeddings=8192,
        pad_token_id=0, bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3,
        embedding_dropout=dropout, mlp_dropout=dropout, attention_dropout=0.0,
    )  # fmt: skip


def initial_model(rows: Rows, tokenizer: PreTrainedTokenizerFast, settings: Settings) -> MultiHeadClassifier:
    """A model whose token embeddings come from the co-occurrence factorisation."""
    torch.manual_seed(settings.seed)
    config = backbone_config(len(tokenizer), settings.dropout)
    model = MultiHeadClassifier.from_config(config, HEADS)
    vectors = initial_embeddings(rows.ids, len(tokenizer), config.hidden_size, settings.seed)
    with torch.no_grad():
        model.backbone.get_input_embeddings().weight.copy_(torch.from_numpy(vectors))  # type: ignore[operator]
    return model


def train(data: Path, settings: Settings, checkpoint: Path) -> dict[str, Any]:
    """Train on DATA, save the checkpoint, and return the record."""
    started = time.process_time()
    parts = {name: pl.read_parquet(data / f"{name}.parquet") for name in PARTS}
    tokenizer = train_tokenizer(parts["train"]["text"])
    rows = {name: rows_of(part, encode(tokenizer, part["text"])) for name, part in parts.items()}
    soft = tuple(soft_labels(parts["train"], head, settings.seed) for head in HEADS)
    rows["train"] = replace(rows["train"], soft=soft)
    model = initial_model(rows["train"], tokenizer, settings)
    average = fit(model, rows["train"], rows["validation"], settings, checkpoint)
    save_tokenizer(tokenizer, checkpoint)
    lengths = [len(ids) for ids in rows["holdout"].ids]
    return {
        "settings": asdict(settings),
        "parameters": sum(parameter.numel() for parameter in average.parameters()),
        "training_cpu_minutes": round((time.process_time() - started) / 60, 1),
        "holdout_tokens": {f"p{q}": int(np.percentile(lengths, q)) for q in (50, 90, 99, 100)},
        "macro_f1": {name: scores(average, rows[name]) for name in ("validation", "holdout")},
        "ablations": ablations(average, rows["holdout"]),
    }


@click.command(help=__doc__)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--epochs", default=Settings.epochs, show_default=True)
@click.option("--seed", default=Settings.seed, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(data: Path, epochs: int, seed: int, threads: int) -> None:
    """Train, evaluate, fit the baseline, and write what is shipped."""
    torch.set_num_threads(threads)
    record = train(data, Settings(epochs=epochs, seed=seed), CHECKPOINT)
    parts = {name: pl.read_parquet(data / f"{name}.parquet") for name in PARTS}
    record["baseline"] = {head: baseline_of_head(head, parts) for head in HEADS}
    record["split"] = json.loads((data / "split.json").read_text(encoding="utf-8"))
    shutil.copyfile(data / "holdout.parquet", HOLDOUT)
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    click.echo(json.dumps({key: record[key] for key in ("macro_f1", "ablations", "training_cpu_minutes")}, indent=2))


if __name__ == "__main__":
    main()
