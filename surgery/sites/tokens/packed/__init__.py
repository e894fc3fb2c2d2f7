"""Packed tokens: graphs that compute on the real tokens of a batch alone, one behind the other."""
