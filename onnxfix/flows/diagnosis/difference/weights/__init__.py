"""Weights of two models: whose numbers are the same, as they are, turned, reshaped, rounded or quantized."""
