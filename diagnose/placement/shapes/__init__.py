"""Concrete shapes for a stated batch and length: what bytes and FLOPs are counted by."""
