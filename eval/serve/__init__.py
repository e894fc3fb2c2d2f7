"""Serving: rows of tokens of any length in, in batches with little padding through a model, results in their order."""
