"""The Hugging Face Hub: checkpoints by their ids, out of the local cache or downloaded; no pickles, no code."""
