"""Attention and rotary embedding, found by structure."""
