"""What a model is for, by the class that its config names: what libraries call it and the outputs they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """`head`: what the class is called after `For`; `pipeline`: of transformers and transformers.js."""

    head: str
    pipeline: str
    outputs: tuple[str, ...]


TASKS = (
    Task("SequenceClassification", "text-classification", ("logits",)),
    Task("TokenClassification", "token-classification", ("logits",)),
    Task("QuestionAnswering", "question-answering", ("start_logits", "end_logits")),
    Task("MaskedLM", "fill-mask", ("logits",)),
    Task("MultipleChoice", "", ("logits",)),
    Task("CausalLM", "text-generation", ("logits",)),
)
FEATURES = Task("FeatureExtraction", "feature-extraction", ("last_hidden_state",))
OTHER = Task("CustomTasks", "", ())
POOLED = "sentence_embedding"
_LANGUAGE_MODEL = "LMHeadModel"  # GPT-2's class is older than the names of the others


def task_of(config: dict[str, Any], outputs: list[str]) -> Task:
    """The task whose outputs a graph has; OTHER where it has none of one."""
    named = str((config.get("architectures") or [""])[0])
    head = "CausalLM" if named.endswith(_LANGUAGE_MODEL) else named.partition("For")[2]
    found = next((task for task in TASKS if task.head == head), FEATURES)
    for task in (found, FEATURES):
        if set(task.outputs) <= set(outputs):
            return task
    return OTHER
