"""Graphs of two models: nodes paired by what they compute and read, and what differs between the pairs."""
