"""Where the torch module comes from: a checkpoint, a factory, several heads, sentence embeddings."""
