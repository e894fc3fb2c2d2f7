"""Linears, heads, embeddings and convolutions, in float and quantized."""
