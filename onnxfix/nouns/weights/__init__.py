"""Weights on disk: the wire format, mapped data, external files, the writer."""
