"""Files of a checkpoint by the names that libraries give them: what is downloaded, and what is laid beside a graph.

Names and not endings: a repository may hold anything, and what is not known is neither fetched nor copied, so that no
code (`*.py`) and no pickle (`*.bin`, `*.pt`) comes along.
"""

from __future__ import annotations

CONFIG = "config.json"
GENERATION = "generation_config.json"
FAST_TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
VOCABULARIES = ("vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
"""Of tokenizers that come without a tokenizer.json: word pieces, byte pairs with merges.txt, SentencePiece."""
TOKENIZER = (
    FAST_TOKENIZER, TOKENIZER_CONFIG, *VOCABULARIES, "merges.txt", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja",
)  # fmt: skip
MODULES = "modules.json"
SENTENCE = (MODULES, "config_sentence_transformers.json", "sentence_bert_config.json")
"""Of sentence-transformers, at the root of a folder."""
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARDS = "model-*-of-*.safetensors"
MODULE_FILES = (CONFIG, WEIGHTS)
"""Of a module of sentence-transformers, in a folder of its own such as 1_Pooling."""
MODULE_PATTERNS = ("[0-9]_*/config.json", "[0-9]_*/model.safetensors")

TEXTS = (CONFIG, GENERATION, *TOKENIZER, *SENTENCE, *MODULE_PATTERNS)
"""What a checkpoint says of itself, as patterns."""
ALL = (*TEXTS, WEIGHTS, INDEX, SHARDS)
"""And what it weighs."""
